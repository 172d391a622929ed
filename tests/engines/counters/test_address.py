"""Where Redis is, as people write it."""

from pathlib import Path

import pytest

from auterity.engines.counters.address import RedisAddress
from auterity.engines.counters.errors import InvalidCountersUrl


def test_a_plain_url_names_one_server() -> None:
    assert RedisAddress.parse("redis://cache.internal") == RedisAddress(nodes=(("cache.internal", 6379),))


def test_every_part_is_read() -> None:
    address = RedisAddress.parse("rediss://app:p%40ss@a:1,[::1]:2/3?ca_file=/etc/ca.pem")
    assert address == RedisAddress(
        nodes=(("a", 1), ("::1", 2)),
        tls=True,
        username="app",
        password="p@ss",
        database=3,
        ca_file=Path("/etc/ca.pem"),
    )


@pytest.mark.parametrize(("scheme", "tls"), [("redis-cluster", False), ("rediss-cluster", True)])
def test_a_cluster_can_be_named_as_such(scheme: str, tls: bool) -> None:
    address = RedisAddress.parse(f"{scheme}://a,b:7000")
    assert (address.cluster, address.tls, address.nodes) == (True, tls, (("a", 6379), ("b", 7000)))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://a",
        "redis://",
        "redis://a,",
        "redis://a:port",
        "redis://a:70000",
        "redis://a/first",
        "redis://a/-1",
        "redis://a?ca=1",
        "redis://a#b",
        "redis-cluster://a/1",
    ],
)
def test_what_cannot_be_understood_is_refused(url: str) -> None:
    with pytest.raises(InvalidCountersUrl):
        RedisAddress.parse(url)


def test_the_password_is_not_repeated_in_the_error() -> None:
    with pytest.raises(InvalidCountersUrl) as refused:
        RedisAddress.parse("redis://:hunter2@a:port")
    assert "hunter2" not in str(refused.value)

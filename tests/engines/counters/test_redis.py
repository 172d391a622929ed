"""Redis going away, coming back and moving: calls succeed or fail soon, and never hang."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from auterity.engines.counters.address import RedisAddress
from auterity.engines.counters.port import CountersUnavailable, Rate, ReservationStatus
from auterity.engines.counters.redis import RedisCounters
from auterity.kit.ids import new_id

if TYPE_CHECKING:
    from tests.fixtures.redis import RedisCluster, RedisServer

BOUND_S = 0.5
SLACK_S = 0.5
"""For a machine that is busy with other things."""


@pytest.fixture
async def counters(own_redis_server: RedisServer) -> AsyncIterator[RedisCounters]:
    made = RedisCounters(RedisAddress.parse(own_redis_server.url))
    yield made
    await made.close()


async def refused(step: Awaitable[object]) -> bool:
    """Say whether the step failed as unavailable; either way it must have ended soon."""
    started = time.perf_counter()
    try:
        await step
    except CountersUnavailable:
        return True
    finally:
        assert time.perf_counter() - started < BOUND_S + SLACK_S
    return False


async def recovers(counters: RedisCounters, within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while await refused(counters.take(new_id("key"), Rate(1))):
        assert time.monotonic() < deadline, "the counters did not come back"


async def test_a_server_that_is_not_there_is_said_so_at_once_for_all_who_ask(own_redis_server: RedisServer) -> None:
    own_redis_server.kill()
    counters = RedisCounters(RedisAddress.parse(own_redis_server.url))
    assert all(await asyncio.gather(*(refused(counters.take("key", Rate(1))) for _ in range(200))))
    assert await refused(counters.ping())
    own_redis_server.start()
    await recovers(counters)
    await counters.close()


async def test_a_server_that_restarts_is_found_again_and_asks_for_seeds(
    counters: RedisCounters, own_redis_server: RedisServer
) -> None:
    await counters.seed("budget", 5, 600)
    own_redis_server.kill()
    assert await refused(counters.spent("budget"))
    own_redis_server.start()
    await recovers(counters)
    assert (await counters.reserve("budget", "r1", 1, 100, 60)).status is ReservationStatus.UNSEEDED


async def test_a_server_that_stops_answering_makes_no_call_hang(
    counters: RedisCounters, own_redis_server: RedisServer
) -> None:
    await counters.ping()
    own_redis_server.pause()
    assert all(await asyncio.gather(*(refused(counters.take("key", Rate(1))) for _ in range(50))))
    own_redis_server.resume()
    await recovers(counters)


async def test_scripts_the_server_forgot_are_loaded_again(
    counters: RedisCounters, own_redis_server: RedisServer
) -> None:
    assert (await counters.take("key", Rate(2, 3600))).remaining == 1
    own_redis_server.command("SCRIPT", "FLUSH")
    assert (await counters.take("key", Rate(2, 3600))).remaining == 0


async def test_each_step_is_one_round_trip(counters: RedisCounters, own_redis_server: RedisServer) -> None:
    await counters.seed("budget", 0, 600)

    async def steps(name: str) -> None:
        await counters.take("key", Rate(100))
        await counters.reserve("budget", name, 1, 100, 60)
        await counters.settle("budget", name, 1)
        await counters.spent("budget")

    await steps("loads the scripts")
    own_redis_server.command("CONFIG", "RESETSTAT")
    for n in range(10):
        await steps(f"r{n}")
    statistics = own_redis_server.command("INFO", "commandstats")
    assert "cmdstat_evalsha:calls=40," in statistics
    assert "cmdstat_script" not in statistics


async def test_nothing_stays_for_ever(counters: RedisCounters, own_redis_server: RedisServer) -> None:
    await counters.seed("budget", 0, 600)
    await counters.reserve("budget", "r1", 1, 100, 60)
    await counters.take("key", Rate(2, 10))
    assert own_redis_server.command("DBSIZE") == ":3"
    keys = ["auterity:{bbudget}:state", "auterity:{bbudget}:due", "auterity:rate:key"]
    lives = [int(own_redis_server.command("PTTL", key)[1:]) for key in keys]
    assert all(599_000 < life <= 600_000 for life in lives[:2])
    assert 4_000 < lives[2] <= 5_001
    await counters.settle("budget", "r1", 1)
    assert own_redis_server.command("DBSIZE") == ":2"
    assert own_redis_server.command("HLEN", keys[0]) == ":2"


async def test_a_wrong_password_is_unavailable_and_not_repeated(own_redis_server: RedisServer) -> None:
    own_redis_server.command("CONFIG", "SET", "requirepass", "right")
    wrong = RedisCounters(RedisAddress.parse(f"redis://:hunter2@127.0.0.1:{own_redis_server.port}"))
    with pytest.raises(CountersUnavailable) as error:
        await wrong.ping()
    assert "hunter2" not in str(error.value)
    await wrong.close()
    right = RedisCounters(RedisAddress.parse(f"redis://:right@127.0.0.1:{own_redis_server.port}"))
    await right.ping()
    await right.close()


async def test_a_cluster_is_recognised_without_being_named(redis_cluster: RedisCluster) -> None:
    counters = RedisCounters(RedisAddress.parse(redis_cluster.url.replace("redis-cluster:", "redis:")))
    for _ in range(30):  # enough to meet every shard
        assert (await counters.take(new_id("key"), Rate(1))).allowed
    await counters.close()


@pytest.mark.slow
async def test_a_master_killed_during_traffic_costs_half_a_second_a_call_at_most(redis_cluster: RedisCluster) -> None:
    counters = RedisCounters(RedisAddress.parse(redis_cluster.url))
    budgets = [new_id("key") for _ in range(24)]
    for budget in budgets:
        await counters.seed(budget, 0, 600)
    victim = redis_cluster.masters()[0]
    stop = asyncio.Event()
    failures: list[str] = []
    calls = 0

    async def traffic(budget: str) -> None:
        nonlocal calls
        while not stop.is_set():
            calls += 1
            if await refused(counters.take(budget, Rate(10**6))):
                failures.append(budget)

    async def more_calls(number: int) -> None:
        goal = calls + number
        deadline = time.monotonic() + 20
        while calls < goal:
            assert time.monotonic() < deadline, "calls hang"
            await asyncio.sleep(0.01)

    running = [asyncio.create_task(traffic(budget)) for budget in budgets]
    try:
        await more_calls(500)
        assert not failures
        victim.kill()
        deadline = time.monotonic() + 20
        while len(redis_cluster.masters()) < 3:
            assert time.monotonic() < deadline, "no replica was promoted"
            await asyncio.sleep(0.1)
        deadline = time.monotonic() + 10
        for budget in budgets:
            while await refused(counters.reserve(budget, "after", 1, 100, 60)):
                assert time.monotonic() < deadline, "a shard did not come back"
        before = -1
        while before != len(failures):  # calls that were under way may still fail
            before = len(failures)
            assert time.monotonic() < deadline, "calls go on failing"
            await more_calls(500)
        assert 0 < len(set(failures)) < len(budgets), "other shards were not concerned"
    finally:
        stop.set()
        await asyncio.gather(*running, return_exceptions=True)
        await counters.close()
        victim.start()


def certificate(directory: Path) -> tuple[Path, Path]:
    """A key and a certificate of our own making for 127.0.0.1, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "auterity tests")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret, public = directory / "key.pem", directory / "certificate.pem"
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return secret, public


async def test_tls_is_spoken_and_certificates_are_checked(own_redis_server: RedisServer, tmp_path: Path) -> None:
    secret, public = certificate(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = ["tls-cert-file", public, "tls-key-file", secret, "tls-ca-cert-file", public, "tls-auth-clients", "no"]
    own_redis_server.command("CONFIG", "SET", *map(str, settings), "tls-port", str(port))
    trusting = RedisCounters(RedisAddress.parse(f"rediss://127.0.0.1:{port}?ca_file={public}"))
    assert (await trusting.take("key", Rate(2, 60))).remaining == 1
    await trusting.close()
    careful = RedisCounters(RedisAddress.parse(f"rediss://127.0.0.1:{port}"))
    assert await refused(careful.ping())
    await careful.close()

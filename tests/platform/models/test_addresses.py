"""Promises of the guard against requests into the operator's own network."""

from collections.abc import Sequence

import pytest

from auterity.platform.models.addresses import AddressPolicy, InvalidProviderAddress, resolve


def _policy(*addresses: str, allow_private: bool = False) -> AddressPolicy:
    async def resolver(host: str) -> Sequence[str]:
        return addresses

    return AddressPolicy(allow_private=allow_private, resolver=resolver)


_PRIVATE = ["10.1.2.3", "127.0.0.1", "192.168.0.9", "172.16.0.1", "100.64.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"]
_NEVER = ["169.254.169.254", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "fd00:ec2::254", "64:ff9b::a9fe:a9fe"]


@pytest.mark.parametrize("address", [*_PRIVATE, *_NEVER, "2002:7f00:1::"])
async def test_a_tenants_provider_cannot_live_inside(address: str) -> None:
    with pytest.raises(InvalidProviderAddress):
        await _policy(address).check("https://models.example/v1", operator=False)


@pytest.mark.parametrize("address", _PRIVATE)
async def test_an_operator_may_name_private_addresses(address: str) -> None:
    assert await _policy(address).check("https://models.example/v1", operator=True)


@pytest.mark.parametrize("address", _PRIVATE)
async def test_everyone_may_where_the_operator_allows_it(address: str) -> None:
    assert await _policy(address, allow_private=True).check("https://models.example/v1", operator=False)


@pytest.mark.parametrize("address", _NEVER)
async def test_instance_metadata_is_out_of_reach_for_everyone(address: str) -> None:
    with pytest.raises(InvalidProviderAddress):
        await _policy(address, allow_private=True).check("https://models.example/v1", operator=True)


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(InvalidProviderAddress):
        await _policy("93.184.215.14", "10.0.0.1").check("https://models.example/v1", operator=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://[::1]/v1", "http://[::ffff:127.0.0.1]/"])
async def test_addresses_in_the_url_itself_are_checked(url: str) -> None:
    with pytest.raises(InvalidProviderAddress):
        await _policy("93.184.215.14").check(url, operator=False)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "localhost"])
async def test_other_spellings_of_loopback_are_seen_through(host: str) -> None:
    with pytest.raises(InvalidProviderAddress):
        await AddressPolicy(allow_private=False).check(f"http://{host}/v1", operator=False)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://models.example",
        "https://",
        "models.example/v1",
        "https://key@models.example/v1",
        "https://:word@models.example/v1",
        "https://models.example/v1?key=1",
        "https://models.example/v1#part",
        "https://models.example:99999/v1",
        "https://models.example/v 1",
        "https://models.example/\nv1",
        "https://[::1/v1",
        "https://exämple.org/v1",
    ],
)
async def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidProviderAddress):
        await _policy("93.184.215.14", allow_private=True).check(url, operator=True)


async def test_trailing_slashes_go() -> None:
    assert await _policy().check("https://models.example/v1//", operator=False) == "https://models.example/v1"


async def test_a_name_without_an_address_is_accepted() -> None:
    assert await resolve("no-such-host.invalid") == ()
    assert await AddressPolicy(allow_private=False).check("https://no-such-host.invalid", operator=False)

"""Where a provider may live: the guard against requests into the operator's own network (SSRF).

The check is made when a provider is written, not at each call: a name whose address changes afterwards is not caught
(DNS rebinding). Where tenants are not trusted, let the gateway reach the outside through a network policy or an egress
proxy as well.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from auterity.kit.errors import InvalidRequest

__all__ = ["AddressPolicy", "InvalidProviderAddress", "Resolver", "resolve"]

Resolver = Callable[[str], Awaitable[Sequence[str]]]
"""Turns a host name into its IP addresses; none where it has none."""

_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))
"""Clouds' instance metadata outside the link-local range (AWS over IPv6, Alibaba)."""


class InvalidProviderAddress(InvalidRequest):
    """A provider cannot live there."""

    code = "invalid_provider_address"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="base_url")


async def resolve(host: str) -> Sequence[str]:
    """Ask the system's resolver."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return [str(address[0]) for *_, address in found]


class AddressPolicy:
    """Which addresses providers may have."""

    def __init__(self, *, allow_private: bool, resolver: Resolver = resolve) -> None:
        """
        Args:
            allow_private: everyone may name private and loopback addresses, not only operators.
            resolver: how names are looked up.
        """
        self._allow_private = allow_private
        self._resolver = resolver

    async def check(self, url: str, *, operator: bool) -> str:
        """Return the URL without a trailing slash.

        A name that has no address at this moment is accepted: it may get one later, as any name may get another.

        Args:
            url: the provider's base URL.
            operator: asked for by the platform's operator, who may name private addresses in any case.

        Raises:
            InvalidProviderAddress: it is no plain http(s) URL, or leads where providers may not be.
        """
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidProviderAddress("base_url is not a valid URL.") from error
        if parts.scheme not in {"http", "https"} or not host:
            raise InvalidProviderAddress("base_url must begin with https:// or http:// and name a host.")
        if parts.username is not None or parts.password is not None:
            raise InvalidProviderAddress("base_url must not hold a user or password; use api_key or headers.")
        if parts.query or parts.fragment:
            raise InvalidProviderAddress("base_url must not hold a query or fragment; use the field query.")
        if not url.isascii() or not url.isprintable() or any(sign in url for sign in ' \\"<>'):
            raise InvalidProviderAddress("base_url may only hold the plain characters of a URL.")
        for address in await self._addresses(host):
            self._require_allowed(address, private=self._allow_private or operator)
        return url.rstrip("/")

    async def _addresses(self, host: str) -> list[_IPAddress]:
        try:
            return [_unwrapped(ipaddress.ip_address(host))]
        except ValueError:
            found = await self._resolver(host)
        return [_unwrapped(ipaddress.ip_address(address.partition("%")[0])) for address in found]

    def _require_allowed(self, address: _IPAddress, *, private: bool) -> None:
        if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA:
            raise InvalidProviderAddress("base_url leads to an address where no provider can be.")
        if not private and not address.is_global:
            raise InvalidProviderAddress(
                "base_url leads into a private network. Ask the operator of this platform to add the provider, "
                "or to set allow_private_providers."
            )


def _unwrapped(address: _IPAddress) -> _IPAddress:
    """The IPv4 address inside an IPv6 one, where there is one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address

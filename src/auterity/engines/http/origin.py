"""Where a request goes and how its head begins: parsed, checked and written once, then remembered.

The gateway sends to few addresses with few sets of headers, so the work of a request's head is done once per
(method, URL, headers) and kept. So is the check against header injection: what is remembered has passed it.
"""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

from auterity.engines.http.port import FailureKind, Header, TransportError

__all__ = ["Origin", "RefusedRequest", "request_head"]

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_URL = re.compile(r"[\x21-\x7e]+")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_HOST = re.compile(r"[0-9A-Za-z._\-]+")

# These decide where a message ends and what the connection becomes. Two opinions on that are request smuggling.
_OURS = frozenset(
    {b"connection", b"content-length", b"expect", b"host", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})


class RefusedRequest(TransportError):
    """The request cannot be written as HTTP without danger, such as a line break in a header. Nothing was sent."""

    code = "invalid_provider_request"

    def __init__(self, message: str) -> None:
        super().__init__(FailureKind.CONNECT, message)


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host and port: what connections are shared by."""

    tls: bool
    host: str
    """A name or an address; IPv6 without brackets."""
    port: int
    label: str
    """As shown to people, e.g. ``https://api.openai.com`` or ``http://[::1]:8000``; never a path or a query."""


# The bound keeps headers that differ from call to call (an idempotency key) from growing the memory.
@lru_cache(maxsize=1024)
def request_head(method: str, url: str, headers: tuple[Header, ...]) -> tuple[Origin, bytes, bytes]:
    """Return the origin, and the head for a request with and without a body.

    The first head ends with ``content-length: ``, to be followed by the number and an empty line; the second is whole.

    Raises:
        RefusedRequest: the URL or a header is not valid, would break out of its line, or belongs to the transport.
    """
    if not _METHOD.fullmatch(method) or method == "CONNECT":
        raise RefusedRequest("The request's method is not valid.")
    origin, authority, path = _parse(url)
    lines = [f"{method} {path} HTTP/1.1".encode(), b"host: " + authority.encode()]
    names: set[bytes] = set()
    for name, value in headers:
        lowered = name.lower()
        if not _NAME.fullmatch(name):
            raise RefusedRequest("The name of a header for the provider has characters that are not allowed.")
        if not _VALUE.fullmatch(value):
            raise RefusedRequest(
                f"The value of the header {name.decode()!r} for the provider has a control character; remove it."
            )
        if lowered in _OURS:
            raise RefusedRequest(f"The header {name.decode()!r} is written by the transport; do not set it.")
        names.add(lowered)
        lines.append(name + b": " + value)
    if b"accept-encoding" not in names:
        lines.append(b"accept-encoding: identity")
    start = b"\r\n".join(lines)
    # RFC 9110, 8.6: a method that expects a body says so even when the body is empty.
    empty = start + (b"\r\n\r\n" if method in _BODILESS else b"\r\ncontent-length: 0\r\n\r\n")
    return origin, start + b"\r\ncontent-length: ", empty


def _parse(url: str) -> tuple[Origin, str, str]:
    """Return the origin, the ``host`` header and the request target."""
    if not _URL.fullmatch(url):
        raise RefusedRequest("The provider's URL has spaces, control characters or letters outside ASCII; escape them.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise RefusedRequest("The provider's URL is not valid; check its host and port.") from error
    if parts.scheme not in _DEFAULT_PORTS or not host or port == 0:
        raise RefusedRequest("The provider's URL must be absolute and start with http:// or https://.")
    if parts.username is not None or parts.password is not None:
        raise RefusedRequest("The provider's URL holds a user or a password; put credentials in a header instead.")
    shown = _shown_host(host, bracketed="[" in parts.netloc)
    default = _DEFAULT_PORTS[parts.scheme]
    authority = shown if port in (None, default) else f"{shown}:{port}"
    origin = Origin(tls=parts.scheme == "https", host=host, port=port or default, label=f"{parts.scheme}://{authority}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return origin, authority, target


def _shown_host(host: str, *, bracketed: bool) -> str:
    if not bracketed:
        if not _HOST.fullmatch(host):
            raise RefusedRequest("The provider's URL has a host with characters that are not allowed.")
        return host
    try:
        ipaddress.IPv6Address(host)
    except ValueError as error:
        raise RefusedRequest("The provider's URL has an IPv6 address that is not valid.") from error
    return f"[{host}]"

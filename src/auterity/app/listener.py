"""The server's listening socket, bound once by the parent and inherited by the workers."""

import errno
import socket
from ipaddress import IPv6Address, ip_address

from auterity.kit.errors import AuterityError

__all__ = ["AddressUnusable", "bind", "url_of"]


_QUEUE = 2048
"""Connections that wait to be accepted; the kernel may set a lower limit (``net.core.somaxconn``)."""


class AddressUnusable(AuterityError):
    """The server cannot listen where it was told to."""

    code = "address_unusable"


def bind(host: str, port: int) -> socket.socket:
    """Bind and listen: who calls before the workers serve waits in the queue for the moment that takes.

    Raises:
        AddressUnusable: the port is taken, not allowed, or the host is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise AddressUnusable(
            f'The host "{host}" is not known. Give an address of this machine with --host.'
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        # Only now does Linux tell whether another program has the port: two may bind it, one may listen.
        listener.listen(_QUEUE)
    except OSError as error:
        listener.close()
        raise AddressUnusable(_why(error, host, port)) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The URL under which a program on this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    address = ip_address(host.partition("%")[0])
    if address.is_unspecified:
        return f"http://localhost:{port}"
    return f"http://[{address}]:{port}" if isinstance(address, IPv6Address) else f"http://{address}:{port}"


def _why(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"Port {port} on {host} is taken by another program. Stop it, or choose another port with --port "
                "(0 takes any that is free)."
            )
        case errno.EACCES | errno.EPERM:
            return f"This user may not listen on port {port}. Choose one from 1024 up with --port."
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine. Choose another with --host (0.0.0.0: all of them)."
        case _:
            return (
                f"The server cannot listen on {host}:{port} ({error.strerror}). Choose another with --host and --port."
            )

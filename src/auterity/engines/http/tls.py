"""How the gateway trusts a provider: TLS with verification, for HTTP/1.1 only."""

import ssl
from pathlib import Path

__all__ = ["client_context"]


def client_context(*, authorities: Path | None = None) -> ssl.SSLContext:
    """Return a context that verifies certificate and host name.

    Args:
        authorities: a PEM file of further certificate authorities, such as a company's own, beside the system's.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities is not None:
        context.load_verify_locations(authorities)
    # Without it a server may choose HTTP/2, which the pool does not speak.
    context.set_alpn_protocols(["http/1.1"])
    return context

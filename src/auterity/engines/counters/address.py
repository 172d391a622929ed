"""Where a Redis or Valkey server is, read from a URL."""

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from auterity.engines.counters.errors import InvalidCountersUrl

__all__ = ["RedisAddress"]

_SCHEMES = {
    # scheme: (TLS, Cluster; None: ask the server)
    "redis": (False, None),
    "rediss": (True, None),
    "redis-cluster": (False, True),
    "rediss-cluster": (True, True),
}
_PORT = 6379


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """One server, or some nodes of a Cluster."""

    nodes: tuple[tuple[str, int], ...]
    tls: bool = False
    cluster: bool | None = None
    """None: ask the server at the first connection."""
    username: str | None = None
    password: str | None = None
    database: int = 0
    ca_file: Path | None = None
    """Certificates (PEM) to trust besides the system's."""

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Read ``redis[s][-cluster]://[[user]:password@]host[:port][,host[:port]…][/database][?ca_file=path]``.

        Raises:
            InvalidCountersUrl: it is not of that form. The message never repeats the password.
        """
        scheme, _, rest = url.partition("://")
        if scheme not in _SCHEMES:
            raise InvalidCountersUrl(
                "The address of Redis must start with redis://, rediss://, redis-cluster:// or rediss-cluster://."
            )
        tls, cluster = _SCHEMES[scheme]
        try:
            parts = urlsplit("//" + rest)
            credentials, _, hosts = parts.netloc.rpartition("@")
            username, _, password = credentials.partition(":")
            query = parse_qs(parts.query, strict_parsing=bool(parts.query))
            nodes = tuple(_node(host) for host in hosts.split(","))
            database = int(parts.path.strip("/") or "0")
        except ValueError as error:
            raise _malformed() from error
        if parts.fragment or database < 0 or set(query) - {"ca_file"} or (cluster and database):
            raise _malformed()
        return cls(
            nodes=nodes,
            tls=tls,
            cluster=cluster,
            username=unquote(username) or None,
            password=unquote(password) or None,
            database=database,
            ca_file=Path(query["ca_file"][0]) if "ca_file" in query else None,
        )


def _node(host: str) -> tuple[str, int]:
    parts = urlsplit("//" + host)
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, _PORT if parts.port is None else parts.port


def _malformed() -> InvalidCountersUrl:
    return InvalidCountersUrl(
        "The address of Redis is malformed. Write it as redis://user:password@host:6379/0, with several hosts "
        "separated by commas, special characters of the password percent-encoded and no database number for a Cluster."
    )

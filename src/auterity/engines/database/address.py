"""Where PostgreSQL is: one URL, in any of the usual spellings, for SQLAlchemy and for asyncpg."""

from typing import TypedDict

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from auterity.engines.database.errors import DatabaseAddressInvalid

__all__ = ["ConnectArguments", "connect_arguments", "parse_address"]

_DRIVER = "postgresql+asyncpg"
_SCHEMES = frozenset({"postgres", "postgresql", _DRIVER})
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_OPTIONS = frozenset({"host", "port", "ssl", "timeout", "command_timeout", "statement_cache_size"})
"""Query options that asyncpg takes as they are."""


class ConnectArguments(TypedDict, total=False):
    """Keyword arguments of ``asyncpg.connect``."""

    host: str
    port: int
    user: str
    password: str
    database: str
    ssl: str


def parse_address(url: str | URL) -> URL:
    """Read ``postgres://``, ``postgresql://`` or ``postgresql+asyncpg://`` into the one form the program uses.

    libpq's ``sslmode`` becomes asyncpg's ``ssl``; ``?host=/directory`` names a Unix socket.

    Raises:
        DatabaseAddressInvalid: another database, no database name, or an option that would do nothing.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseAddressInvalid(
            "The database URL cannot be read; write postgresql://user:password@host:5432/database.",
            param="database_url",
        ) from error
    if address.drivername not in _SCHEMES:
        raise DatabaseAddressInvalid(
            f"Auterity needs PostgreSQL, not {address.drivername!r}; write postgresql://user:password@host/database.",
            param="database_url",
        )
    if not address.database:
        raise DatabaseAddressInvalid(
            "The database URL names no database; add /name after the host.", param="database_url"
        )
    return address.set(drivername=_DRIVER, query=_read_options(address))


def connect_arguments(url: str | URL) -> ConnectArguments:
    """The same address for a plain ``asyncpg.connect``."""
    address = parse_address(url)
    arguments = ConnectArguments(database=address.database or "")
    host = address.query.get("host", address.host)
    if isinstance(host, str) and host:
        arguments["host"] = host
    port = address.query.get("port", address.port)
    if isinstance(port, str | int):
        arguments["port"] = int(port)
    if address.username:
        arguments["user"] = address.username
    if address.password:
        arguments["password"] = str(address.password)
    ssl = address.query.get("ssl")
    if isinstance(ssl, str):
        arguments["ssl"] = ssl
    return arguments


def _read_options(address: URL) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in address.query.items():
        if not isinstance(value, str):
            raise DatabaseAddressInvalid(f"The database URL gives {name} twice.", param="database_url")
        if name == "sslmode":
            options["ssl"] = value
        elif name in _OPTIONS:
            options[name] = value
        else:
            raise DatabaseAddressInvalid(
                f"The database URL's option {name!r} is not known. Known are: sslmode, "
                f"{', '.join(sorted(_OPTIONS))}. Certificates come from PGSSLROOTCERT, PGSSLCERT and PGSSLKEY.",
                param="database_url",
            )
    if options.get("ssl", "prefer") not in _SSL_MODES:
        raise DatabaseAddressInvalid(
            f"The database URL's sslmode must be one of {', '.join(sorted(_SSL_MODES))}.", param="database_url"
        )
    return options

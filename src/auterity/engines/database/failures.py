"""What went wrong with PostgreSQL, told apart: not there, lets nobody in, what it was given, or a fault of ours."""

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from auterity.engines.database.errors import DatabaseRefused, DatabaseUnavailable, TextNotStorable

__all__ = ["translate_failures", "translate_opening_failures"]

_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DatabaseDroppedError,
    OSError,
)
_NO_TEXT = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)
"""U+0000 in a text (22021), and as an escape in JSON (22P05)."""
_TURNED_AWAY = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidParameterValueError,
    asyncpg.InsufficientPrivilegeError,
)


@contextmanager
def translate_failures() -> Generator[None]:
    """Inside a transaction: a lost connection and an impossible text become ours, all else passes as it is.

    Raises:
        DatabaseUnavailable: the connection broke; trying again later makes sense.
        TextNotStorable: a text that came from a caller holds U+0000.
    """
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable("All database connections are busy; try again shortly.", retry_after=1) from error
    except (OperationalError, InterfaceError) as error:
        raise _unavailable() from error
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(_root(error), _BROKEN):
            raise _unavailable() from error
        if isinstance(_root(error), _NO_TEXT):
            raise TextNotStorable("The character U+0000 cannot be a part of any text here.") from error
        raise
    except asyncpg.PostgresConnectionError as error:
        raise _unavailable() from error


@contextmanager
def translate_opening_failures() -> Generator[None]:
    """While a connection is opened: as :func:`translate_failures`, and the server's refusals too.

    Raises:
        DatabaseUnavailable: nothing answers at the address, or the server takes no one now.
        DatabaseRefused: the server turned the login away.
    """
    try:
        with translate_failures():
            yield
    except DBAPIError as error:
        if isinstance(_root(error), _TURNED_AWAY):
            raise _refused() from error
        raise
    except _TURNED_AWAY as error:
        raise _refused() from error
    except _BROKEN as error:
        raise _unavailable() from error


def _unavailable() -> DatabaseUnavailable:
    return DatabaseUnavailable("The database cannot be reached; try again shortly.", retry_after=1)


def _refused() -> DatabaseRefused:
    return DatabaseRefused(
        "The database turned the connection away: check user, password and database name in the database URL, "
        "and that `auterity db upgrade` has run."
    )


def _root(error: DBAPIError) -> BaseException | None:
    """The driver's own exception beneath SQLAlchemy's wrapping."""
    return error.orig.__cause__ if error.orig is not None else None

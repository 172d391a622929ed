"""What can be wrong with the database, said so that an operator knows what to do."""

from auterity.kit.errors import AuterityError, InvalidRequest, Unavailable

__all__ = [
    "DatabaseAddressInvalid",
    "DatabaseNewerThanProgram",
    "DatabaseRefused",
    "DatabaseUnavailable",
    "DatabaseUnsuitable",
    "EmbeddedDatabaseFailed",
    "TextNotStorable",
]


class DatabaseUnavailable(Unavailable):
    """PostgreSQL cannot be reached."""

    code = "database_unavailable"


class DatabaseRefused(Unavailable):
    """PostgreSQL answers, and does not let us in: wrong password, no such database, or not migrated yet."""

    code = "database_refused"


class DatabaseAddressInvalid(InvalidRequest):
    """The database URL is not one we can use."""

    code = "database_url_invalid"


class TextNotStorable(InvalidRequest):
    """A text holds a character that PostgreSQL cannot keep: U+0000."""


class DatabaseUnsuitable(AuterityError):
    """The server is too old, or the login role may not do what a migration needs."""

    code = "database_unsuitable"


class DatabaseNewerThanProgram(AuterityError):
    """A later release has migrated this database; this program would damage it."""

    code = "database_newer_than_program"


class EmbeddedDatabaseFailed(AuterityError):
    """The embedded PostgreSQL could not be prepared, started or stopped."""

    code = "embedded_database_failed"

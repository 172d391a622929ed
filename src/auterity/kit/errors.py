"""The one error hierarchy: a stable code, an HTTP status and a message that is safe to show to a caller.

A package subclasses :class:`AuterityError` in its own ``errors`` module. Gateway routes render these in OpenAI's shape,
the management API as RFC 9457 problem details.
"""

__all__ = ["AuterityError", "Conflict", "Forbidden", "InvalidRequest", "NotFound", "Unauthenticated", "Unavailable"]


class AuterityError(Exception):
    """A failure that is told to the caller. ``str(error)`` is shown as it stands: no secrets, no stack traces."""

    code: str = "internal_error"
    status: int = 500

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        """The request field at fault, where one is."""
        self.retry_after = retry_after
        """Seconds after which trying again makes sense."""


class InvalidRequest(AuterityError):
    """The request is malformed or asks for what cannot be."""

    code = "invalid_request"
    status = 400


class Unauthenticated(AuterityError):
    """No credentials, or credentials that do not hold."""

    code = "unauthenticated"
    status = 401


class Forbidden(AuterityError):
    """The caller is known, and may not do this."""

    code = "forbidden"
    status = 403


class NotFound(AuterityError):
    """No such thing, as far as this caller may know."""

    code = "not_found"
    status = 404


class Conflict(AuterityError):
    """The present state does not allow it, e.g. a name that is taken."""

    code = "conflict"
    status = 409


class Unavailable(AuterityError):
    """It cannot be served now; later it may."""

    code = "unavailable"
    status = 503

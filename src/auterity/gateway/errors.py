"""What the gateway itself refuses, in OpenAI's codes."""

from auterity.kit.errors import (
    AuterityError,
    Forbidden,
    InvalidRequest,
    NotFound,
    Unauthenticated,
    Unavailable,
)

__all__ = [
    "BodyTooLarge",
    "BudgetExceeded",
    "InvalidApiKey",
    "MethodNotAllowed",
    "ModelNotAllowed",
    "ModelNotFound",
    "PriceUnknown",
    "ProviderMisconfigured",
    "ProviderTimeout",
    "ProviderUnavailable",
    "RateLimitExceeded",
    "RefusedByProvider",
    "TenantSuspended",
    "UnknownUrl",
]


class InvalidApiKey(Unauthenticated):
    """The key is missing, unknown, expired or revoked."""

    code = "invalid_api_key"


class TenantSuspended(Forbidden):
    """The key is good, but its tenant is suspended."""

    code = "tenant_suspended"


class ModelNotFound(NotFound):
    """No such model in this tenant."""

    code = "model_not_found"


class ModelNotAllowed(Forbidden):
    """The model exists; this key may not use it."""

    code = "model_not_allowed"


class UnknownUrl(NotFound):
    """Nothing is served at this path."""

    code = "unknown_url"


class MethodNotAllowed(AuterityError):
    """The path is served, with another method."""

    code = "method_not_allowed"
    status = 405


class BodyTooLarge(InvalidRequest):
    """The request's body is longer than the server takes."""

    code = "request_too_large"
    status = 413


class RateLimitExceeded(AuterityError):
    """The key's rate, or the provider's, is used up for the moment."""

    code = "rate_limit_exceeded"
    status = 429


class BudgetExceeded(AuterityError):
    """The most that the call could cost is more than what is left."""

    code = "budget_exceeded"
    status = 402


class PriceUnknown(InvalidRequest):
    """No price is known for what would serve, and serving unpriced is not allowed."""

    code = "price_unknown"


class ProviderUnavailable(Unavailable):
    """Everything that could serve the model was tried and failed."""

    code = "provider_unavailable"


class ProviderTimeout(AuterityError):
    """The last provider tried did not answer in time."""

    code = "provider_timeout"
    status = 504


class ProviderMisconfigured(AuterityError):
    """The provider refused Auterity itself: a bad credential, or an upstream model that does not exist."""

    code = "provider_misconfigured"
    status = 502


class RefusedByProvider(AuterityError):
    """The request is wrong in the provider's eyes; its own status, code and message are passed back."""

    def __init__(self, message: str, *, status: int, code: str | None, param: str | None) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.code = code or "invalid_request"

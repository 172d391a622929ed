"""What can go wrong between a person and her access."""

from auterity.kit.errors import AuterityError, Conflict, Forbidden, NotFound, Unauthenticated

__all__ = ["EmailTaken", "LoginFailed", "NoTenant", "TokenRefused", "TooManyLogins", "UserNotFound"]


class LoginFailed(Unauthenticated):
    """Wrong password or no such person: not told apart."""

    code = "login_failed"

    def __init__(self) -> None:
        super().__init__("E-mail address or password is wrong.")


class TooManyLogins(AuterityError):
    """So many attempts that somebody may be guessing."""

    code = "too_many_logins"
    status = 429

    def __init__(self, retry_after: float) -> None:
        minutes = max(1, round(retry_after / 60))
        super().__init__(f"Too many attempts to log in; try again in {minutes} min.", retry_after=retry_after)


class NoTenant(Forbidden):
    """The person is known, and is not a member of the tenant, or of any."""

    code = "no_tenant"

    def __init__(self) -> None:
        super().__init__("You are not a member of this tenant; ask its administrator to add you.")


class TokenRefused(Unauthenticated):
    """The access token is missing, expired, not ours, or its holder has lost the membership."""

    code = "token_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason} Log in at /api/v1/auth/login and send the token as 'Authorization: Bearer TOKEN'.")


class EmailTaken(Conflict):
    """Another person has this address."""

    code = "email_taken"

    def __init__(self) -> None:
        super().__init__("There is a person with this e-mail address already.", param="email")


class UserNotFound(NotFound):
    """No such person."""

    code = "user_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such person.")

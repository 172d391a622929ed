"""What can go wrong with virtual keys."""

from auterity.kit.errors import Conflict, InvalidRequest, NotFound

__all__ = ["KeyNotFound", "KeyRevoked", "OwnerUnknown", "SecretRefused"]


class KeyNotFound(NotFound):
    """The tenant has no such key."""

    code = "key_not_found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"There is no key {key_id}.")


class KeyRevoked(Conflict):
    """A revoked key stays revoked."""

    code = "key_revoked"

    def __init__(self) -> None:
        super().__init__("This key has been revoked and stays so; create a new one.")


class OwnerUnknown(InvalidRequest):
    """The owner is not a member of the tenant."""

    code = "owner_unknown"

    def __init__(self) -> None:
        super().__init__("The owner is not a member of this tenant.", param="user_id")


class SecretRefused(InvalidRequest):
    """The caller's own secret cannot be used. Does not tell whether somebody has it."""

    code = "secret_refused"

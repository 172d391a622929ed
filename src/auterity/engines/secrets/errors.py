"""What can be wrong with the master keys and with what was sealed by them."""

from auterity.kit.errors import AuterityError

__all__ = ["MasterKeyUnusable", "SealBroken"]


class MasterKeyUnusable(AuterityError):
    """There is no usable master key; nothing that is sealed can be read."""

    code = "master_key_unusable"


class SealBroken(AuterityError):
    """A sealed value was made with another master key, for another place, or has been changed."""

    code = "seal_broken"

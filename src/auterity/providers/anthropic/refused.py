"""How the translation says no: by naming what Anthropic has no counterpart for."""

from auterity.providers.contract import UntranslatableRequest

__all__ = ["NOTHING", "refused"]

NOTHING = frozenset({b"null", b"[]", b"{}", b'""', b"false"})
"""Values that ask for nothing: leaving them out changes nothing."""


def refused(param: str, why: str = "has no counterpart in Anthropic's API") -> UntranslatableRequest:
    """The error to raise for ``param``."""
    return UntranslatableRequest(f"'{param}' {why}.", param=param)

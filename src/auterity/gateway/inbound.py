"""What a client asked for, checked, whichever wire it came in on."""

import msgspec

from auterity.providers.contract import ModelCall

__all__ = ["Inbound"]


class Inbound(msgspec.Struct, frozen=True):
    """A checked request, and what the gateway reads of it beside the call itself."""

    call: ModelCall
    end_user: str
    tags: dict[str, str]
    max_output_tokens: int | None
    """The limit that the client set for one choice."""
    choices: int

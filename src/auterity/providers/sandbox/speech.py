"""What the sandbox says: the truth about itself, then prose as long as is wanted, the same for the same seed."""

from random import Random

from auterity.providers.sandbox.tokens import split_tokens

__all__ = ["NOTICE", "speak"]

NOTICE = "This is Auterity's sandbox: no model was called."

_OPENINGS = (
    "Your request arrived whole",
    "The call was routed and metered",
    "Everything on the way here works",
    "The gateway passed this on",
    "This answer was written by a rule",
)
_MIDDLES = (
    "and the same request gets the same words",
    "so the figures beside it are for practice only",
    "and it took about as long as a real one would",
    "while no tokens were bought from anyone",
    "as any deployment of your own would do it",
)
_ENDINGS = (
    "Add a provider to hear from a real model.",
    "Nothing here should be taken for advice.",
    "Try a stream, a tool or a fault next.",
    "Usage and price appear as they would for any call.",
    "Change a word in the prompt and the answer changes.",
)


def speak(random: Random, length: int | None = None) -> list[str]:
    """The tokens of one answer, exactly ``length`` where that is given, else some dozens and a full stop."""
    wanted = random.randint(24, 64) if length is None else length
    tokens = split_tokens(NOTICE)
    while len(tokens) < wanted:
        opening, middle, ending = random.choice(_OPENINGS), random.choice(_MIDDLES), random.choice(_ENDINGS)
        tokens += split_tokens(f" {opening}, {middle}. {ending}")
    return tokens if length is None else tokens[:length]

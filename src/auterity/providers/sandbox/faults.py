"""Faults that the sandbox has on command. This is the one place that says which there are.

They are asked for in the request's ``metadata`` (``{"sandbox_fault": "status:429"}``) or in the text of its last
message (``[[sandbox status=429]]``), which works with every client. Several are separated by commas or spaces, a value
follows ``=`` or ``:``.

===============  ======================================================================================
``status=503``   answers with this error status
``rate_limit``   answers with status 429 and ``retry-after``; ``rate_limit=7`` says how many seconds
``latency=2.5``  takes this many seconds to the first byte, whatever the latency setting
``pace=0.1``     takes this many seconds for each token
``tokens=200``   makes the answer this long
``tool``         calls the first tool, though ``tool_choice`` leaves it open
``die_after=5``  breaks the connection after 5 chunks; a plain answer breaks in the middle
``error_after=5``  sends an error event after 5 chunks
``hang``         never answers
``hang_after=5``  falls silent after 5 chunks, without closing
``malformed``    answers with something that is not JSON
``no_usage``     does not tell what was used
``refuse``       does not take the connection
===============  ======================================================================================
"""

import re

import msgspec

__all__ = ["FAULT_KEY", "Faults", "UnknownFault", "read_faults"]

FAULT_KEY = "sandbox_fault"
_DIRECTIVE = re.compile(r"\[\[\s*sandbox\s+([^\]]{1,200})\]\]")
_WORD = re.compile(r"([a-z_]+)(?:[=:]([0-9.]+))?")
_SEPARATORS = re.compile(r"[\s,;]+")


class UnknownFault(ValueError):
    """A fault was asked for that there is not; the message names it."""


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What shall go wrong with one answer. See the table above."""

    status: int | None = None
    rate_limit: float | None = None
    latency: float | None = None
    pace: float | None = None
    tokens: int | None = None
    tool: bool = False
    die_after: int | None = None
    error_after: int | None = None
    hang: bool = False
    hang_after: int | None = None
    malformed: bool = False
    no_usage: bool = False
    refuse: bool = False


_NONE = Faults()
_SWITCHES = frozenset({"tool", "hang", "malformed", "no_usage", "refuse"})
_BOUNDS: dict[str, tuple[float, float]] = {
    "status": (400, 599),
    "rate_limit": (0, 86_400),
    "latency": (0, 3_600),
    "pace": (0, 60),
    "tokens": (0, 100_000),
    "die_after": (0, 1_000_000),
    "error_after": (0, 1_000_000),
    "hang_after": (0, 1_000_000),
}
_WITH_DEFAULT = {"rate_limit": "1"}


def read_faults(setting: str, text: str) -> Faults:
    """Read the faults asked for in the metadata's setting and in a message's text; the text wins.

    Raises:
        UnknownFault: one is unknown, or has a value that it cannot have.
    """
    commands = [setting] if setting else []
    if "[[" in text:
        commands += _DIRECTIVE.findall(text)
    if not commands:
        return _NONE
    found: dict[str, float | bool] = {}
    for command in commands:
        for word in filter(None, _SEPARATORS.split(command)):
            name, value = _read_word(word)
            found[name] = value
    return msgspec.convert(found, Faults, strict=False)


def _read_word(word: str) -> tuple[str, float | bool]:
    match = _WORD.fullmatch(word)
    name, value = (match[1], match[2]) if match else ("", None)
    if name in _SWITCHES and value is None:
        return name, True
    value = value or _WITH_DEFAULT.get(name)
    bounds = _BOUNDS.get(name)
    if value is None or bounds is None:
        raise UnknownFault(f"The sandbox does not know the fault '{word}'.")
    try:
        number = float(value)
    except ValueError:
        raise UnknownFault(f"The sandbox cannot read the number in '{word}'.") from None
    if not bounds[0] <= number <= bounds[1] or (name not in ("rate_limit", "latency", "pace") and number % 1):
        raise UnknownFault(f"The sandbox cannot do '{word}'.")
    return name, number

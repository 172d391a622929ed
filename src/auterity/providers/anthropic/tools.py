"""Tools and the choice among them, from OpenAI's shapes to Anthropic's."""

import msgspec

from auterity.providers.anthropic.content import Block
from auterity.providers.anthropic.refused import refused
from auterity.providers.untyped import UNREADABLE

__all__ = ["tool_choice", "tools"]

_ABSENT = msgspec.Raw(b"null")
_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = _ABSENT
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None
    cache_control: msgspec.Raw = _ABSENT


class _NamedFunction(msgspec.Struct):
    name: str


class _NamedChoice(msgspec.Struct):
    type: str
    function: _NamedFunction | None = None


def tools(raw: msgspec.Raw) -> list[Block]:
    """Translate ``tools``; schemas pass as they were written.

    Raises:
        UntranslatableRequest: one is not a function.
    """
    if raw == _ABSENT:
        return []
    try:
        defined = msgspec.json.decode(raw, type=list[_Tool])
    except UNREADABLE as error:
        raise refused("tools", f"cannot be read: {error}") from error
    found: list[Block] = []
    for index, tool in enumerate(defined):
        if tool.function is None:
            raise refused(f"tools[{index}].type")
        block: Block = {"name": tool.function.name}
        if tool.function.description:
            block["description"] = tool.function.description
        schema = tool.function.parameters
        block["input_schema"] = _NO_PARAMETERS if bytes(schema) in (b"null", b"{}") else schema
        if tool.function.strict:
            block["strict"] = True
        if tool.cache_control != _ABSENT:
            block["cache_control"] = tool.cache_control
        found.append(block)
    return found


def tool_choice(raw: msgspec.Raw, *, parallel: bool) -> Block | None:
    """Translate ``tool_choice`` and ``parallel_tool_calls``; None where Anthropic's default says the same.

    Raises:
        UntranslatableRequest: the choice has no counterpart.
    """
    try:
        choice = msgspec.json.decode(raw, type=str | _NamedChoice | None)
    except UNREADABLE:
        raise refused("tool_choice") from None
    if isinstance(choice, _NamedChoice):
        if choice.type != "function" or choice.function is None:
            raise refused("tool_choice.type")
        translated: Block = {"type": "tool", "name": choice.function.name}
    elif choice is None:
        if parallel:
            return None
        translated = {"type": "auto"}
    elif choice in ("auto", "none"):
        translated = {"type": choice}
    elif choice == "required":
        translated = {"type": "any"}
    else:
        raise refused("tool_choice")
    if not parallel and choice != "none":
        translated["disable_parallel_tool_use"] = True
    return translated

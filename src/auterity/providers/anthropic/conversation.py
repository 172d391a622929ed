"""The conversation: OpenAI's list of messages as Anthropic's system prompt and alternating turns."""

from typing import Literal

import msgspec

from auterity.providers.anthropic.content import Block, Content, blocks
from auterity.providers.anthropic.refused import NOTHING, refused
from auterity.providers.untyped import UNREADABLE

__all__ = ["Conversation", "Turn", "read_conversation"]

_ABSENT = msgspec.Raw(b"null")


class _Function(msgspec.Struct):
    name: str
    arguments: str = ""


class _ToolCall(msgspec.Struct):
    id: str
    type: str = "function"
    function: _Function | None = None


class _Message(msgspec.Struct):
    role: str
    content: Content = None
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    thinking_blocks: list[msgspec.Raw] | None = None
    """Signed thinking of an earlier answer, as Auterity gave it out."""
    audio: msgspec.Raw = _ABSENT
    function_call: msgspec.Raw = _ABSENT


class Turn(msgspec.Struct):
    """All that one side says before the other does."""

    role: Literal["user", "assistant"]
    content: list[Block]


class Conversation(msgspec.Struct):
    """System prompt and turns, the first of them the user's."""

    system: list[Block]
    turns: list[Turn]


_decoder = msgspec.json.Decoder(list[_Message])


def read_conversation(messages: msgspec.Raw) -> Conversation:
    """Translate ``messages``.

    System and developer messages are put together in front, wherever they stood, as Anthropic's own compatibility
    layer does. Neighbours of one side become one turn; tool results are the user's. ``reasoning_content`` of earlier
    answers is not sent: Anthropic takes thinking back only with its signature (``thinking_blocks``).

    Raises:
        UntranslatableRequest: something in them has no counterpart.
    """
    try:
        parsed = _decoder.decode(messages)
    except UNREADABLE as error:
        raise refused("messages", f"cannot be read: {error}") from error
    conversation = Conversation([], [])
    for index, message in enumerate(parsed):
        _add(conversation, message, f"messages[{index}]")
    if not conversation.turns:
        raise refused("messages", "must hold a user's message for Anthropic")
    if conversation.turns[0].role != "user":
        raise refused("messages", "must begin with a user's message for Anthropic")
    return conversation


def _add(conversation: Conversation, message: _Message, where: str) -> None:
    for name, raw in (("audio", message.audio), ("function_call", message.function_call)):
        if bytes(raw) not in NOTHING:
            raise refused(f"{where}.{name}")
    if message.name and message.role != "tool":
        raise refused(f"{where}.name")
    content = blocks(message.content, f"{where}.content")
    match message.role:
        case "system" | "developer":
            conversation.system += content
            return
        case "user":
            turn = Turn("user", content)
        case "assistant":
            turn = Turn("assistant", _assistant(message, content, where))
        case "tool":
            turn = Turn("user", [_tool_result(message, content, where)])
        case _:
            raise refused(f"{where}.role")
    if not turn.content:
        raise refused(f"{where}.content", "must not be empty for Anthropic")
    last = conversation.turns[-1] if conversation.turns else None
    if last is not None and last.role == turn.role:
        last.content += turn.content
    else:
        conversation.turns.append(turn)


def _assistant(message: _Message, content: list[Block], where: str) -> list[Block]:
    thinking = [msgspec.json.decode(raw, type=Block) for raw in message.thinking_blocks or ()]
    refusal: list[Block] = [{"type": "text", "text": message.refusal}] if message.refusal else []
    calls = [_tool_use(call, f"{where}.tool_calls[{index}]") for index, call in enumerate(message.tool_calls or ())]
    return [*thinking, *content, *refusal, *calls]


def _tool_use(call: _ToolCall, where: str) -> Block:
    if call.function is None:
        raise refused(f"{where}.type")
    arguments = call.function.arguments.strip() or "{}"
    try:
        msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        raise refused(f"{where}.function.arguments", "must be a JSON object for Anthropic") from None
    # As it was written: decoding would change large numbers.
    return {"type": "tool_use", "id": call.id, "name": call.function.name, "input": msgspec.Raw(arguments.encode())}


def _tool_result(message: _Message, content: list[Block], where: str) -> Block:
    if not message.tool_call_id:
        raise refused(f"{where}.tool_call_id", "is missing")
    block: Block = {"type": "tool_result", "tool_use_id": message.tool_call_id}
    if isinstance(message.content, str):
        block["content"] = message.content
    elif content:
        block["content"] = content
    return block

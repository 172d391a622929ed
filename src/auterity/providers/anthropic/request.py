"""A chat completion request, as Anthropic's Messages API wants it."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from auterity.providers.anthropic.content import Block
from auterity.providers.anthropic.conversation import read_conversation
from auterity.providers.anthropic.refused import NOTHING, refused
from auterity.providers.anthropic.tools import tool_choice, tools
from auterity.providers.contract import ModelCall, Target
from auterity.providers.untyped import UNREADABLE, as_object

__all__ = ["messages_request"]

Value = TypeVar("Value")
Fields = Mapping[str, msgspec.Raw]
Body = dict[str, object]

_ABSENT: Final = msgspec.Raw(b"null")

# Handled by the gateway, not by the model: streams always carry usage, and metadata are the usage event's tags.
_OURS: Final = frozenset({"model", "stream", "stream_options", "metadata"})

_HANDLED: Final = frozenset({"messages", "tools", "tool_choice", "parallel_tool_calls", "max_completion_tokens"})

_DEFAULTS: Final[Mapping[str, frozenset[bytes]]] = {
    "n": frozenset({b"1"}),
    "presence_penalty": frozenset({b"0", b"0.0"}),
    "frequency_penalty": frozenset({b"0", b"0.0"}),
    "modalities": frozenset({b'["text"]'}),
}
"""Values that say no more than leaving the field out would."""


def messages_request(call: ModelCall, target: Target) -> bytes:
    """Translate the request's body.

    ``reasoning_effort`` becomes ``output_config.effort`` (``none``: thinking disabled), ``response_format`` with a
    schema ``output_config.format``; Anthropic's own ``thinking``, ``top_k`` and ``cache_control`` pass through.

    Raises:
        UntranslatableRequest: a field has no counterpart; ``param`` names it.
    """
    fields = {name: raw for name, raw in call.fields.items() if raw != _ABSENT and name not in _OURS}
    conversation = read_conversation(fields.get("messages", msgspec.Raw(b"[]")))
    body: Body = {"model": target.upstream_model, "max_tokens": _max_tokens(fields, target)}
    if conversation.system:
        body["system"] = _shortest(conversation.system)
    body["messages"] = [{"role": turn.role, "content": _shortest(turn.content)} for turn in conversation.turns]
    if defined := tools(fields.get("tools", _ABSENT)):
        body["tools"] = defined
        parallel = _read(fields, "parallel_tool_calls", bool, default=True)
        if (choice := tool_choice(fields.get("tool_choice", _ABSENT), parallel=parallel)) is not None:
            body["tool_choice"] = choice
    elif bytes(fields.get("tool_choice", _ABSENT)) not in (b"null", b'"none"', b'"auto"'):
        raise refused("tool_choice", "needs 'tools'")
    for name, raw in fields.items():
        if name in _HANDLED:
            continue
        translate = _TRANSLATIONS.get(name)
        if translate is not None:
            translate(fields, name, body)
        elif bytes(raw) not in NOTHING and bytes(raw) not in _DEFAULTS.get(name, ()):
            raise refused(name)
    if call.stream:
        body["stream"] = True
    return msgspec.json.encode(body)


def _shortest(content: list[Block]) -> str | list[Block]:
    """A single plain text as a string."""
    text = content[0].get("text")
    plain = len(content) == 1 and len(content[0]) == 2 and isinstance(text, str)
    return text if plain and isinstance(text, str) else content


def _read(fields: Fields, name: str, kind: type[Value], default: Value) -> Value:
    raw = fields.get(name)
    if raw is None:
        return default
    try:
        return msgspec.json.decode(raw, type=kind)
    except UNREADABLE:
        raise refused(name, f"must be of type {kind.__name__}") from None


_LEAST_OF_ALL_MODELS = 4096
"""What every Claude model can write; the oldest no more (Anthropic, "Models overview")."""


def _max_tokens(fields: Fields, target: Target) -> int:
    """Anthropic demands a limit: the client's, else the most that the model is known to write."""
    for name in ("max_completion_tokens", "max_tokens"):
        if name in fields and fields[name] != b"null":
            return _read(fields, name, int, 0)
    return target.max_output_tokens or _LEAST_OF_ALL_MODELS


def _pass(fields: Fields, name: str, body: Body) -> None:
    body[name] = fields[name]


def _nothing(fields: Fields, name: str, body: Body) -> None:
    """Already used."""


def _temperature(fields: Fields, name: str, body: Body) -> None:
    if not 0 <= _read(fields, name, float, 1.0) <= 1:
        raise refused(name, "must be between 0 and 1 for Anthropic")
    body[name] = fields[name]


def _stop(fields: Fields, name: str, body: Body) -> None:
    stop = _read(fields, name, object, None)
    body["stop_sequences"] = [stop] if isinstance(stop, str) else fields[name]


def _user(fields: Fields, name: str, body: Body) -> None:
    body["metadata"] = {"user_id": fields[name]}


def _service_tier(fields: Fields, name: str, body: Body) -> None:
    tier = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}.get(
        _read(fields, name, str, "")
    )
    if tier is None:
        raise refused(name)
    body[name] = tier


def _configure_output(body: Body, member: str, value: object) -> None:
    body["output_config"] = {**(as_object(body.get("output_config")) or {}), member: value}


def _reasoning_effort(fields: Fields, name: str, body: Body) -> None:
    effort = _read(fields, name, str, "")
    if effort == "none":
        body.setdefault("thinking", {"type": "disabled"})
    elif effort in ("low", "medium", "high", "xhigh", "max"):
        _configure_output(body, "effort", effort)
    else:
        raise refused(name)


class _Schema(msgspec.Struct):
    schema: msgspec.Raw = _ABSENT
    description: str | None = None


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


def _response_format(fields: Fields, name: str, body: Body) -> None:
    form = _read(fields, name, _ResponseFormat, _ResponseFormat("text"))
    if form.type == "text":
        return
    if form.type != "json_schema" or form.json_schema is None or form.json_schema.schema == _ABSENT:
        raise refused(f"{name}.type", "must be 'text', or 'json_schema' with a schema, for Anthropic")
    if form.json_schema.description:
        raise refused(f"{name}.json_schema.description")
    _configure_output(body, "format", {"type": "json_schema", "schema": form.json_schema.schema})


_TRANSLATIONS: Final[Mapping[str, Callable[[Fields, str, Body], None]]] = {
    "max_tokens": _nothing,
    "temperature": _temperature,
    "top_p": _pass,
    "top_k": _pass,
    "thinking": _pass,
    "cache_control": _pass,
    "stop": _stop,
    "user": _user,
    "safety_identifier": _user,
    "service_tier": _service_tier,
    "reasoning_effort": _reasoning_effort,
    "response_format": _response_format,
}

"""A twin of Anthropic's Messages API, by its published reference: what it demands, its answers, streams and errors."""

import itertools
from typing import Any

import msgspec

from tests.twins.stage import Asked, Faults, Scene, serve

MISSING_MODEL = "no-such-model"
WORDS = ("Hello", " from", " the", " Anthropic", " twin", ".", ' "quoted"', " and \\ and \n", " fine", " today")
_FIELDS = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "system",
        "metadata",
        "stop_sequences",
        "stream",
        "temperature",
        "top_k",
        "top_p",
    }
    | {"tools", "tool_choice", "thinking", "output_config", "service_tier", "cache_control"}
)
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class _Refused(Exception):
    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class AnthropicTwin:
    """Implements :class:`tests.twins.stage.Vendor`."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    def play(self, asked: Asked, faults: Faults) -> Scene:
        try:
            return self._route(asked, faults)
        except _Refused as refused:
            return self.error(refused.status, str(refused))

    def _route(self, asked: Asked, faults: Faults) -> Scene:
        if not asked.headers.get("x-api-key") and not asked.headers.get("authorization"):
            raise _Refused("x-api-key header is required", 401)
        if "anthropic-version" not in asked.headers:
            raise _Refused("anthropic-version: header is required")
        if (asked.method, asked.path) == ("GET", "/v1/models"):
            models = [{"type": "model", "id": "claude-sonnet-4-6", "display_name": "Sonnet", "created_at": ""}]
            return Scene(body=msgspec.json.encode({"data": models, "has_more": False}))
        if (asked.method, asked.path) != ("POST", "/v1/messages"):
            raise _Refused("Not found", 404)
        return self._message(_checked(asked), faults)

    def error(self, status: int, message: str, *, retry_after_s: float | None = None) -> Scene:
        headers = {"request-id": f"req_twin{next(self._ids)}"}
        if retry_after_s is not None:
            headers |= {"retry-after": str(round(retry_after_s)), "anthropic-ratelimit-requests-remaining": "0"}
        error = {"type": _TYPES.get(status, "api_error"), "message": message}
        return Scene(status=status, headers=headers, body=msgspec.json.encode({"type": "error", "error": error}))

    def error_event(self) -> bytes:
        return _event("error", error={"type": "overloaded_error", "message": "Overloaded"})

    def _message(self, body: dict[str, Any], faults: Faults) -> Scene:
        count = faults.chunks if faults.chunks is not None else len(WORDS)
        words = [word for word, _ in zip(itertools.cycle(WORDS), range(count), strict=False)]
        stop_reason = "end_turn"
        if body["max_tokens"] < len(words):
            words, stop_reason = words[: body["max_tokens"]], "max_tokens"
        content: list[dict[str, Any]] = []
        thinking: dict[str, Any] = body.get("thinking") or {}
        choice: dict[str, Any] = body.get("tool_choice") or {}
        if thinking.get("type") in ("enabled", "adaptive"):
            content.append({"type": "thinking", "thinking": "Let me think.", "signature": "twin-signature"})
        if choice.get("type") in ("any", "tool"):
            name = choice.get("name") or body["tools"][0]["name"]
            content.append({"type": "tool_use", "id": "toolu_twin", "name": name, "input": {"city": "Bonn"}})
            stop_reason = "tool_use"
        else:
            content.append({"type": "text", "text": "".join(words)})
        prompt = 5 + len(str(body["messages"])) // 4
        usage = {
            "input_tokens": prompt,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 4,
            "output_tokens": len(words),
        }
        message: dict[str, Any] = {
            "id": f"msg_twin{next(self._ids)}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": usage,
        }
        if faults.no_usage:
            message.pop("usage")
        if body.get("stream"):
            return Scene(pieces=_events(message, words, faults))
        return Scene(body=msgspec.json.encode(message))


def _checked(asked: Asked) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(asked.body, type=dict[str, Any])
    except msgspec.DecodeError:
        raise _Refused("The request body is not valid JSON") from None
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            raise _Refused(f"{name}: Field required")
    for name in body:
        if name not in _FIELDS:
            raise _Refused(f"{name}: Extra inputs are not permitted")
    if body["model"] == MISSING_MODEL:
        raise _Refused(f"model: {MISSING_MODEL}", 404)
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        raise _Refused("max_tokens: Input should be greater than or equal to 1")
    temperature = body.get("temperature")
    if temperature is not None and not 0 <= temperature <= 1:
        raise _Refused("temperature: range: 0..1")
    if body.get("tool_choice") and not body.get("tools"):
        raise _Refused("tool_choice may only be specified while providing tools")
    for index, tool in enumerate(body.get("tools") or ()):
        if tool.get("input_schema", {}).get("type") != "object":
            raise _Refused(f"tools.{index}.custom.input_schema.type: Field required")
    _check_turns(body["messages"])
    return body


def _check_turns(messages: list[dict[str, Any]]) -> None:
    """The turns alternate and begin with the user's; every tool use is answered in the next turn."""
    if not messages:
        raise _Refused("messages: at least one message is required")
    expected, open_calls = "user", set[str]()
    for index, message in enumerate(messages):
        if message.get("role") != expected:
            raise _Refused(f"messages.{index}: roles must alternate, expected {expected!r}")
        expected = "assistant" if expected == "user" else "user"
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not blocks:
            raise _Refused(f"messages.{index}: must have non-empty content")
        if any(block["type"] == "text" and not block["text"] for block in blocks):
            raise _Refused(f"messages.{index}: text content blocks must be non-empty")
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if results != open_calls:
            raise _Refused(f"messages.{index}: tool_use ids and tool_result blocks do not match")
        open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}


def _events(message: dict[str, Any], words: list[str], faults: Faults) -> list[bytes]:
    usage = message.get("usage")
    opening: dict[str, Any] = message | {"content": [], "stop_reason": None}
    if usage is not None:
        opening["usage"] = usage | {"output_tokens": 1}
    events = [_event("message_start", message=opening), _event("ping")]
    for index, block in enumerate(message["content"]):
        events += _block_events(index, block, words)
    last: dict[str, Any] = {"delta": {"stop_reason": message["stop_reason"], "stop_sequence": None}}
    last["usage"] = {"output_tokens": usage["output_tokens"]} if usage is not None else {}
    events.append(_event("message_delta", **last))
    if not faults.no_end:
        events.append(_event("message_stop"))
    return events


def _block_events(index: int, block: dict[str, Any], words: list[str]) -> list[bytes]:
    match block["type"]:
        case "text":
            empty: dict[str, Any] = {"text": ""}
            deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": word} for word in words]
        case "tool_use":
            empty = {"input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", '{"city":', ' "Bonn"}')]
        case _:
            empty = {"thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
    return [
        _event("content_block_start", index=index, content_block=block | empty),
        *(_event("content_block_delta", index=index, delta=delta) for delta in deltas),
        _event("content_block_stop", index=index),
    ]


def _event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + msgspec.json.encode({"type": kind} | members) + b"\n\n"


if __name__ == "__main__":
    serve(AnthropicTwin())

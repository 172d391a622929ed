"""A twin of OpenAI's API, by its published reference: chat completions, embeddings, models, errors, rate limits."""

import base64
import itertools
import struct
from typing import Any, cast

import msgspec

from tests.twins.stage import Asked, Faults, Scene, serve

MODELS = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")
MISSING_MODEL = "no-such-model"
WORDS = ("Hello", " from", " the", " OpenAI", " twin", ".", ' It says "usage"', " and \\ and \n", " fine", " today")
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_TYPES = {401: "invalid_request_error", 403: "permission_error", 429: "requests"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


class _Refused(Exception):
    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


class OpenAITwin:
    """Implements :class:`tests.twins.stage.Vendor`."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    def play(self, asked: Asked, faults: Faults) -> Scene:
        try:
            return self._route(asked, faults)
        except _Refused as refused:
            return self.error(refused.status, str(refused), param=refused.param)

    def _route(self, asked: Asked, faults: Faults) -> Scene:
        if not asked.headers.get("authorization", "").startswith("Bearer ") and "api-key" not in asked.headers:
            raise _Refused(401, "You didn't provide an API key.")
        path = asked.path.removeprefix("/v1")
        if asked.method == "GET" and path == "/models":
            models = [{"id": name, "object": "model", "created": 1, "owned_by": "openai"} for name in MODELS]
            return _json({"object": "list", "data": models})
        if asked.method != "POST" or path not in ("/chat/completions", "/embeddings"):
            raise _Refused(404, f"Invalid URL ({asked.method} {asked.path})")
        body = _checked(asked)
        return self._embed(body) if path == "/embeddings" else self._chat(body, faults)

    def error(
        self, status: int, message: str, *, retry_after_s: float | None = None, param: str | None = None
    ) -> Scene:
        kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        scene = _json({"error": {"message": message, "type": kind, "param": param, "code": _CODES.get(status)}})
        scene.status = status
        if retry_after_s is not None:
            scene.headers = {
                "retry-after": str(round(retry_after_s)),
                "retry-after-ms": str(round(retry_after_s * 1000)),
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": f"{retry_after_s:.0f}s",
            }
        return scene

    def error_event(self) -> bytes:
        return _frame({"error": {"message": "The server had an error.", "type": "server_error", "code": None}})

    def _chat(self, body: dict[str, Any], faults: Faults) -> Scene:
        _check_chat(body)
        count = faults.chunks if faults.chunks is not None else len(WORDS)
        words = [word for word, _ in zip(itertools.cycle(WORDS), range(count), strict=False)]
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        finish = "stop"
        if isinstance(limit, int) and limit < len(words):
            words, finish = words[:limit], "length"
        prompt = 5 + sum(len(str(message.get("content"))) // 4 for message in body["messages"])
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": len(words),
            "total_tokens": prompt + len(words),
            "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 1 if words else 0, "audio_tokens": 0},
        }
        head = {
            "id": f"chatcmpl-twin{next(self._ids)}",
            "created": 1_767_225_600,
            "model": f"{body['model']}-2026-01-01",
        }
        if body.get("stream"):
            options: dict[str, Any] = body.get("stream_options") or {}
            asked_usage = options.get("include_usage") is True and not faults.no_usage
            return Scene(pieces=_chunks(head, words, finish, usage if asked_usage else None, faults))
        message: dict[str, Any] = {"role": "assistant", "content": "".join(words), "refusal": None}
        if body.get("tools") and body.get("tool_choice") not in (None, "auto", "none"):
            name = body["tools"][0]["function"]["name"]
            call = {"id": "call_twin", "type": "function", "function": {"name": name, "arguments": '{"city":"Bonn"}'}}
            message, finish = (
                {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
                "tool_calls",
            )
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        answer: dict[str, Any] = head | {"object": "chat.completion", "choices": [choice], "x_unknown": {"kept": True}}
        if not faults.no_usage:
            answer["usage"] = usage
        return _json(answer)

    def _embed(self, body: dict[str, Any]) -> Scene:
        given: Any = body.get("input")
        inputs = cast("list[object]", given) if isinstance(given, list) else [given]
        if not inputs or not all(inputs):
            raise _Refused(400, "'input' must not be empty.", "input")
        vector = [0.5, -0.5, 0.5, -0.5]
        packed = base64.b64encode(struct.pack("<4f", *vector)).decode()
        value = packed if body.get("encoding_format") == "base64" else vector
        data = [{"object": "embedding", "index": index, "embedding": value} for index in range(len(inputs))]
        usage = {"prompt_tokens": 3 * len(inputs), "total_tokens": 3 * len(inputs)}
        return _json({"object": "list", "data": data, "model": body["model"], "usage": usage})


def _checked(asked: Asked) -> dict[str, Any]:
    if not asked.headers.get("content-type", "").startswith("application/json"):
        raise _Refused(400, "The content type must be application/json.")
    try:
        body = msgspec.json.decode(asked.body, type=dict[str, Any])
    except msgspec.DecodeError:
        raise _Refused(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(body.get("model"), str):
        raise _Refused(400, "you must provide a model parameter", "model")
    if body["model"] == MISSING_MODEL:
        raise _Refused(404, f"The model `{MISSING_MODEL}` does not exist.", "model")
    return body


def _check_chat(body: dict[str, Any]) -> None:
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise _Refused(400, "Missing required parameter: 'messages'.", "messages")
    messages: list[dict[str, Any]] = body["messages"]
    for index, message in enumerate(messages):
        if message.get("role") not in _ROLES:
            raise _Refused(400, f"Invalid value for messages[{index}].role.", f"messages[{index}].role")
        if message.get("role") == "tool" and not message.get("tool_call_id"):
            raise _Refused(400, f"Missing messages[{index}].tool_call_id.", f"messages[{index}].tool_call_id")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise _Refused(400, "'stream_options' is only allowed when 'stream' is enabled.", "stream_options")
    temperature = body.get("temperature")
    if temperature is not None and not 0 <= temperature <= 2:
        raise _Refused(400, "Invalid 'temperature'.", "temperature")
    for name in ("max_tokens", "max_completion_tokens"):
        if body.get(name) is not None and body[name] < 1:
            raise _Refused(400, f"Invalid '{name}'.", name)


def _chunks(
    head: dict[str, Any], words: list[str], finish: str, usage: dict[str, Any] | None, faults: Faults
) -> list[bytes]:
    """A stream: the role, one word each, the finish reason, usage (alone, or with the finish reason), the end."""
    separate = usage is not None and not faults.usage_in_last

    def chunk(delta: dict[str, Any], finish: str | None = None, usage: dict[str, Any] | None = None) -> bytes:
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        members: dict[str, Any] = {"usage": usage} if separate or usage is not None else {}
        return _frame(head | {"object": "chat.completion.chunk", "choices": choices} | members)

    pieces = [chunk({"role": "assistant", "content": "", "refusal": None})]
    pieces += [chunk({"content": word}) for word in words]
    pieces.append(chunk({}, finish, None if separate else usage))
    if separate:
        alone: dict[str, Any] = {"object": "chat.completion.chunk", "choices": [], "usage": usage}
        pieces.append(_frame(head | alone))
    if not faults.no_end:
        pieces.append(b"data: [DONE]\n\n")
    return pieces


def _json(value: object) -> Scene:
    return Scene(body=msgspec.json.encode(value))


def _frame(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


if __name__ == "__main__":
    serve(OpenAITwin())

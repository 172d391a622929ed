"""Chat completions of the sandbox, plain and streamed, in OpenAI's shapes."""

from random import Random
from typing import Literal

import msgspec

from auterity.providers.sandbox.faults import Faults
from auterity.providers.sandbox.instances import instance_of
from auterity.providers.sandbox.models import SandboxModel
from auterity.providers.sandbox.requests import ChatRequest, RequestError, Tool
from auterity.providers.sandbox.speech import NOTICE, speak
from auterity.providers.sandbox.tokens import count_tokens, split_tokens
from auterity.providers.untyped import as_object

__all__ = ["Completion", "complete", "completion_body", "completion_frames"]

_PER_MESSAGE, _PER_REPLY, _PER_IMAGE, _PER_TOOL = 3, 3, 85, 12
_FINGERPRINT = "fp_sandbox"
_encode = msgspec.json.encode


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One of the alternatives, said or called."""

    pieces: list[str]
    """Tokens of the text, or of the arguments of ``tool``."""
    tool: str | None
    tool_call_id: str
    finish_reason: Literal["stop", "length", "tool_calls"]


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer before it is written down."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    prompt_tokens: int
    reasoning_tokens: int
    completion_tokens: int

    @property
    def usage(self) -> dict[str, object]:
        """The ``usage`` member."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


def complete(request: ChatRequest, model: SandboxModel, faults: Faults, seed: int, created: int) -> Completion:
    """Think of an answer: the same for the same request.

    Raises:
        RequestError: the request is one that OpenAI would refuse.
    """
    prompt = _prompt_tokens(request)
    limit = _limit(request, model, prompt)
    random = Random(seed)  # noqa: S311 (chosen to be repeatable, guards nothing)
    reasoning = min(_reasoning_tokens(request, model, random), limit)
    choices = [_choose(request, faults, random, limit - reasoning, index) for index in range(request.n or 1)]
    return Completion(
        id=f"chatcmpl-sandbox{seed:016x}",
        created=created,
        model=model.name,
        choices=choices,
        prompt_tokens=prompt,
        reasoning_tokens=reasoning,
        completion_tokens=reasoning + sum(len(choice.pieces) for choice in choices),
    )


def _prompt_tokens(request: ChatRequest) -> int:
    messages = sum(
        _PER_MESSAGE
        + count_tokens(message.text)
        + count_tokens(bytes(message.tool_calls).decode("utf-8", "replace"))
        + _PER_IMAGE * message.images
        for message in request.messages
    )
    tools = sum(
        _PER_TOOL + count_tokens(tool.function.description + _encode(tool.function.parameters).decode())
        for tool in request.tools or ()
    )
    return messages + tools + _PER_REPLY


def _limit(request: ChatRequest, model: SandboxModel, prompt: int) -> int:
    if not request.messages:
        raise RequestError(400, "[] is too short - 'messages'", param="messages")
    if not 1 <= (request.n or 1) <= 128:
        raise RequestError(400, "'n' must be between 1 and 128.", param="n", code="integer_out_of_range")
    asked: int | None = None
    for param, value in (("max_tokens", request.max_tokens), ("max_completion_tokens", request.max_completion_tokens)):
        if value is None:
            continue
        if not 1 <= value <= model.max_output_tokens:
            message = f"'{param}' must be between 1 and {model.max_output_tokens}, the most that {model.name} writes."
            raise RequestError(400, message, param=param, code="integer_out_of_range")
        asked = value
    if prompt + (asked or 0) > model.context_window:
        message = (
            f"This model's maximum context length is {model.context_window} tokens. However, you requested "
            f"{prompt + (asked or 0)} tokens ({prompt} in the messages, {asked or 0} in the completion)."
        )
        raise RequestError(400, message, param="messages", code="context_length_exceeded")
    return min(asked or model.max_output_tokens, model.context_window - prompt)


def _reasoning_tokens(request: ChatRequest, model: SandboxModel, random: Random) -> int:
    if model.kind != "reasoning":
        return 0
    scale = {"none": 0.0, "minimal": 0.1, "low": 0.5, "high": 2.0, "xhigh": 4.0}.get(request.reasoning_effort or "", 1)
    return round(random.randint(32, 96) * scale)


def _choose(request: ChatRequest, faults: Faults, random: Random, limit: int, index: int) -> Choice:
    tool, called = _tool(request, faults)
    if tool is not None:
        arguments = _encode(instance_of(tool.function.parameters, "sandbox")).decode()
        pieces = split_tokens(arguments)
    else:
        pieces = _spoken(request, faults, random)
    cut = len(pieces) > limit
    return Choice(
        pieces=pieces[:limit],
        tool=tool.function.name if tool is not None else None,
        tool_call_id=f"call_sandbox{random.getrandbits(64):016x}{index:02x}",
        finish_reason="length" if cut else called,
    )


def _tool(request: ChatRequest, faults: Faults) -> tuple[Tool | None, Literal["stop", "tool_calls"]]:
    """The tool to call, if any, and the finish reason: ``stop`` for a function that was named, as OpenAI has it."""
    tools = request.tools or []
    if name := request.chosen_tool:
        for tool in tools:
            if tool.function.name == name:
                return tool, "stop"
        raise RequestError(
            400,
            f"Tool choice '{name}' not found in 'tools' parameter.",
            param="tool_choice",
            code="invalid_tool_choice",
        )
    if request.tool_choice == "required" and not tools:
        raise RequestError(400, "'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
    # Once a tool has answered, the sandbox says something: no loop without end.
    asked = request.tool_choice == "required" or (faults.tool and request.messages[-1].role != "tool")
    return (tools[0], "tool_calls") if tools and asked else (None, "stop")


def _spoken(request: ChatRequest, faults: Faults, random: Random) -> list[str]:
    pieces = speak(random, faults.tokens)
    form = request.response_format or {}
    if form.get("type") == "json_object":
        pieces = split_tokens(_encode({"notice": NOTICE, "answer": "".join(pieces)}).decode())
    elif form.get("type") == "json_schema":
        schema = (as_object(form.get("json_schema")) or {}).get("schema")
        pieces = split_tokens(_encode(instance_of(schema, NOTICE)).decode())
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    text = "".join(pieces)
    ends = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return split_tokens(text[: min(ends)]) if ends else pieces


def completion_body(completion: Completion, faults: Faults) -> bytes:
    """The plain answer."""
    body: dict[str, object] = {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created,
        "model": completion.model,
        "choices": [
            {
                "index": index,
                "message": _message(choice),
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(completion.choices)
        ],
        "usage": completion.usage,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    if faults.no_usage:
        del body["usage"]
    return _encode(body)


def _message(choice: Choice) -> dict[str, object]:
    text = "".join(choice.pieces)
    if choice.tool is None:
        return {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    call = {"id": choice.tool_call_id, "type": "function", "function": {"name": choice.tool, "arguments": text}}
    return {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "annotations": []}


def completion_frames(completion: Completion, faults: Faults, include_usage: bool) -> list[bytes]:
    """The same answer as server-sent events, ``[DONE]`` included."""
    head = {
        "id": completion.id,
        "object": "chat.completion.chunk",
        "created": completion.created,
        "model": completion.model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    opening = b"data: " + _encode(head)[:-1]
    null_usage = b',"usage":null}\n\n' if include_usage else b"}\n\n"

    def frame(index: int, delta: object, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"".join((opening, b',"choices":[', _encode(choice), b"]", null_usage))

    frames: list[bytes] = []
    for index, choice in enumerate(completion.choices):
        if choice.tool is None:
            frames.append(frame(index, {"role": "assistant", "content": "", "refusal": None}))
            frames += [frame(index, {"content": piece}) for piece in choice.pieces]
        else:
            function = {"name": choice.tool, "arguments": ""}
            call = {"index": 0, "id": choice.tool_call_id, "type": "function", "function": function}
            frames.append(frame(index, {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}))
            for piece in choice.pieces:
                frames.append(frame(index, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
        frames.append(frame(index, {}, choice.finish_reason))
    if include_usage and not faults.no_usage:
        frames.append(b"".join((opening, b',"choices":[],"usage":', _encode(completion.usage), b"}\n\n")))
    frames.append(b"data: [DONE]\n\n")
    return frames

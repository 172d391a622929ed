"""Streams of Anthropic's API as chunks of a chat completion."""

import msgspec

from auterity.kit.sse import FrameCutter, FrameTooLarge, read_events
from auterity.kit.tokens import TokenUsage
from auterity.providers.anthropic.answer import STATUS_OF_ERROR, finish_reason
from auterity.providers.anthropic.usage import MessageUsage
from auterity.providers.contract import ProviderRefusal
from auterity.providers.refusals import invalid_answer, refusal_of
from auterity.providers.untyped import UNREADABLE, decoded

__all__ = ["AnthropicStreamDecoder"]

_ABSENT = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: msgspec.Raw = _ABSENT


class _Block(msgspec.Struct):
    type: str = ""
    text: str = ""
    id: str = ""
    name: str = ""
    data: str = ""


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    message: _Message | None = None
    index: int = 0
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = _ABSENT


class _Error(msgspec.Struct):
    type: str = ""


class _ErrorEvent(msgspec.Struct):
    error: _Error | None = None


_decoder = msgspec.json.Decoder(_Event)
_error_decoder = msgspec.json.Decoder(_ErrorEvent)
_encode = msgspec.json.Encoder().encode
_CHARACTERS_PER_TOKEN = 4
"""Of English text; good enough for an answer that broke off."""


class _OpenBlock:
    """A content block while it comes."""

    __slots__ = ("calls", "kind", "signature", "thought", "told")

    def __init__(self, kind: str, calls: int) -> None:
        self.kind = kind
        self.calls = calls
        """The tool call's index among the tool calls."""
        self.told = False
        """Something of a tool's input has come."""
        self.thought: list[str] = []
        self.signature = ""


class AnthropicStreamDecoder:
    """Implements :class:`auterity.providers.contract.StreamDecoder`."""

    __slots__ = (
        "_blocks",
        "_calls",
        "_created",
        "_cutter",
        "_delta_characters",
        "_deltas",
        "_head",
        "_stopped",
        "_told",
        "_usage",
        "content_bytes",
        "content_events",
        "finished",
        "opening",
        "pending",
        "usage_chunk",
    )

    def __init__(self, created: int) -> None:
        self._cutter = FrameCutter()
        self._created = created
        self._head = b""
        """What every chunk begins with, up to its delta."""
        self._blocks: dict[int, _OpenBlock] = {}
        self._calls = 0
        self._stopped = False
        self._usage = MessageUsage()
        self._told = False
        """The usage at the end of the answer has come."""
        self._deltas = 0
        self._delta_characters = 0
        self.finished = False
        self.pending = b""
        self.usage_chunk: bytes | None = None
        self.content_events = 0
        self.content_bytes = 0
        self.opening: tuple[str, int] | None = None

    @property
    def usage(self) -> TokenUsage | None:
        """What the provider said; until the answer's end, with an estimate of the output.

        ``message_start`` tells the whole input but only the first tokens of the output. An answer that breaks off after
        it has used what came: at least a token for each delta and one for every four characters.
        """
        said = self._usage.total()
        if said is None or self._told:
            return said
        output = max(said.output, self._deltas, -(-self._delta_characters // _CHARACTERS_PER_TOKEN))
        return msgspec.structs.replace(said, output=output, estimated=True)

    def feed(self, data: bytes) -> bytes:
        try:
            block = self._cutter.feed(data)
        except FrameTooLarge as error:
            self.pending = b""
            raise invalid_answer(200, "an event of the stream is too long") from error
        if not block or self.finished:
            return b""
        chunks: list[bytes] = []
        try:
            for _, event in read_events(block):
                if event is not None and not self.finished:
                    chunks += self._translate(event.data)
        except ProviderRefusal:
            self.pending = self._counted(chunks)
            raise
        return self._counted(chunks)

    def end(self) -> None:
        # The last event, message_stop, says nothing new after a stop reason.
        if self._stopped:
            self.finished = True

    def _counted(self, chunks: list[bytes]) -> bytes:
        joined = b"".join(chunks)
        self.content_events += len(chunks)
        self.content_bytes += len(joined)
        return joined

    def _translate(self, data: bytes) -> list[bytes]:
        try:
            event = _decoder.decode(data)
        except UNREADABLE as error:
            raise invalid_answer(200, "an event of the stream is not what Anthropic's contract says") from error
        match event.type:
            case "content_block_delta":
                return self._delta(event)
            case "message_start":
                return self._start(event.message or _Message())
            case "content_block_start":
                return self._block_start(event)
            case "content_block_stop":
                return self._block_stop(event)
            case "message_delta":
                return self._message_delta(event)
            case "message_stop":
                self.finished = True
            case "error":
                raise _refusal(data)
            # "ping", and events that are yet to be invented, which clients are told to expect.
            case _:
                pass
        return []

    def _start(self, message: _Message) -> list[bytes]:
        head = {"id": message.id, "object": "chat.completion.chunk", "created": self._created, "model": message.model}
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":[{"index":0,"delta":'
        self.opening = (message.id, self._created)
        self._usage.take(message.usage)
        return [self._chunk({"role": "assistant", "content": ""})]

    def _block_start(self, event: _Event) -> list[bytes]:
        block = event.content_block or _Block()
        self._blocks[event.index] = _OpenBlock(block.type, self._calls)
        if block.type == "tool_use":
            function = {"name": block.name, "arguments": ""}
            call = {"index": self._calls, "id": block.id, "type": "function", "function": function}
            self._calls += 1
            return [self._chunk({"tool_calls": [call]})]
        if block.type == "redacted_thinking":
            return [self._chunk({"thinking_blocks": [{"type": block.type, "data": block.data}]})]
        return [self._chunk({"content": block.text})] if block.type == "text" and block.text else []

    def _delta(self, event: _Event) -> list[bytes]:
        delta = event.delta or _Delta()
        self._deltas += 1
        self._delta_characters += len(delta.text or delta.partial_json or delta.thinking)
        if delta.type == "text_delta":
            return [self._chunk({"content": delta.text})]
        block = self._blocks.get(event.index)
        if block is None:
            return []
        if delta.type == "input_json_delta" and delta.partial_json:
            block.told = True
            return [self._arguments(block, delta.partial_json)]
        if delta.type == "thinking_delta":
            block.thought.append(delta.thinking)
            return [self._chunk({"reasoning_content": delta.thinking})]
        if delta.type == "signature_delta":
            block.signature += delta.signature
        return []

    def _block_stop(self, event: _Event) -> list[bytes]:
        block = self._blocks.pop(event.index, None)
        if block is None:
            return []
        if block.kind == "tool_use" and not block.told:
            # A call without arguments has no delta; OpenAI's clients want an object all the same.
            return [self._arguments(block, "{}")]
        if block.kind == "thinking" and block.signature:
            signed = {"type": "thinking", "thinking": "".join(block.thought), "signature": block.signature}
            return [self._chunk({"thinking_blocks": [signed]})]
        return []

    def _message_delta(self, event: _Event) -> list[bytes]:
        self._usage.take(event.usage)
        self._told = self._told or event.usage != _ABSENT
        if event.delta is None or event.delta.stop_reason is None:
            return []
        self._stopped = True
        return [self._chunk({}, finish_reason(event.delta.stop_reason))]

    def _arguments(self, block: _OpenBlock, piece: str) -> bytes:
        return self._chunk({"tool_calls": [{"index": block.calls, "function": {"arguments": piece}}]})

    def _chunk(self, delta: dict[str, object], finish: str | None = None) -> bytes:
        if not self._head:
            raise invalid_answer(200, "the stream does not begin with message_start")
        reason = _encode(finish)
        return b"".join((self._head, _encode(delta), b',"logprobs":null,"finish_reason":', reason, b"}]}\n\n"))


def _refusal(data: bytes) -> ProviderRefusal:
    try:
        error = _error_decoder.decode(data).error
    except UNREADABLE:
        error = None
    return refusal_of(decoded(data), STATUS_OF_ERROR.get(error.type if error else "", 502))

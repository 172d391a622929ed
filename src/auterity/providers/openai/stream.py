"""Streams of OpenAI's API: frames are passed on as they came, and only those that may matter are read."""

import msgspec

from auterity.kit.sse import FrameCutter, FrameTooLarge, read_events
from auterity.kit.tokens import TokenUsage
from auterity.providers.contract import ProviderRefusal
from auterity.providers.openai.usage import read_usage
from auterity.providers.refusals import invalid_answer, refusal_of
from auterity.providers.untyped import UNREADABLE, decoded

__all__ = ["OpenAIStreamDecoder"]

_ABSENT = msgspec.Raw(b"null")
_ERROR_STATUS = 502
"""The status of an error in the middle of a stream whose HTTP status was 200 and that names no other."""
_TEXT = b'content":"'
"""What precedes the text in ``content`` and in ``reasoning_content``."""
_PADDING = b'"obfuscation":"'
_PADDING_END = b'"}\n\n'
_MAX_LESSONS = 16
"""A stream whose chunks keep changing their form is not worth learning from."""


class _Chunk(msgspec.Struct):
    """A chunk's members that matter here, unread: providers differ in their types."""

    id: msgspec.Raw = _ABSENT
    created: msgspec.Raw = _ABSENT
    choices: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    x_groq: msgspec.Raw = _ABSENT


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None


class _GroqExtension(msgspec.Struct):
    usage: msgspec.Raw = _ABSENT


_chunk_decoder = msgspec.json.Decoder(_Chunk)
_choices_decoder = msgspec.json.Decoder(list[_Choice])
_text_decoder = msgspec.json.Decoder(str)
_number_decoder = msgspec.json.Decoder(float)
_groq_decoder = msgspec.json.Decoder(_GroqExtension)


class OpenAIStreamDecoder:
    """Implements :class:`auterity.providers.contract.StreamDecoder`.

    Ordinary chunks are never decoded. There are two ways to know one, the second costs three times the first:

    - it is like an ordinary chunk seen before in all bytes but the text (and OpenAI's ``obfuscation`` padding);
    - it has ``"choices":[{``, no ``"error"``, no ``"usage"`` but null and no ``"finish_reason"`` with a text.

    Quotes inside a JSON string are escaped, so that text cannot look like a member; where in doubt (other spacing, a
    string that is just one of these words) the chunk is decoded.
    """

    __slots__ = (
        "_cutter",
        "_lessons",
        "_middle",
        "_padded",
        "_prefix",
        "_tail",
        "_unfinished",
        "content_bytes",
        "content_events",
        "finished",
        "opening",
        "pending",
        "usage",
        "usage_chunk",
    )

    def __init__(self, choices: int = 1) -> None:
        self._cutter = FrameCutter()
        self._tail = self._cutter.tail
        self._unfinished = set(range(choices))
        self._lessons = 0
        self._prefix = b""
        """An ordinary chunk up to its text; ``b""`` before one was seen."""
        self._middle = b""
        """From the end of its text to its end, or to its padding."""
        self._padded = False
        self.finished = False
        self.pending = b""
        self.usage: TokenUsage | None = None
        self.usage_chunk: bytes | None = None
        self.content_events = 0
        self.content_bytes = 0
        self.opening: tuple[str, int] | None = None

    def feed(self, data: bytes) -> bytes:
        if self._prefix and not self._tail and (frames := self._alike(data)):
            self.content_events += frames
            self.content_bytes += len(data)
            return data
        try:
            block = self._cutter.feed(data)
        except FrameTooLarge as error:
            self.pending = b""
            raise invalid_answer(200, "an event of the stream is too long") from error
        if not block or self.finished:
            return b""
        if frames := self._ordinary(block):
            self.content_events += frames
            self.content_bytes += len(block)
            return block
        return self._inspect(block)

    def end(self) -> None:
        if self.finished:
            return
        # Some servers forget the empty line after their last event, others the end mark. A chunk that cannot be
        # forwarded any more is a loss, though.
        try:
            lost = self._inspect(bytes(self._tail) + b"\n\n")
        except ProviderRefusal:
            return
        if not lost.strip() and not self._unfinished:
            self.finished = True

    def _ordinary(self, block: bytes) -> int:
        """Count the frames if all of them are ordinary chunks, else return 0."""
        frames = block.count(b"\n\n")
        if (
            self.opening is None
            or block.count(b'"choices":[{') != frames
            or block.count(b'"usage"') != block.count(b'"usage":null')
            or b'"error"' in block
            or b'"finish_reason":"' in block
        ):
            return 0
        if self._lessons < _MAX_LESSONS:
            self._learn(block if frames == 1 else block[: block.find(b"\n\n") + 2])
        return frames

    def _alike(self, data: bytes) -> int:
        """Count the frames if all of them differ from the learnt one in their text only, else return 0."""
        prefix, middle, padded = self._prefix, self._middle, self._padded
        frames, at, end = 0, 0, len(data)
        while at < end:
            if not data.startswith(prefix, at):
                return 0
            at = data.find(b'"', at + len(prefix))
            if at < 0 or not data.startswith(middle, at):
                return 0
            at += len(middle)
            if padded:
                at = data.find(b'"', at)
                if at < 0 or not data.startswith(_PADDING_END, at):
                    return 0
                at += len(_PADDING_END)
            frames += 1
        return frames

    def _learn(self, frame: bytes) -> None:
        text = frame.find(_TEXT) + len(_TEXT)
        end = frame.find(b'"', text)
        if text < len(_TEXT) or end < 0 or b"\n" in frame[:end]:
            return
        self._lessons += 1
        padding = frame.find(_PADDING, end) + len(_PADDING)
        self._padded = padding >= len(_PADDING) and frame.find(b'"', padding) == len(frame) - len(_PADDING_END)
        self._prefix = frame[:text]
        self._middle = frame[end:padding] if self._padded else frame[end:]

    def _inspect(self, block: bytes) -> bytes:
        forwarded: list[bytes] = []
        try:
            for frame, event in read_events(block):
                if self.finished:
                    break
                if event is None:
                    # A comment keeps the connection alive; before the first chunk it must not commit the answer.
                    if self.opening is not None:
                        forwarded.append(frame)
                elif event.data.strip() == b"[DONE]":
                    self.finished = True
                    # Nothing that comes now is like anything.
                    self._prefix = b""
                elif (
                    (self._prefix and self._alike(frame))
                    or (event.name == b"message" and self._ordinary(frame))
                    or self._forwards(event.data, event.name == b"error")
                ):
                    forwarded.append(frame)
                    self.content_events += 1
                    self.content_bytes += len(frame)
        except ProviderRefusal:
            self.pending = b"".join(forwarded)
            raise
        return b"".join(forwarded)

    def _forwards(self, data: bytes, named_error: bool) -> bool:
        """Read one chunk; say whether the client gets it."""
        try:
            chunk = _chunk_decoder.decode(data)
        except UNREADABLE as error:
            if named_error:
                raise refusal_of(data.decode("utf-8", "replace"), _ERROR_STATUS) from None
            if self.opening is None:
                raise invalid_answer(200, "the stream does not begin with a JSON object") from error
            return True
        if named_error or chunk.error != _ABSENT:
            raise self._refusal(data)
        if chunk.x_groq != _ABSENT:
            self._meter(_groq_usage(chunk.x_groq))
        empty = not bytes(chunk.choices).strip(b"[] \t\n") or chunk.choices == _ABSENT
        if chunk.usage != _ABSENT:
            self._meter(read_usage(chunk.usage))
            if empty:
                self.usage_chunk = data
                return False
        if self._unfinished and b'"finish_reason"' in bytes(chunk.choices):
            self._finish(chunk.choices)
        if self.opening is None:
            self._open(chunk, last_chance=not empty)
        return True

    def _finish(self, choices: msgspec.Raw) -> None:
        try:
            for choice in _choices_decoder.decode(choices):
                if choice.finish_reason:
                    self._unfinished.discard(choice.index)
        except UNREADABLE:
            return

    def _meter(self, usage: TokenUsage | None) -> None:
        # Servers that report continuously count up: the last word holds.
        if usage is not None:
            self.usage = usage

    def _open(self, chunk: _Chunk, last_chance: bool) -> None:
        """Take ``id`` and ``created``; Azure's first chunk (prompt filter results, no choices) has them empty."""
        identifier, created = _text(chunk.id), _seconds(chunk.created)
        if identifier or last_chance:
            self.opening = (identifier, created)

    @staticmethod
    def _refusal(data: bytes) -> ProviderRefusal:
        body = decoded(data)
        refusal = refusal_of(body, _ERROR_STATUS)
        # Some name the status of the error that they could not send in the head any more, as ``code``.
        code = refusal.provider_code or ""
        if code.isascii() and code.isdigit() and 400 <= int(code) <= 599:
            return refusal_of(body, int(code))
        return refusal


def _groq_usage(raw: msgspec.Raw) -> TokenUsage | None:
    try:
        extension = _groq_decoder.decode(raw)
    except UNREADABLE:
        return None
    return read_usage(extension.usage) if extension.usage != _ABSENT else None


def _text(raw: msgspec.Raw) -> str:
    try:
        return _text_decoder.decode(raw)
    except UNREADABLE:
        return ""


def _seconds(raw: msgspec.Raw) -> int:
    try:
        return int(_number_decoder.decode(raw))
    except (*UNREADABLE, OverflowError):
        return 0

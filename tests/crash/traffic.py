"""Traffic that remembers what it was answered: many callers, each call with a tag of its own, on plain sockets.

A call counts as answered once its client holds all of it: the whole body of a plain call, ``[DONE]`` of a stream. What
the client saw of the cost is kept with it.
"""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urlsplit

import msgspec

__all__ = ["Answer", "Call", "Kind", "Traffic", "call"]

_COST = re.compile(rb'"x_auterity":\{"cost":"([0-9.]+)"')
_CODE = re.compile(rb'"code":"([a-z_]+)"')
_RETRY_S = 0.02
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What a caller asks for."""

    model: str
    stream: bool
    prompt: str = "Hello"
    max_tokens: int = 16

    def body(self) -> bytes:
        """The request's JSON. Streams ask for their usage, so that they learn their cost."""
        members: dict[str, object] = {
            "model": self.model,
            "messages": [{"role": "user", "content": self.prompt}],
            "max_tokens": self.max_tokens,
        }
        if self.stream:
            members |= {"stream": True, "stream_options": {"include_usage": True}}
        return msgspec.json.encode(members)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, as far as it came."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass(slots=True)
class Call:
    """One call as its client saw it."""

    tag: str
    stream: bool
    begun: float
    """On the monotonic clock, as :attr:`ended`."""
    ended: float = 0.0
    status: int = 0
    """0: no answer, or not all of it."""
    done: bool = False
    """All of a good answer came."""
    code: str = ""
    """Of the error, where one came."""
    retry_after: str = ""
    cost_nano: int | None = None
    failure: str = ""
    """What broke the connection."""


@dataclass(slots=True)
class _Line:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Traffic:
    """Callers of one server. They call again and again until :meth:`stop`, or each until its connection breaks."""

    def __init__(
        self,
        url: str,
        api_key: str,
        kinds: Sequence[Kind],
        *,
        label: str,
        keep_on: bool = False,
        weight: int = 0,
        remember: bool = True,
    ) -> None:
        """
        Args:
            label: begins the tags of these calls, so that none has the tag of another traffic's.
            keep_on: connect again after a connection broke.
            remember: keep every call; else only counts, for runs without end.
            weight: bytes of further tags, which make each call's record longer.
        """
        words = (f"t{number}=" + "x" * min(500, weight - 500 * number) for number in range(-(-weight // 500)))
        self._tags = "".join(f", {word}" for word in words)
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._api_key = api_key
        self._kinds = kinds
        self._label = label
        self._keep_on = keep_on
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._remember = remember
        self.calls: list[Call] = []
        """Those under way too; empty where they are not to be remembered."""
        self.failed: Counter[str] = Counter()
        """Reasons of the calls that ended without a good answer."""
        self.done = 0
        """Calls whose whole answer came."""
        self.in_flight = 0
        self.refused = 0

    @contextlib.asynccontextmanager
    async def running(self, callers: int) -> AsyncGenerator["Traffic"]:
        """So many callers for as long as this lasts; at its end their last calls are waited for."""
        self._tasks = [asyncio.create_task(self._caller(number)) for number in range(callers)]
        try:
            yield self
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Let the calls under way end, and begin no other."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks)
            for task in self._tasks:
                task.result()
            self._tasks = []

    async def until(
        self, *, in_flight: int = 0, done: int = 0, ended: int = 0, refused: int = 0, seconds: float = _PATIENCE_S
    ) -> None:
        """Wait until so many calls are under way at once, and so many done, ended, or refused by status.

        Raises:
            TimeoutError: they are not in time.
        """
        wanted = (in_flight, done, ended, refused)
        deadline = time.monotonic() + seconds
        while any(has < wants for has, wants in zip(self._counts(), wanted, strict=True)):
            if time.monotonic() > deadline or (self._tasks and all(task.done() for task in self._tasks)):
                raise TimeoutError(
                    f"under way, done, ended and refused are {self._counts()} and not {wanted}; "
                    f"failed: {dict(self.failed)}; last: {self.calls[-1:]}"
                )
            await asyncio.sleep(0.005)

    def _counts(self) -> tuple[int, int, int, int]:
        return self.in_flight, self.done, self.ended, self.refused

    @property
    def ended(self) -> int:
        """Calls that came to an end, whichever."""
        return self.done + self.failed.total()

    async def _caller(self, number: int) -> None:
        line: _Line | None = None
        serial = 0
        try:
            while not self._stopping:
                kind = self._kinds[number % len(self._kinds)]
                call = Call(f"{self._label}-{number}-{serial}", kind.stream, time.monotonic())
                serial += 1
                try:
                    line = line or await self._connect()
                    if self._remember:
                        self.calls.append(call)
                    await self._call(line, kind, call)
                    if call.status >= 400:
                        await asyncio.sleep(_RETRY_S)
                except (OSError, EOFError) as error:
                    call.failure = type(error).__name__
                    line = _hang_up(line)
                    if not self._keep_on:
                        return
                    await asyncio.sleep(_RETRY_S)
                finally:
                    self._end(call)
        finally:
            _hang_up(line)

    def _end(self, call: Call) -> None:
        call.ended = time.monotonic()
        if call.done:
            self.done += 1
        elif call.status or call.failure:
            self.refused += call.status >= 400
            self.failed[call.code or call.failure or str(call.status)] += 1

    async def _connect(self) -> _Line:
        return _Line(*await asyncio.open_connection(self._host, self._port))

    async def _call(self, line: _Line, kind: Kind, call: Call) -> None:
        self.in_flight += 1
        try:
            answer = await _exchange(line, self._host, self._api_key, kind, call.tag + self._tags)
        finally:
            self.in_flight -= 1
        _note(call, answer)


async def call(url: str, api_key: str, kind: Kind, tag: str) -> Call:
    """One call on a connection of its own.

    Raises:
        OSError, EOFError: the connection broke.
    """
    address = urlsplit(url)
    host = address.hostname or ""
    line = _Line(*await asyncio.open_connection(host, address.port or 80))
    made = Call(tag, kind.stream, time.monotonic())
    try:
        _note(made, await _exchange(line, host, api_key, kind, tag))
    finally:
        made.ended = time.monotonic()
        _hang_up(line)
    return made


@dataclass(slots=True)
class _Partial:
    body: bytearray = field(default_factory=bytearray)


async def _exchange(line: _Line, host: str, api_key: str, kind: Kind, tag: str) -> Answer:
    body = kind.body()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {api_key}\r\n"
        f"content-type: application/json\r\nx-auterity-tags: n={tag}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    line.writer.write(head.encode() + body)
    lines = (await line.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(b": ") for each in lines[1:-2])}
    status = int(lines[0].split()[1])
    length = headers.get(b"content-length")
    if length is not None:
        return Answer(status, headers, await line.reader.readexactly(int(length)))
    partial = _Partial()
    try:
        while size := int((await line.reader.readuntil(b"\r\n")).strip(), 16):
            partial.body += (await line.reader.readexactly(size + 2))[:-2]
        await line.reader.readexactly(2)
    except (OSError, EOFError):
        # All that the client waits for may be there though the end of the transfer is not.
        if not partial.body.endswith(b"data: [DONE]\n\n"):
            raise
    return Answer(status, headers, bytes(partial.body))


def _note(call: Call, answer: Answer) -> None:
    call.status = answer.status
    call.retry_after = answer.headers.get(b"retry-after", b"").decode()
    call.done = answer.status == 200 and (not call.stream or b"data: [DONE]" in answer.body)
    if not call.done:
        code = _CODE.search(answer.body)
        call.code = code[1].decode() if code else ""
        return
    found = _COST.search(answer.body) if call.stream else None
    cost = found[1] if found else answer.headers.get(b"x-auterity-cost")
    call.cost_nano = int(Decimal(cost.decode()).scaleb(9)) if cost is not None else None


def _hang_up(line: _Line | None) -> None:
    if line is not None:
        line.writer.transport.abort()

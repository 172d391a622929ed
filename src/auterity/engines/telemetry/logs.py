"""Logs: one line per record, as JSON for machines or as text for people, written without holding up the event loop.

The line is made where the record is, and handed to a thread that writes it. If whoever reads our output stops reading,
the thread waits and the event loop does not: lines beyond a bound are dropped, counted, and the count is told.
"""

import atexit
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO, cast

import msgspec

from auterity.engines.telemetry.redaction import redact

__all__ = ["LogFormat", "LogOutput", "configure", "request_id"]

LogFormat = Literal["json", "text", "auto"]

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that is being served; set by the gateway and the API for each, told with each record."""

_LINES_KEPT = 10_000
_FLUSH_S = 2.0

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

_QUIET = ("alembic", "asyncio", "httpcore2", "httpx2", "urllib3")
"""Libraries that tell each of their steps, addresses included, at the level at which we tell events."""


class _JsonLine(logging.Formatter):
    """One object per record: ts, level, logger, process, message, request_id, the fields passed as ``extra``, error."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if self._process:
            line["process"] = self._process
        line["message"] = redact(record.getMessage())
        line |= _fields(record)
        error = _error(record)
        if error is not None:
            line["error"] = error
        return msgspec.json.encode(line).decode()


class _TextLine(logging.Formatter):
    """Time, level, process, logger, message, fields; the stack on lines of its own."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = f" [{process}]" if process else ""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        message = redact(record.getMessage()).translate(_VISIBLE)
        said = f"{time} {record.levelname:<8}{self._process} {record.name}: {message}"
        for name, value in _fields(record).items():
            said += f" {name}={value}".translate(_VISIBLE)
        error = _error(record)
        return said if error is None else f"{said}\n{error['stack']}".rstrip()


# What a caller sent must not be able to write a line of its own, nor to steer a terminal.
_VISIBLE = {code: f"\\x{code:02x}" for code in [*range(0x20), 0x7F, *range(0x80, 0xA0)]} | {0x0A: "\\n", 0x09: "\\t"}


class LogOutput(logging.Handler):
    """Writes lines to a stream from a thread of its own."""

    def __init__(self, stream: TextIO, kept: int = _LINES_KEPT) -> None:
        super().__init__()
        self._stream = stream
        self._kept = kept
        self._lines: deque[str] = deque()
        self._more = threading.Condition(threading.Lock())
        self._dropped = 0
        self._closing = False
        self._writing = False
        self._thread = threading.Thread(target=self._write, name="log-output", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except (TypeError, ValueError):
            # It must not stop what it was to tell of, and logging's own way out would print its arguments unmasked.
            line = self.format(_note("a record of %s:%d does not fit its arguments", record.pathname, record.lineno))
        with self._more:
            if len(self._lines) >= self._kept or self._closing:
                self._dropped += 1
                return
            self._lines.append(line)
            self._more.notify()

    def flush(self) -> None:
        """Wait until what was logged is written, two seconds at most."""
        with self._more:
            self._more.wait_for(lambda: not self._lines and not self._writing, timeout=_FLUSH_S)

    def close(self) -> None:
        self.flush()
        with self._more:
            self._closing = True
            self._more.notify_all()
        self._thread.join(_FLUSH_S)
        super().close()

    def _write(self) -> None:
        while True:
            with self._more:
                self._writing = False
                self._more.notify_all()
                self._more.wait_for(lambda: self._lines or self._closing)
                if not self._lines:
                    return
                lines, self._lines = self._lines, deque()
                dropped, self._dropped = self._dropped, 0
                self._writing = True
            if dropped:
                lines.append(self.format(_note("%d log records were dropped: their reader is too slow", dropped)))
            try:
                self._stream.write("".join(line + "\n" for line in lines))
                self._stream.flush()
            except (OSError, ValueError):
                # Nobody reads us any more. There is no other place to say so.
                with self._more:
                    self._dropped += dropped + len(lines)


def configure(
    level: str, log_format: LogFormat = "auto", *, process: str = "", stream: TextIO | None = None
) -> LogOutput:
    """Send all logging of this process, uvicorn's and asyncio's included, to ``stream``, and nowhere else.

    Args:
        level: the least level that is told, e.g. ``"info"``.
        log_format: ``"auto"`` means text where a person reads (a terminal), else JSON.
        process: this process's name, e.g. ``worker-3``.
        stream: standard error where none is given.

    Returns:
        The output, to be flushed or closed; it is closed when the process ends.
    """
    out = stream or sys.stderr
    as_text = log_format == "text" or (log_format == "auto" and out.isatty())
    output = LogOutput(out)
    output.setFormatter(_TextLine(process) if as_text else _JsonLine(process))
    logging.basicConfig(level=level.upper(), handlers=[output], force=True)
    logging.captureWarnings(capture=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    # Each call is told by its usage event and the metrics already; an access log would tell it a third time.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    atexit.register(output.close)
    return output


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = {name: _clean(value) for name, value in vars(record).items() if name not in _OWN_FIELDS}
    current = request_id.get()
    if current and "request_id" not in fields:
        fields["request_id"] = current
    return fields


def _clean(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {redact(str(key)): _clean(item) for key, item in items}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_clean(item) for item in cast("Sequence[object]", value)]
    return redact(str(value))


def _error(record: logging.LogRecord) -> dict[str, str] | None:
    """Type, message and stack; never the values of variables."""
    if not record.exc_info or record.exc_info[1] is None:
        return None
    failure = record.exc_info[1]
    stack = "".join(traceback.TracebackException.from_exception(failure, capture_locals=False).format())
    return {"type": type(failure).__qualname__, "message": redact(str(failure)), "stack": redact(stack)}


def _note(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, arguments, None)

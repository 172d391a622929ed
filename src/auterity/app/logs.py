"""How the program's processes log: one line per record on stderr, as JSON or as text."""

import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from auterity.app.settings import Settings

__all__ = ["configure"]

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class _Json(logging.Formatter):
    """One object per record; what was passed as ``extra`` stands beside the message."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(said, enc_hook=str).decode()


class _Text(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {process}: %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = " ".join(f"{name}={value}" for name, value in record.__dict__.items() if name not in _STANDARD)
        return f"{line} ({extra})" if extra else line


def configure(settings: Settings, process: str, stream: TextIO | None = None) -> None:
    """Send all logging of this process to ``stream`` (stderr where none is given), replacing what was set up before.

    Args:
        process: this process's name, e.g. ``worker-3``.
    """
    out = stream or sys.stderr
    text = settings.log_format == "text" or (settings.log_format == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(_Text(process) if text else _Json(process))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # Libraries that tell each of their steps, or each call's address, at the level that we use for events.
    for name in ("alembic", "httpx2", "httpcore2", "asyncio", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)

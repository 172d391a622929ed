"""What the sandbox sends back: a head, then pieces with the pauses between them, and how it ends."""

from enum import StrEnum

import msgspec

from auterity.engines.http.port import Header
from auterity.providers.sandbox.requests import RequestError, error_body

__all__ = ["Ending", "Reply", "Step", "error_reply", "json_reply"]


class Ending(StrEnum):
    """What happens after the last piece."""

    COMPLETE = "complete"
    BROKEN = "broken"
    """The connection closes in the middle."""
    SILENT = "silent"
    """Nothing more comes, and the connection stays open."""


class Step(msgspec.Struct, frozen=True):
    """One piece of the body."""

    pause_s: float
    data: bytes


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer in time."""

    status: int = 200
    headers: tuple[Header, ...] = ()
    pause_s: float = 0.0
    """Before the head."""
    steps: tuple[Step, ...] = ()
    ending: Ending = Ending.COMPLETE
    headless: bool = False
    """Not even the head comes: the connection is refused (ending ``broken``) or stays silent."""


_JSON: Header = (b"content-type", b"application/json")


def json_reply(body: bytes, *, status: int = 200, pause_s: float = 0.0, headers: tuple[Header, ...] = ()) -> Reply:
    """A plain answer that holds JSON."""
    return Reply(status=status, headers=(_JSON, *headers), pause_s=pause_s, steps=(Step(0.0, body),))


def error_reply(error: RequestError, *, pause_s: float = 0.0, headers: tuple[Header, ...] = ()) -> Reply:
    """An error in OpenAI's shape, with ``retry-after`` where waiting helps."""
    if error.retry_after is not None:
        headers = (*headers, (b"retry-after", f"{error.retry_after:g}".encode()))
    body = error_body(error.status, error.message, error.code, error.param)
    return json_reply(body, status=error.status, pause_s=pause_s, headers=headers)

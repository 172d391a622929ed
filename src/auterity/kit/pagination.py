"""Opaque cursors: the position after the last row of a page, as URL-safe base64 of JSON."""

import base64
import binascii
from collections.abc import Sequence

import msgspec

from auterity.kit.errors import InvalidRequest

__all__ = ["MAX_PAGE_SIZE", "Position", "decode_cursor", "encode_cursor"]

MAX_PAGE_SIZE = 1000

Position = Sequence[str | int | None]
"""The sort key of the last row that was shown."""


def encode_cursor(position: Position) -> str:
    """Turn a sort key into a cursor."""
    return base64.urlsafe_b64encode(msgspec.json.encode(list(position))).rstrip(b"=").decode()


def decode_cursor(cursor: str, length: int) -> list[str | int | None]:
    """Turn a cursor back into a sort key of ``length`` parts.

    Raises:
        InvalidRequest: the cursor was not made by :func:`encode_cursor` for this listing.
    """
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        position = msgspec.json.decode(raw, type=list[str | int | None])
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise InvalidRequest("The cursor is not valid; start again without one.", param="cursor") from error
    if len(position) != length:
        raise InvalidRequest("The cursor belongs to another listing; start again without one.", param="cursor")
    return position

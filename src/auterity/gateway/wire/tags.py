"""Tags that a call carries into its usage event: the body's ``metadata`` and the header ``x-auterity-tags``.

Limits are OpenAI's for metadata: at most 16 pairs, names up to 64 and values up to 512 characters. What exceeds them
is refused where Auterity defined the field (the header) and left to the provider where it did not (the body).
"""

from collections.abc import Mapping

import msgspec

from auterity.kit.errors import InvalidRequest

__all__ = ["MAX_TAGS", "TRUNCATED", "header_tags", "merge_tags", "metadata_tags"]

MAX_TAGS = 16
_NAME_LIMIT = 64
_VALUE_LIMIT = 512
_TOTAL_BYTES = 8192
_FEW = _TOTAL_BYTES // (4 * (_NAME_LIMIT + _VALUE_LIMIT))
TRUNCATED = "auterity.tags_truncated"
"""Set to ``true`` on an event whose tags did not all fit."""

_metadata = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


def metadata_tags(metadata: msgspec.Raw) -> dict[str, str]:
    """The string pairs of the body's ``metadata``; anything else in it is the provider's business."""
    if metadata == b"null":
        return {}
    try:
        pairs = _metadata.decode(metadata)
    except msgspec.ValidationError:
        return {}
    tags: dict[str, str] = {}
    for name, raw in pairs.items():
        value = bytes(raw)
        if len(tags) < MAX_TAGS and len(name) <= _NAME_LIMIT and value[:1] == b'"':
            tags[name] = _text.decode(value)[:_VALUE_LIMIT]
    return tags


def header_tags(header: bytes) -> dict[str, str]:
    """Read ``name=value, name=value``.

    Raises:
        InvalidRequest: it is not of that form, or over the limits.
    """
    tags: dict[str, str] = {}
    for pair in header.decode("latin-1").split(","):
        name, equals, value = pair.strip().partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or len(name) > _NAME_LIMIT or len(value) > _VALUE_LIMIT:
            raise InvalidRequest(
                "The header x-auterity-tags takes 'name=value' pairs separated by commas; names up to "
                f"{_NAME_LIMIT} and values up to {_VALUE_LIMIT} characters.",
                param="x-auterity-tags",
            )
        tags[name] = value
    if len(tags) > MAX_TAGS:
        raise InvalidRequest(f"The header x-auterity-tags takes at most {MAX_TAGS} pairs.", param="x-auterity-tags")
    return tags


def merge_tags(*sources: Mapping[str, str]) -> dict[str, str]:
    """One set of tags out of several, the first source winning, within what one usage event can hold (8 KiB)."""
    filled = [source for source in sources if source]
    if not filled:
        return {}
    if len(filled) == 1 and len(filled[0]) <= _FEW:
        # As most calls have it; within the limits of names and values, so few cannot be too much.
        return dict(filled[0])
    merged: dict[str, str] = {}
    room = _TOTAL_BYTES
    for source in filled:
        for name, value in source.items():
            if name in merged:
                continue
            size = len(name.encode()) + len(value.encode())
            if size > room:
                merged[TRUNCATED] = "true"
                continue
            room -= size
            merged[name] = value
    return merged

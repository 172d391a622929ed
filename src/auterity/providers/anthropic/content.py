"""Parts of a message: text, images and documents, from OpenAI's shapes to Anthropic's blocks."""

import re
from typing import Final, TypedDict

import msgspec

from auterity.providers.anthropic.refused import NOTHING, refused

__all__ = ["Block", "Content", "Part", "blocks"]

Block = dict[str, object]
"""A content block as Anthropic reads it."""

_DATA_URL: Final = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,", re.IGNORECASE)
_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


class _Image(msgspec.Struct):
    url: str
    detail: str | None = None


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Image | None = None
    file: _File | None = None
    cache_control: msgspec.Raw = msgspec.Raw(b"null")
    """Anthropic's own mark, which some clients send; passed on as it is."""


Content = str | list[Part] | None


class _Source(TypedDict, total=False):
    type: str
    media_type: str
    data: str
    url: str


def blocks(content: Content, where: str) -> list[Block]:
    """Translate a message's content; empty texts, which Anthropic refuses, are left out.

    Raises:
        UntranslatableRequest: a part has no counterpart.
    """
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    found: list[Block] = []
    for index, part in enumerate(content):
        block = _block(part, f"{where}[{index}]")
        if block is None:
            continue
        if bytes(part.cache_control) not in NOTHING:
            block["cache_control"] = part.cache_control
        found.append(block)
    return found


def _block(part: Part, where: str) -> Block | None:
    if part.type in ("text", "refusal"):
        text = part.text if part.type == "text" else part.refusal
        return {"type": "text", "text": text} if text else None
    if part.type == "image_url" and part.image_url is not None:
        return {"type": "image", "source": _image(part.image_url, where)}
    if part.type == "file" and part.file is not None:
        return _document(part.file, where)
    raise refused(f"{where}.type")


def _image(image: _Image, where: str) -> _Source:
    if image.detail not in (None, "auto"):
        raise refused(f"{where}.image_url.detail")
    if image.url.startswith(("https://", "http://")):
        return {"type": "url", "url": image.url}
    media_type, data = _embedded(image.url, f"{where}.image_url.url")
    if media_type not in _IMAGES:
        raise refused(f"{where}.image_url.url", "must be a JPEG, PNG, GIF or WebP image for Anthropic")
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(file: _File, where: str) -> Block:
    if file.file_data is None:
        raise refused(
            f"{where}.file", "must hold 'file_data': files that were uploaded elsewhere are not known to Anthropic"
        )
    media_type, data = _embedded(file.file_data, f"{where}.file.file_data")
    if media_type != "application/pdf":
        raise refused(f"{where}.file.file_data", "must be a PDF for Anthropic")
    block: Block = {"type": "document", "source": {"type": "base64", "media_type": media_type, "data": data}}
    if file.filename:
        block["title"] = file.filename
    return block


def _embedded(url: str, where: str) -> tuple[str, str]:
    """Media type and data of a base64 ``data:`` URL (RFC 2397)."""
    match = _DATA_URL.match(url)
    if match is None:
        raise refused(where, "must be an http, https or base64 data URL")
    return match[1].lower(), url[match.end() :]

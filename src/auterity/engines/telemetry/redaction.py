"""Masking of what looks like a secret, for text that leaves the program as a log."""

import re

__all__ = ["MASK", "redact"]

MASK = "***"

_SECRETS = (
    # Keys of ours and of providers: ak-…, sk-…, sk-ant-…, pk-…, rk-…, gsk_…, xai-…, AIza….
    (re.compile(r"\b((?:ak|sk|pk|rk|xai|whsec)[-_]|gsk_|AIza)[A-Za-z0-9_\-]{8,}"), rf"\1{MASK}"),
    # JSON Web Tokens.
    (re.compile(r"\beyJ[A-Za-z0-9_\-]{6,}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?"), MASK),
    (re.compile(r"\b(Bearer|Basic)(\s+)[^\s\"',;]+", re.IGNORECASE), rf"\1\2{MASK}"),
    # The password of any URL, greedily: one that holds an unescaped "/" or "@" must not show its end.
    (re.compile(r"\b([a-z][a-z0-9+.\-]*://[^\s:/@\"'<>]*):[^\s\"'<>]*@", re.IGNORECASE), rf"\1:{MASK}@"),
    (
        re.compile(
            r"\b((?:api[-_]?key|password|passwd|secret|token|pepper)\b[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]{4,}",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
)


def redact(text: str) -> str:
    """Return ``text`` with everything shaped like a key, a token or a URL's password masked."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text

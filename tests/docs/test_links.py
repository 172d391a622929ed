"""Links between the project's Markdown files lead somewhere, anchors included."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

_ROOT = Path(__file__).parents[2]
_PAGES = [*sorted(_ROOT.glob("*.md")), *sorted((_ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?(?P<target>[^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_ABSOLUTE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*#*$", re.MULTILINE)
_CODE = re.compile(r"^ *(`{3,}).*?^ *\1`*\s*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.finditer(re.sub(r"^ *(`{3,}).*?^ *\1`*\s*$", "", text, flags=re.MULTILINE | re.DOTALL)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"]).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (slug if not number else f"{slug}-{number}") in found:
            number += 1
        found.add(slug if not number else f"{slug}-{number}")
    return found


def _targets(text: str) -> Iterator[str]:
    for link in _LINK.finditer(_CODE.sub("", text)):
        if not _ABSOLUTE.match(link["target"]):
            yield unquote(link["target"])


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_every_internal_link_resolves(page: Path) -> None:
    assert [target for target in _targets(page.read_text()) if not _resolves(page, target)] == []


def _resolves(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    if not found.exists() or not found.is_relative_to(_ROOT):
        return False
    return not anchor or found.suffix != ".md" or anchor in anchors_of(found.read_text())


def test_anchors_are_made_as_github_makes_them() -> None:
    text = "# The `way` of a call\n## Errors & codes\n## Errors & codes\n```\n# no heading\n```\n"
    assert anchors_of(text) == {"the-way-of-a-call", "errors--codes", "errors--codes-1"}

"""Promises of cursors: what goes in comes out, and what was not made here is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.kit.errors import InvalidRequest
from auterity.kit.pagination import decode_cursor, encode_cursor

_POSITIONS = st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=40)), max_size=5)


@given(_POSITIONS)
def test_a_cursor_holds_its_position(position: list[str | int | None]) -> None:
    assert decode_cursor(encode_cursor(position), len(position)) == position


@given(_POSITIONS)
def test_a_cursor_needs_no_escaping_in_a_url(position: list[str | int | None]) -> None:
    assert set(encode_cursor(position)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(_POSITIONS, st.integers(0, 6))
def test_a_cursor_of_another_listing_is_refused(position: list[str | int | None], length: int) -> None:
    if length != len(position):
        with pytest.raises(InvalidRequest):
            decode_cursor(encode_cursor(position), length)


@given(st.text(max_size=60))
def test_any_text_is_a_position_or_refused(text: str) -> None:
    try:
        position = decode_cursor(text, 1)
    except InvalidRequest:
        return
    assert isinstance(position[0], str | int | None)


@pytest.mark.parametrize("content", ["{}", "1", '"a"', "[[1]]", "[1.5]", "[true]", "[1", ""])
def test_other_json_than_a_list_of_plain_values_is_refused(content: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_cursor(base64.urlsafe_b64encode(content.encode()).decode(), 1)

"""Promises of ids: well-formed, unique, in order of creation."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.kit import ids
from auterity.kit.ids import is_id, new_id

_PREFIXES = st.from_regex(r"[a-z]{2,5}", fullmatch=True)


@given(_PREFIXES)
def test_a_new_id_is_an_id_of_its_prefix_and_no_other(prefix: str) -> None:
    made = new_id(prefix)
    assert is_id(made, prefix)
    assert not is_id(made, "zzzzz" if prefix != "zzzzz" else "aaaaa")


@given(_PREFIXES, st.text(max_size=45))
def test_what_is_not_made_of_prefix_and_32_digits_is_no_id(prefix: str, text: str) -> None:
    assert not is_id(f"{prefix}_{text}", prefix) or (len(text) == 32 and set(text) <= set("0123456789abcdef"))


@pytest.mark.parametrize("wrong", ["", "key", "key_", "key_" + "g" * 32, "KEY_" + "0" * 32, "key_" + "0" * 33])
def test_malformed_ids_are_told(wrong: str) -> None:
    assert not is_id(wrong, "key")


def test_a_newline_at_the_end_is_not_part_of_an_id() -> None:
    assert not is_id(new_id("key") + "\n", "key")


@given(st.lists(st.integers(0, 2**47), min_size=2, max_size=20))
def test_ids_sort_by_the_millisecond_of_their_creation(moments: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        made: list[tuple[int, str]] = []
        for moment in moments:
            patch.setattr(ids.time, "time_ns", lambda moment=moment: moment * 1_000_000)
            made.append((moment, new_id("key")))
    by_id = sorted(made, key=lambda pair: pair[1])
    assert [moment for moment, _ in by_id] == sorted(moments)


def test_ids_are_unique_and_begin_with_the_present_time() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id("evt") for _ in range(10_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == len(made)
    assert all(before <= int(each[4:16], 16) <= after for each in made)

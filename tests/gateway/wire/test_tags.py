"""Tags come from the key, a header and the body, within what one event can hold."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.gateway.wire.tags import MAX_TAGS, TRUNCATED, header_tags, merge_tags, metadata_tags
from auterity.kit.errors import InvalidRequest


def test_the_header_holds_pairs() -> None:
    assert header_tags(b"team=search, env = prod,note=a=b") == {"team": "search", "env": "prod", "note": "a=b"}


@pytest.mark.parametrize("header", [b"team", b"=x", b"a=1,,b=2", b"n" * 65 + b"=1", b"a=" + b"v" * 513])
def test_a_header_of_another_form_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        header_tags(header)
    assert caught.value.param == "x-auterity-tags"


def test_too_many_pairs_in_the_header_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        header_tags(b",".join(b"t%d=1" % n for n in range(MAX_TAGS + 1)))


@pytest.mark.parametrize("metadata", [b"null", b"1", b'"x"', b"[]", b"{}"])
def test_metadata_of_another_kind_gives_no_tags(metadata: bytes) -> None:
    assert metadata_tags(msgspec.Raw(metadata)) == {}


def test_the_keys_own_tags_win() -> None:
    assert merge_tags({"team": "key"}, {"team": "header", "a": "1"}, {"a": "2", "b": "3"}) == {
        "team": "key",
        "a": "1",
        "b": "3",
    }


@given(st.lists(st.dictionaries(st.text(max_size=64), st.text(max_size=512), max_size=16), max_size=3))
def test_merged_tags_fit_an_event_and_say_when_some_did_not(sources: list[dict[str, str]]) -> None:
    merged = merge_tags(*sources)
    everything = {name for source in sources for name in source}
    assert sum(len(k.encode()) + len(v.encode()) for k, v in merged.items()) <= 8192 + len(TRUNCATED) + len("true")
    assert set(merged) - {TRUNCATED} == everything - {TRUNCATED} or merged[TRUNCATED] == "true"

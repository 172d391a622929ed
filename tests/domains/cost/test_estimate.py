"""Estimates are marked as such."""

from auterity.domains.cost.estimate import estimate_usage


def test_a_stream_counts_its_chunks() -> None:
    usage = estimate_usage(body_bytes=401, content_events=7, answer_bytes=0)
    assert (usage.input, usage.output, usage.estimated) == (101, 7, True)


def test_a_whole_answer_counts_its_bytes() -> None:
    assert estimate_usage(body_bytes=4, content_events=0, answer_bytes=9).output == 3

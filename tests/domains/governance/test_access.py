"""A key's allow-list decides."""

from auterity.domains.governance.access import may_use
from auterity.platform.keys.plan import KeyPlan


def test_a_key_without_a_list_may_use_every_model() -> None:
    assert may_use(KeyPlan("key_1", "ten_1", "k", ""), "anything")


def test_a_key_with_a_list_may_use_what_it_names() -> None:
    key = KeyPlan("key_1", "ten_1", "k", "", allowed_models=frozenset({"small"}))
    assert may_use(key, "small")
    assert not may_use(key, "large")


def test_an_empty_list_allows_nothing() -> None:
    assert not may_use(KeyPlan("key_1", "ten_1", "k", "", allowed_models=frozenset()), "small")

"""The order of trying follows the weights."""

import random
from collections import Counter
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from auterity.domains.orchestration.routing import order
from auterity.platform.models.plan import DeploymentPlan


def test_each_is_first_as_often_as_its_weight_says(make_deployment: Callable[..., DeploymentPlan]) -> None:
    deployments = [make_deployment("a", weight=3), make_deployment("b", weight=1)]
    source = random.Random(7)
    first = Counter(order(deployments, source)[0].id for _ in range(8000))
    assert 0.73 < first["a"] / 8000 < 0.77


def test_a_weight_of_nothing_makes_a_fallback(make_deployment: Callable[..., DeploymentPlan]) -> None:
    deployments = [
        make_deployment("last", weight=0),
        make_deployment("a"),
        make_deployment("very last", weight=0),
        make_deployment("b"),
    ]
    for seed in range(20):
        names = [deployment.id for deployment in order(deployments, random.Random(seed))]
        assert set(names[:2]) == {"a", "b"}
        assert names[2:] == ["last", "very last"]


@given(weights=st.lists(st.integers(0, 100), min_size=1, max_size=8), seed=st.integers())
def test_nothing_is_lost_or_doubled(weights: list[int], seed: int) -> None:
    deployments = [_bare(f"d{index}", weight) for index, weight in enumerate(weights)]
    assert Counter(d.id for d in order(deployments, random.Random(seed))) == Counter(d.id for d in deployments)


def _bare(name: str, weight: int) -> DeploymentPlan:
    plan = object.__new__(DeploymentPlan)
    object.__setattr__(plan, "id", name)
    object.__setattr__(plan, "weight", weight)
    return plan

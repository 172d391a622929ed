"""What is set aside is never less than what the call can cost."""

from collections.abc import Callable
from decimal import Decimal

from auterity.domains.cost.reservation import UNKNOWN_WINDOW, ceiling
from auterity.platform.models.plan import DeploymentPlan
from auterity.platform.models.prices import TokenKind

MakeDeployment = Callable[..., DeploymentPlan]
PRICES: dict[TokenKind, Decimal] = {"input": Decimal(1), "output": Decimal(2)}
"""Dollars per million tokens: 1,000 and 2,000 nano-dollars a token."""


def held(deployment: DeploymentPlan, **request: int | bool | None) -> int:
    given: dict[str, int | bool | None] = {"body_bytes": 100, "max_output_tokens": 10, "choices": 1, **request}
    limit = given["max_output_tokens"]
    return ceiling(
        [deployment],
        body_bytes=int(given["body_bytes"] or 0),
        refers_to_media=bool(given.get("refers_to_media")),
        max_output_tokens=None if limit is None else int(limit),
        choices=int(given["choices"] or 0),
    )


def test_every_byte_may_be_a_token(make_deployment: MakeDeployment) -> None:
    assert held(make_deployment(prices=PRICES)) == 100 * 1000 + 10 * 2000


def test_each_choice_may_use_the_whole_limit(make_deployment: MakeDeployment) -> None:
    assert held(make_deployment(prices=PRICES), choices=3) == 100 * 1000 + 30 * 2000


def test_without_the_clients_limit_the_models_own_counts(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(prices=PRICES, max_output_tokens=50)
    assert held(deployment, max_output_tokens=None) == 100 * 1000 + 50 * 2000


def test_without_any_limit_the_context_window_is_one(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(prices=PRICES, context_window=70)
    assert held(deployment, max_output_tokens=None) == 70 * 1000 + 70 * 2000


def test_media_may_fill_the_window(make_deployment: MakeDeployment) -> None:
    deployment = make_deployment(prices=PRICES)
    assert held(deployment, refers_to_media=True) == UNKNOWN_WINDOW * 1000 + 10 * 2000


def test_the_dearest_deployment_counts(make_deployment: MakeDeployment) -> None:
    cheap, dear = make_deployment(prices=PRICES), make_deployment(prices={"input": Decimal(5), "output": Decimal(9)})
    both = ceiling([cheap, dear], body_bytes=1, refers_to_media=False, max_output_tokens=1, choices=1)
    assert both == 5000 + 9000


def test_what_has_no_price_holds_nothing(make_deployment: MakeDeployment) -> None:
    assert held(make_deployment()) == 0

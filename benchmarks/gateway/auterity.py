"""Auterity as a user would start it, with everything on: authentication, limits, prices, usage events and metrics."""

from auterity import __version__
from benchmarks.gateway.subject import Bench, Running
from benchmarks.mock_provider import MODEL
from benchmarks.server import Management, serve

__all__ = ["Auterity"]


class Auterity:
    """The gateway of this repository: ``auterity serve --workers 1``, its embedded database and collector included.

    The key has what a real one has, so that each stage does its work: a limit of requests, a hard budget, allowed
    models and tags. Limit and budget are too high to be met. The model has its public price.
    """

    name = "auterity"
    title = "Auterity"

    def start(self, bench: Bench) -> Running:
        server = serve(
            bench.folder / "home",
            log=bench.folder / "output.log",
            core=bench.gateway_core,
            flags=("--allow-private-providers",),
        )
        management = Management(server)
        management.post(
            "/providers",
            {
                "name": "mock",
                "kind": "openai_compatible",
                "base_url": f"{bench.upstream}/v1",
                "api_key": "sk-mock",
                "price_provider": "openai",
            },
        )
        management.post("/models", {"name": MODEL, "deployments": [{"provider": "mock", "upstream_model": MODEL}]})
        key = management.post(
            "/keys",
            {
                "name": "benchmark",
                "allowed_models": [MODEL],
                "requests_per_minute": 1_000_000_000,
                "monthly_budget_usd": 1_000_000,
                "tags": {"team": "benchmark"},
            },
        )
        return Running(
            f"{server.url}/v1/chat/completions",
            __version__,
            {"authorization": f"Bearer {key['secret']}"},
            server.started,
        )

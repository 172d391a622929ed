"""Auterity as a user would start it, with everything on: authentication, limits, prices, usage events and metrics."""

from benchmarks.gateway.subject import Bench, NotMeasurable, Running

__all__ = ["Auterity"]


class Auterity:
    """The gateway of this repository."""

    name = "auterity"
    title = "Auterity"

    def start(self, bench: Bench) -> Running:
        raise NotMeasurable("not yet")

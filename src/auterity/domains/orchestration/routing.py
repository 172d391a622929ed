"""Routing: the order in which a model's deployments are tried."""

import random
from collections.abc import Sequence

from auterity.platform.models.plan import DeploymentPlan

__all__ = ["order"]


def order(deployments: Sequence[DeploymentPlan], source: random.Random) -> tuple[DeploymentPlan, ...]:
    """A weighted random permutation: each place goes to one of the rest with probability proportional to its weight.

    Deployments of weight 0 are fallbacks only: they come last, as configured. The permutation is drawn with
    exponential keys (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006).
    """
    if len(deployments) == 1:
        return (deployments[0],)
    drawn = [(source.expovariate(deployment.weight), deployment) for deployment in deployments if deployment.weight]
    drawn.sort(key=lambda pair: pair[0])
    return (*(deployment for _, deployment in drawn), *(d for d in deployments if not d.weight))

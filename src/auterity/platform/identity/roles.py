"""Which role may do what: actions ``<noun>.<verb>``; ``<noun>.*`` is all of a noun, ``*`` everything in a tenant."""

from collections.abc import Mapping

from auterity.platform.identity.principal import Principal

__all__ = ["ROLES", "allows"]

ROLES: Mapping[str, frozenset[str]] = {
    "owner": frozenset({"*"}),
    "admin": frozenset({"*"}),
    "developer": frozenset({"keys.*", "models.read", "providers.read", "prices.read", "usage.read", "tenants.read"}),
    "finance": frozenset({"prices.*", "usage.read", "models.read", "tenants.read"}),
    "viewer": frozenset({"models.read", "prices.read", "usage.read", "tenants.read"}),
}

_PLATFORM_ACTIONS = frozenset({"tenants.create", "tenants.list"})
"""What no role inside a tenant grants: only the platform's operator may."""


def allows(principal: Principal, action: str) -> bool:
    """Say whether the principal may do the action in the principal's tenant."""
    if action in _PLATFORM_ACTIONS:
        return principal.operator
    noun = action.partition(".")[0]
    granted = {"*", action, f"{noun}.*"}
    return any(not granted.isdisjoint(ROLES.get(role, frozenset())) for role in principal.roles)

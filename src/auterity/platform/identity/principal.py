"""Who is acting, for which tenant, and in which roles."""

from dataclasses import dataclass

__all__ = ["Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The actor of a management call."""

    user_id: str
    """``usr_…``, or ``""`` for the command line on the server's own machine."""
    tenant_id: str
    """The tenant in whose context the actor works."""
    roles: frozenset[str]
    """Roles in that tenant."""
    operator: bool = False
    """May act for the platform as a whole: create tenants, change the shared catalogue."""

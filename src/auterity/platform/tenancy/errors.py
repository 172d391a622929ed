"""What can go wrong with tenants."""

from auterity.kit.errors import Conflict, Forbidden, NotFound

__all__ = ["SlugTaken", "StatusForbidden", "TenantNotFound"]


class TenantNotFound(NotFound):
    """No such tenant, as far as the caller may know."""

    code = "tenant_not_found"

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"There is no tenant {tenant_id}.")


class SlugTaken(Conflict):
    """Another tenant has this short name."""

    code = "tenant_slug_taken"

    def __init__(self, slug: str) -> None:
        super().__init__(f"There is a tenant {slug!r} already; choose another slug.", param="slug")


class StatusForbidden(Forbidden):
    """Tenants do not suspend or reinstate themselves."""

    code = "tenant_status_forbidden"

    def __init__(self) -> None:
        super().__init__("Only the platform's operator suspends and reinstates tenants.", param="status")

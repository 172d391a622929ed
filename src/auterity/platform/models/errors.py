"""What can be wrong with a change to the catalogue."""

from auterity.kit.errors import Conflict, Forbidden, NotFound

__all__ = [
    "DeploymentNotFound",
    "ModelNotFound",
    "NameTaken",
    "OperatorOnly",
    "OverlayNotFound",
    "ProviderInUse",
    "ProviderNotFound",
    "SharingConflict",
]


class ProviderNotFound(NotFound):
    """The tenant has no such provider."""

    code = "provider_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no provider {name!r}.", param="provider")


class ModelNotFound(NotFound):
    """The tenant has no such model."""

    code = "model_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no model {name!r}.", param="model")


class DeploymentNotFound(NotFound):
    """The model has no such deployment."""

    code = "deployment_not_found"

    def __init__(self, deployment_id: str) -> None:
        super().__init__(f"The model has no deployment {deployment_id!r}.", param="deployment")


class OverlayNotFound(NotFound):
    """The tenant has no such terms."""

    code = "price_overlay_not_found"

    def __init__(self, overlay_id: str) -> None:
        super().__init__(f"There is no price overlay {overlay_id!r}.", param="overlay")


class NameTaken(Conflict):
    """Another row of the tenant has the name."""

    code = "name_taken"


class ProviderInUse(Conflict):
    """Models are served by the provider."""

    code = "provider_in_use"


class SharingConflict(Conflict):
    """A shared model needs shared providers."""

    code = "sharing_conflict"


class OperatorOnly(Forbidden):
    """Only the platform's operator may change what all tenants share."""

    code = "operator_only"

    def __init__(self) -> None:
        super().__init__("Only the platform's operator may share with all tenants, or change what is shared.")

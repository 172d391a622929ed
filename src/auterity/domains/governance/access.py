"""The access decision: a key's allow-list of models."""

from auterity.platform.keys.plan import KeyPlan

__all__ = ["may_use"]


def may_use(key: KeyPlan, model: str) -> bool:
    """Say whether the key's allow-list holds the model; a key without a list may use all of its tenant's."""
    return key.allowed_models is None or model in key.allowed_models

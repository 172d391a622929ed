"""Master keys from an environment variable, as orchestrators hand secrets to containers."""

from collections.abc import Mapping, Sequence

from auterity.engines.secrets.port import MasterKey, read_keys

__all__ = ["VARIABLE", "EnvironmentMasterKeys"]

VARIABLE = "AUTERITY_MASTER_KEY"


class EnvironmentMasterKeys:
    """``AUTERITY_MASTER_KEY``: keys in base64, separated by commas, the current one first."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._written = environment.get(VARIABLE, "")

    def keys(self) -> Sequence[MasterKey]:
        return read_keys([part for part in self._written.split(",") if part.strip()], f"the variable {VARIABLE}")

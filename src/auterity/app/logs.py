"""How the program's processes log, by the settings."""

from auterity.app.settings import Settings
from auterity.engines.telemetry import logs

__all__ = ["configure"]


def configure(settings: Settings, process: str) -> None:
    """Send all logging of this process to stderr, replacing what was set up before.

    Args:
        process: this process's name, e.g. ``worker-3``.
    """
    logs.configure(settings.log_level, settings.log_format, process=process)

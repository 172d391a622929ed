"""The server's settings: one declaration that drives flags, variables, ``auterity.yaml`` and their reference page.

``configuration.load`` reads them; child processes get them as JSON (:meth:`Settings.to_json`), never in ``argv``.
"""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from auterity.kit.errors import AuterityError

__all__ = ["SETTINGS", "Explained", "InvalidSettings", "Kind", "Setting", "Settings", "Spec", "mask"]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class InvalidSettings(AuterityError):
    """What was configured cannot be; every problem names its source and line."""

    code = "invalid_settings"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Kind(StrEnum):
    """How a setting is written down."""

    TEXT = "text"
    COUNT = "whole number"
    NUMBER = "number"
    SIZE = "size, such as 512MiB"
    DURATION = "duration, such as 30s or 5m"
    SWITCH = "true or false"
    CHOICE = "choice"
    FILE = "path"
    URL = "URL"
    ADDRESSES = "IP addresses and networks with commas, or *"


@dataclass(frozen=True, slots=True)
class Spec:
    """What the declaration of a setting says besides its type and default."""

    help: str
    kind: Kind
    minimum: float | None = None
    maximum: float | None = None
    schemes: tuple[str, ...] = ()
    """For URLs: those that can be; empty where the engine that connects there reads the URL."""
    secret: bool = False
    """From a variable only: flags show in the list of processes, files are copied about. Never printed."""
    restart: bool = False
    """A reload (SIGHUP) cannot apply it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as the declaration in :class:`Settings` has it."""

    name: str
    spec: Spec
    default: object
    choices: tuple[str, ...] = ()
    optional: bool = False

    @property
    def flag(self) -> str | None:
        return None if self.spec.secret else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "AUTERITY_" + self.name.upper()

    @property
    def line(self) -> str | None:
        """The key in ``auterity.yaml``."""
        return None if self.spec.secret or self.name == "config" else self.name


class Explained(msgspec.Struct, frozen=True):
    """A setting's value, fit to be shown, and where it came from."""

    name: str
    value: str | int | float | bool | None
    origin: str
    """``default``, ``--port``, ``AUTERITY_PORT`` or ``/path/auterity.yaml:7``."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the server can be told from outside. Sizes in bytes, times in seconds."""

    home: Annotated[Path, Spec("The folder that holds Auterity's data.", Kind.FILE, restart=True)] = msgspec.field(
        default_factory=lambda: Path.home() / ".auterity"
    )
    config: Annotated[
        Path | None,
        Spec("The configuration file; auterity.yaml in the home folder where there is one.", Kind.FILE, restart=True),
    ] = None
    host: Annotated[str, Spec("The address to listen on.", Kind.TEXT, restart=True)] = "127.0.0.1"
    port: Annotated[
        int,
        Spec("The port to listen on; 0 takes any that is free.", Kind.COUNT, minimum=0, maximum=65535, restart=True),
    ] = 8080
    workers: Annotated[int, Spec("Processes that serve requests.", Kind.COUNT, minimum=1, maximum=256)] = 1
    database_url: Annotated[
        str | None,
        Spec(
            "PostgreSQL 15 or later; without it, Auterity runs its own in the home folder.",
            Kind.URL,
            restart=True,
        ),
    ] = None
    redis_url: Annotated[
        str | None,
        Spec(
            "Redis or Valkey for limits and budgets shared by several nodes.",
            Kind.URL,
        ),
    ] = None
    master_key: Annotated[
        str | None,
        Spec(
            "What stored secrets are sealed with (base64, 32 bytes); without it, a key is made in the home folder.",
            Kind.TEXT,
            secret=True,
            restart=True,
        ),
    ] = None
    durability: Annotated[
        Literal["group", "strict"],
        Spec("When usage is on disk: synced in groups within 50 ms, or before each answer ends.", Kind.CHOICE),
    ] = "group"
    spool_max_bytes: Annotated[
        int,
        Spec(
            "Usage that may wait on disk for the collector; beyond it calls are refused.", Kind.SIZE, minimum=16 * MIB
        ),
    ] = 2 * GIB
    body_limit_bytes: Annotated[int, Spec("The longest request body.", Kind.SIZE, minimum=1 * KIB, maximum=1 * GIB)] = (
        10 * MIB
    )
    shutdown_grace_s: Annotated[
        float, Spec("How long running calls may take to finish on shutdown.", Kind.DURATION, minimum=0, maximum=3600)
    ] = 30.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Spec("The least that is logged.", Kind.CHOICE)
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "text"],
        Spec("How logs are written; auto is text on a terminal and JSON elsewhere.", Kind.CHOICE),
    ] = "auto"
    otlp_endpoint: Annotated[
        str | None,
        Spec("OpenTelemetry collector (OTLP over HTTP) that gets traces.", Kind.URL, schemes=("http", "https")),
    ] = None
    sandbox_latency: Annotated[
        float,
        Spec("Scale of the sandbox models' answering time; 0 answers at once.", Kind.NUMBER, minimum=0, maximum=100),
    ] = 1.0
    allow_private_providers: Annotated[
        bool, Spec("Everyone, not only operators, may name providers at private addresses.", Kind.SWITCH)
    ] = False
    forwarded_allow_ips: Annotated[
        str,
        Spec(
            "Proxies whose X-Forwarded-* headers are believed: addresses and networks with commas, or *.",
            Kind.ADDRESSES,
        ),
    ] = "127.0.0.1"
    origins: dict[str, str] = {}
    """Where each setting came from that is not at its default."""

    def explain(self) -> list[Explained]:
        """All settings with their origins; secrets and passwords in URLs are masked."""
        return [
            Explained(
                setting.name, mask(setting, getattr(self, setting.name)), self.origins.get(setting.name, "default")
            )
            for setting in SETTINGS.values()
        ]

    def to_json(self) -> bytes:
        """Everything, secrets too: for a pipe to a child process and nothing else."""
        return msgspec.json.encode(self, enc_hook=str)

    @classmethod
    def from_json(cls, data: bytes) -> "Settings":
        """
        Raises:
            msgspec.ValidationError: the bytes are not from :meth:`to_json`.
        """
        return msgspec.json.decode(data, type=cls, dec_hook=lambda _type, value: Path(value))

    def changed(self, other: "Settings") -> frozenset[str]:
        """The names of the settings whose values differ; where they were read from is no difference."""
        return frozenset(name for name in SETTINGS if name != "config" and getattr(self, name) != getattr(other, name))


def mask(setting: Setting, value: object) -> str | int | float | bool | None:
    """A value that may be shown: secrets as ``set``, URLs without their password."""
    if value is None or (isinstance(value, bool | int | float) and not setting.spec.secret):
        return value
    if setting.spec.secret:
        return "(set)"
    text = str(value)
    if setting.spec.kind is Kind.URL:
        parts = urlsplit(text)
        user, separator, where = parts.netloc.rpartition("@")
        if ":" in user:
            user = user.partition(":")[0] + ":***"
        query = "&".join(
            name + "=***" if "password" in name.lower() else part
            for part in parts.query.split("&")
            for name in [part.partition("=")[0]]
        )
        return urlunsplit(parts._replace(netloc=user + separator + where, query=query))
    return text


def _declared() -> Mapping[str, Setting]:
    hints = typing.get_type_hints(Settings, include_extras=True)
    found: dict[str, Setting] = {}
    for field in msgspec.structs.fields(Settings):
        declared = hints[field.name]
        spec = next((part for part in getattr(declared, "__metadata__", ()) if isinstance(part, Spec)), None)
        if spec is None:
            continue
        kept = typing.get_args(declared)[0]
        members = typing.get_args(kept)
        default = field.default if field.default is not msgspec.NODEFAULT else None
        choices = tuple(str(member) for member in members) if typing.get_origin(kept) is Literal else ()
        found[field.name] = Setting(field.name, spec, default, choices, NoneType in members)
    return found


SETTINGS: Mapping[str, Setting] = _declared()
"""All settings by name, in the order of their declaration."""

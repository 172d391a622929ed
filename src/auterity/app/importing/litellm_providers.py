"""Where LiteLLM's deployments live, as providers here: one for each kind, address, credential and set of limits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from auterity.app.importing.document import Entry
from auterity.app.importing.report import ImportReport
from auterity.platform.models.known import KNOWN_PROVIDERS
from auterity.platform.models.schemas import ProviderCreate, TimeoutLimits

__all__ = ["PROVIDER_FIELDS", "Placement", "ProviderPlanner"]

PROVIDER_FIELDS = frozenset(
    {
        "api_base",
        "base_url",
        "api_key",
        "api_version",
        "organization",
        "extra_headers",
        "headers",
        "timeout",
        "stream_timeout",
        "custom_llm_provider",
    }
)
"""Fields of ``litellm_params`` that end up in the provider."""

_KNOWN: Mapping[str, str] = {
    "anthropic": "anthropic",
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "gemini",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together_ai": "together",
    "xai": "xai",
}
"""LiteLLM's prefixes by the well-known provider."""
_SELF_HOSTED = frozenset(
    {"custom_openai", "hosted_vllm", "litellm_proxy", "lm_studio", "ollama", "ollama_chat", "openai_like", "vllm"}
)
"""Prefixes that speak OpenAI's API at an address that must be given."""
_AZURE = frozenset({"azure", "azure_text"})
_NO_KEY = frozenset({"none", "dummy", "na", "n/a", "fake-key", "sk-no-key-required", "empty", "not-needed"})
_OPENAI_NAMES = re.compile(r"gpt-|chatgpt-|o[0-9]|text-embedding-|ft:gpt-")
_ENVIRONMENT = "os.environ/"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one deployment goes."""

    provider: str
    upstream_model: str


@dataclass(slots=True)
class _Draft:
    """The parts of a provider to be; equal drafts are one provider."""

    prefix: str
    kind: str
    base_url: str
    query: str = ""
    key: str | None = None
    key_source: str = ""
    """The variable, so that providers whose keys are missing are told apart."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    timeouts: dict[str, float] = field(default_factory=dict[str, float])


class ProviderPlanner:
    """Collects the providers that the deployments need."""

    def __init__(self, environment: Mapping[str, str], report: ImportReport) -> None:
        self._environment = environment
        self._report = report
        self._made: list[tuple[_Draft, ProviderCreate]] = []
        self._told: set[str] = set()

    @property
    def planned(self) -> Sequence[ProviderCreate]:
        """All providers, in order of first use."""
        return [provider for _, provider in self._made]

    def place(self, entry: Entry, params: Entry, model: str) -> Placement | str:
        """The provider and the model's name there, or the reason why there can be none."""
        notes = ImportReport()
        outcome = self._place(entry, params, model, notes)
        if isinstance(outcome, str):  # nothing was carried over; but an unset variable may be why
            notes.carried, notes.lost = [], []
        self._report.absorb(notes)
        return outcome

    def _place(self, entry: Entry, params: Entry, model: str, notes: ImportReport) -> Placement | str:
        prefix, upstream = _split(model, params.plain("custom_llm_provider"))
        if not prefix:
            return f"the name {model!r} does not say which provider has the model; write provider/model"
        base = self._text(notes, params, "api_base") or self._text(notes, params, "base_url")
        base = base.rstrip("/") if base else None
        known = KNOWN_PROVIDERS.get(_KNOWN.get(prefix, ""))
        if prefix in _AZURE:
            if base is None:
                return "an Azure deployment needs an api_base that is known; set the variable and import again"
            draft = _azure(base, upstream, self._text(notes, params, "api_version"))
        elif known is not None:
            draft = _Draft(known.name, known.kind, base or known.base_url)
            if draft.base_url != known.base_url:  # the usual key is not for there
                draft.prefix, known = _named_after(known.name, draft.base_url), None
        elif prefix in _SELF_HOSTED:
            if base is None:
                return f"a model of {prefix} needs an api_base that is known; set it and import again"
            draft = _Draft(prefix.replace("_", "-"), "openai_compatible", base)
            if prefix.startswith("ollama") and not base.endswith("/v1"):
                draft.base_url = f"{base}/v1"
        else:
            return f"providers of the kind {prefix} cannot be reached yet"
        self._credential(notes, entry, params, draft, known.key_variable if known else None)
        self._extras(notes, params, draft)
        return self._placed(draft, upstream)

    def _placed(self, draft: _Draft, upstream: str) -> Placement | str:
        for known, provider in self._made:
            if known == draft:
                return Placement(provider.name, upstream)
        taken = {provider.name for _, provider in self._made}
        name, number = draft.prefix, 1
        while name in taken:
            number += 1
            name = f"{draft.prefix}-{number}"
        try:
            provider = ProviderCreate(
                name=name,
                kind=draft.kind,
                base_url=draft.base_url,
                api_key=SecretStr(draft.key) if draft.key and draft.prefix != "azure" else None,
                headers=draft.headers,
                query=draft.query,
                price_provider="azure" if draft.prefix == "azure" else None,
                timeouts=TimeoutLimits(**draft.timeouts),
            )
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False)[0]
            return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
        self._made.append((draft, provider))
        return Placement(name, upstream)

    def _credential(
        self, notes: ImportReport, entry: Entry, params: Entry, draft: _Draft, variable: str | None
    ) -> None:
        stated = params.get("api_key")
        if stated is not None and stated.text is not None:
            if stated.text.startswith(_ENVIRONMENT):
                variable = stated.text.removeprefix(_ENVIRONMENT)
            elif stated.text.lower() in _NO_KEY:
                notes.carry(stated, "no key is sent")
                return
            else:
                draft.key = stated.text
                notes.carry(stated, "the key is sealed in the database; take it out of the file")
        elif variable is None:
            return
        if draft.key is None and variable is not None:
            draft.key_source = variable
            draft.key = self._environment.get(variable) or None
            place = stated or entry
            if draft.key is not None and stated is not None:
                notes.carry(stated, f"the key in {variable} is sealed in the database")
            elif draft.key is None and (stated is not None or variable not in self._told):
                self._told.add(variable)
                notes.act(place, f"{variable} is not set: set it and import again, or give the provider its key")
        if draft.prefix == "azure" and draft.key:
            draft.headers["api-key"] = draft.key

    def _extras(self, notes: ImportReport, params: Entry, draft: _Draft) -> None:
        organization = self._text(notes, params, "organization")
        if organization:
            draft.headers["openai-organization"] = organization
        for name in ("extra_headers", "headers"):
            stated = params.get(name)
            for header, value in ((stated.fields or {}) if stated else {}).items():
                text = self._resolved(notes, value)
                if text is not None:
                    draft.headers[header.lower()] = text
        for name, limit in (("timeout", "total"), ("stream_timeout", "first_byte")):
            value = params.get(name)
            if value is None:
                continue
            try:
                draft.timeouts[limit] = float(value.text or "")
            except ValueError:
                notes.lose(value, "is not a number of seconds")
            else:
                notes.carry(value, f"the provider's limit {limit}")

    def _text(self, notes: ImportReport, params: Entry, name: str) -> str | None:
        value = params.get(name)
        if value is None:
            return None
        text = self._resolved(notes, value)
        if text is not None:
            notes.carry(value, "part of the provider")
        return text

    def _resolved(self, notes: ImportReport, value: Entry) -> str | None:
        if value.text is None or not value.text.startswith(_ENVIRONMENT):
            return value.text
        variable = value.text.removeprefix(_ENVIRONMENT)
        found = self._environment.get(variable)
        if not found:
            notes.act(value, f"{variable} is not set: set it and import again")
        return found or None


def _split(model: str, stated: str | None) -> tuple[str, str]:
    """LiteLLM's provider and the model's name there; without a prefix it goes by the model's name."""
    prefix, slash, rest = model.partition("/")
    if stated:
        return stated, rest if slash and prefix == stated else model
    if slash:
        return prefix, rest
    if model.startswith("claude"):
        return "anthropic", model
    return ("openai" if _OPENAI_NAMES.match(model) else ""), model


def _named_after(name: str, base_url: str) -> str:
    """A provider's name with its host, as in ``openai-vllm.internal``."""
    host = re.sub(r"[^a-z0-9.-]", "", (urlsplit(base_url).hostname or "").lower())
    return f"{name}-{host}"[:60].rstrip(".-")


def _azure(base: str, deployment: str, version: str | None) -> _Draft:
    """Azure's addresses name the deployment; a version ``v1`` or ``preview`` means the address without one."""
    if base.endswith("/openai/v1"):
        return _Draft("azure", "openai_compatible", base)
    query = f"api-version={version or '2024-10-21'}"
    return _Draft("azure", "openai_compatible", f"{base}/openai/deployments/{deployment}", query)

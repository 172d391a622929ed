"""Planning: what a LiteLLM proxy's ``config.yaml`` becomes here. Pure; :mod:`.apply` carries it out.

Every value of the file ends up in the report: carried over, not carried over and why, or something to do.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation

from pydantic import ValidationError

from auterity.app.importing.document import Entry, read_document
from auterity.app.importing.litellm_providers import PROVIDER_FIELDS, ProviderPlanner
from auterity.app.importing.report import ImportReport
from auterity.platform.models.prices import TokenKind
from auterity.platform.models.schemas import DeploymentCreate, ModelCreate, OverlayCreate, ProviderCreate

__all__ = ["ImportPlan", "plan_litellm"]

_PRICES: Mapping[str, TokenKind] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
    "output_cost_per_reasoning_token": "reasoning",
}
_SERVED_MODES = frozenset({"chat", "completion", "embedding"})
_FALLBACK_POSITION = 1_000
"""Fallbacks to other models come behind the model's own deployments."""
_READ_OF_INFO = frozenset({"mode", "max_tokens", "max_input_tokens", "max_output_tokens"})
_NOT_NEEDED = frozenset({"drop_params", "set_verbose", "json_logs", "use_in_pass_through", "litellm_credential_name"})


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What is to be made, in this order, and the remarks about the rest."""

    providers: Sequence[ProviderCreate]
    models: Sequence[ModelCreate]
    overlays: Sequence[OverlayCreate]
    report: ImportReport


@dataclass(slots=True)
class _Served:
    """One entry of ``model_list`` that can be carried over."""

    entry: Entry
    deployment: DeploymentCreate
    order: int | None
    weighted: bool
    rpm: int | None


@dataclass(slots=True)
class _Group:
    """All entries of one public name."""

    name: str
    served: list[_Served] = field(default_factory=list[_Served])
    fallbacks: list[str] = field(default_factory=list[str])
    description: str = ""


def plan_litellm(text: str, environment: Mapping[str, str]) -> ImportPlan:
    """Plan the import.

    Args:
        text: the content of ``config.yaml``.
        environment: where ``os.environ/NAME`` is looked up, after the file's own ``environment_variables``.

    Raises:
        UnreadableDocument: it is not YAML, or no mapping.
    """
    return _Planner(read_document(text), environment).plan()


class _Planner:
    def __init__(self, document: Entry, environment: Mapping[str, str]) -> None:
        self._document = document
        self._report = ImportReport()
        own = document.get("environment_variables")
        stated = {name: entry.text for name, entry in (own.fields or {}).items() if entry.text} if own else {}
        if own is not None:
            for leaf in own.leaves():
                self._report.carry(leaf, "used where the file refers to this variable")
        self._providers = ProviderPlanner({**environment, **stated}, self._report)
        self._groups: dict[str, _Group] = {}
        self._overlays: dict[tuple[str, str], OverlayCreate] = {}

    def plan(self) -> ImportPlan:
        models = self._document.get("model_list")
        if models is not None and models.items is None:
            self._lose_all(models, "is not a list of models")
        for entry in self._document.list("model_list"):
            self._model(entry)
        for section, entry in (self._document.fields or {}).items():
            if section == "general_settings":
                self._general(entry)
            elif section in {"router_settings", "litellm_settings"}:
                self._routing(entry)
            elif section not in {"model_list", "environment_variables"}:
                self._lose_all(entry, "has no counterpart")
        combined = [model for group in self._groups.values() if (model := self._combined(group)) is not None]
        self._report.sort()
        return ImportPlan(self._providers.planned, combined, list(self._overlays.values()), self._report)

    # model_list

    def _model(self, entry: Entry) -> None:
        name = entry.plain("model_name")
        params = entry.get("litellm_params")
        upstream = params.plain("model") if params else None
        if name is None or params is None or upstream is None:
            self._lose_all(entry, "an entry needs model_name and litellm_params.model")
            return
        if reason := self._unservable(entry, name, upstream):
            self._lose_all(entry, reason)
            return
        planned = self._providers.place(entry, params, upstream)
        if isinstance(planned, str):
            self._lose_all(entry, planned)
            return
        served = self._deployment(entry, params, planned.provider, planned.upstream_model)
        if served is None:
            return
        group = self._groups.setdefault(name, _Group(name))
        if any(_same(served.deployment, other.deployment) for other in group.served):
            self._lose_all(entry, "the same deployment is in the list already")
            return
        group.served.append(served)
        self._report.carry(entry, f"model {name}: {planned.upstream_model} at provider {planned.provider}")
        self._terms(entry, planned.provider, planned.upstream_model)
        self._remaining(entry)

    @staticmethod
    def _unservable(entry: Entry, name: str, upstream: str) -> str | None:
        mode = _mode(entry)
        if mode not in _SERVED_MODES:
            return f"models of the mode {mode} cannot be served"
        if "*" in name or "*" in upstream:
            return "wildcards have no counterpart; name each model"
        return None

    def _deployment(self, entry: Entry, params: Entry, provider: str, upstream: str) -> _Served | None:
        info = entry.get("model_info")
        limit = self._number(info, "max_output_tokens") or self._number(info, "max_tokens")
        base_model = info.plain("base_model") if info else None
        weight, rpm = self._number(params, "weight"), self._number(params, "rpm")
        try:
            ModelCreate(name=entry.plain("model_name") or "")
            deployment = DeploymentCreate(
                provider=provider,
                upstream_model=upstream,
                listed_as=base_model.rpartition("/")[2] if base_model else None,
                weight=1 if weight is None else weight,
                context_window=self._number(info, "max_input_tokens"),
                max_output_tokens=limit,
            )
        except ValidationError as error:
            self._lose_all(entry, _first_fault(error))
            return None
        return _Served(entry, deployment, self._number(params, "order"), weight is not None, rpm)

    def _terms(self, entry: Entry, provider: str, upstream: str) -> None:
        """Custom prices, which LiteLLM takes from either place."""
        prices: dict[TokenKind, Decimal] = {}
        found: list[Entry] = []
        for place in ("model_info", "litellm_params"):
            for name, value in _fields(entry.get(place)).items():
                if name in _PRICES and value.text is not None:
                    try:
                        prices[_PRICES[name]] = (Decimal(value.text) * 1_000_000).normalize()
                    except InvalidOperation:
                        self._report.lose(value, "is not a number")
                        continue
                    found.append(value)
        if not prices:
            return
        if _mode(entry) == "embedding":
            prices.setdefault("output", Decimal(0))  # there is no output to pay for
        try:
            overlay = OverlayCreate(
                note="Imported from LiteLLM.", provider=provider, upstream_model=upstream, prices=prices
            )
        except ValidationError as error:
            for value in found:
                self._report.lose(value, _first_fault(error))
            return
        known = self._overlays.setdefault((provider, upstream), overlay)
        for value in found:
            if known == overlay:
                self._report.carry(value, f"price overlay for {upstream} at provider {provider}")
            else:
                self._report.lose(value, "another entry has other prices for the same model at the same provider")

    def _remaining(self, entry: Entry) -> None:
        """Remarks about each value that has not been used."""
        for name, value in _fields(entry).items():
            if name not in {"model_name", "litellm_params", "model_info"}:
                self._lose_all(value, "has no counterpart")
        for name, value in _fields(entry.get("litellm_params")).items():
            if name in {"rpm", "tpm"}:
                self._report.lose(value, "a deployment has no limit of its own; limit the keys instead")
            elif name not in _PRICES and name not in PROVIDER_FIELDS and name not in {"model", "weight", "order"}:
                self._lose_all(value, _why(name, "a default for requests has no counterpart; let the callers send it"))
        for name, value in _fields(entry.get("model_info")).items():
            if name == "base_model":
                self._report.carry(value, "the name under which the list price is looked up")
            elif name not in _PRICES and name not in _READ_OF_INFO:
                self._lose_all(value, _why(name, "has no counterpart"))

    # The other sections

    def _general(self, section: Entry) -> None:
        for name, value in _fields(section).items():
            if name == "master_key":
                self._report.act(
                    value,
                    "administrators log in here; so that clients which send this key go on working, bring its value "
                    "with `auterity keys create`",
                )
            else:
                self._lose_all(value, "has no counterpart; see `auterity serve --help` for the settings of the server")

    def _routing(self, section: Entry) -> None:
        for name, value in _fields(section).items():
            if name == "fallbacks":
                self._fallbacks(value)
            elif name == "model_group_alias":
                self._aliases(value)
            elif name == "routing_strategy" and value.text == "simple-shuffle":
                self._report.carry(value, "deployments are drawn by weight")
            elif name == "routing_strategy":
                self._lose_all(value, "deployments are drawn by weight")
            elif name in _NOT_NEEDED:
                self._lose_all(value, "is not needed here")
            else:
                self._lose_all(value, "has no counterpart")

    def _fallbacks(self, section: Entry) -> None:
        for item in section.items or ():
            for name, targets in _fields(item).items():
                for target in targets.items or ():
                    group = self._groups.get(name)
                    if group is None or target.text not in self._groups:
                        self._lose_all(target, "a fallback is between two models of the list that are carried over")
                    elif target.text in group.fallbacks or target.text == name:
                        self._report.lose(target, "is a fallback already")
                    else:
                        group.fallbacks.append(target.text)
                        self._report.carry(target, f"{target.text} serves {name} when the others cannot")
        if not section.items:
            self._lose_all(section, "is not a list of fallbacks")

    def _aliases(self, section: Entry) -> None:
        for alias, target in _fields(section).items():
            group = self._groups.get(target.text or "")
            if group is None or alias in self._groups:
                self._lose_all(target, "an alias is a new name of a model that is carried over")
                continue
            self._groups[alias] = replace(group, name=alias, description=f"The same as {group.name}.")
            self._report.carry(target, f"model {alias}, with the deployments of {group.name}")

    # Putting together

    def _combined(self, group: _Group) -> ModelCreate | None:
        deployments = self._ranked(group.served)
        for number, name in enumerate(group.fallbacks):
            for served in self._groups[name].served:
                if any(_same(served.deployment, other) for other in deployments):
                    continue
                position = _FALLBACK_POSITION + number
                deployments.append(served.deployment.model_copy(update={"weight": 0, "position": position}))
        try:
            return ModelCreate(name=group.name, description=group.description, deployments=deployments)
        except ValidationError as error:
            for served in group.served:
                self._report.lose(served.entry, _first_fault(error))
            return None

    @staticmethod
    def _ranked(served: Sequence[_Served]) -> list[DeploymentCreate]:
        """Weights and positions. A greater ``order`` only serves when smaller ones cannot; without any weight,
        LiteLLM draws in proportion to the limits of requests."""
        by_rpm = len(served) > 1 and all(one.rpm for one in served) and not any(one.weighted for one in served)
        first = min((one.order for one in served if one.order is not None), default=0)
        ranked: list[DeploymentCreate] = []
        for one in served:
            weight = one.rpm if by_rpm and one.rpm else one.deployment.weight
            order = first if one.order is None else one.order
            behind = order > first
            update = {"weight": 0 if behind else min(weight, 1_000_000), "position": max(order - first, 0)}
            ranked.append(one.deployment.model_copy(update=update))
        return ranked

    def _number(self, entry: Entry | None, name: str) -> int | None:
        value = entry.get(name) if entry else None
        if value is None:
            return None
        if value.text is None or not re.fullmatch(r"[0-9_]{1,12}", value.text):
            self._lose_all(value, "is not a whole number")
            return None
        return int(value.text)

    def _lose_all(self, entry: Entry, reason: str) -> None:
        """One remark for a value, or for each value below; an entry of the list is one thing."""
        if entry.fields is not None and "model_name" in entry.fields:
            self._report.lose(entry, reason)
            return
        for leaf in entry.leaves():
            self._report.lose(leaf, reason)


def _mode(entry: Entry) -> str:
    info = entry.get("model_info")
    return (info.plain("mode") if info else None) or "chat"


def _why(name: str, otherwise: str) -> str:
    if name in _NOT_NEEDED:
        return "is not needed here"
    return "prices of this kind have no counterpart" if "cost" in name else otherwise


def _fields(entry: Entry | None) -> Mapping[str, Entry]:
    found = (entry.fields or {}) if entry else {}
    return {name: value for name, value in found.items() if not value.is_null}


def _same(one: DeploymentCreate, other: DeploymentCreate) -> bool:
    return (one.provider, one.upstream_model) == (other.provider, other.upstream_model)


def _first_fault(error: ValidationError) -> str:
    """What is wrong, without the value: it may be a secret."""
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"

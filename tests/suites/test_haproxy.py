# SPDX-License-Identifier: BSD-2-Clause
"""HAProxy, chrooted and unprivileged, in front of nginx: by splice(2), by copying, as a TCP relay; curl and a checking client ask.

Three programs under the shim, two connections a request: client to proxy, proxy to server.
"""
import json
import sys
from pathlib import Path

import pytest
from stage import random_file, tree
from support.program import EAGER, auto

CHECK = Path(__file__).resolve().parent.parent / "apps" / "http_check.py"
SIZES = {"1k": 1 << 10, "16k": 1 << 14, "odd": 100_003, "1m": 1 << 20, "4m": 4 << 20}
NGINX = """
daemon off;
worker_processes 2;
user nobody nogroup;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{port}; root {directory}/www; }}
}}
"""
HAPROXY = """
global
    user nobody
    group nogroup
    chroot {directory}/empty
    maxconn 200
    {threads}
defaults
    mode {mode}
    {option}
    timeout connect 5s
    timeout client 20s
    timeout server 20s
listen there
    bind 127.0.0.1:{port}
    server one 127.0.0.1:{server} check inter 100ms
"""
WAYS = {
    "splice": dict(mode="http", option="option splice-response\n    option splice-request", threads="nbthread 2"),
    "copy": dict(mode="http", option="option http-keep-alive", threads="nosplice"),
    "tcp": dict(mode="tcp", option="option splice-auto", threads="nbthread 1"),
}


def nginx(stage):
    www = stage.folder("www")
    for name, size in SIZES.items():
        random_file(www / name, size, seed=size)
    port = stage.port()
    configuration = stage.write("nginx.conf", NGINX.format(port=port, directory=stage.directory))
    stage.serve(port, "nginx", "-p", stage.directory, "-c", configuration, "-e", stage.directory / "error.log")
    return port


def proxied(way, rounds, downloads):
    def workload(stage):
        server, port = nginx(stage), stage.port()
        stage.folder("empty")
        configuration = stage.write("haproxy.cfg", HAPROXY.format(directory=stage.directory, port=port, server=server, **WAYS[way]))
        proxy = stage.serve(port, "haproxy", "-db", "-f", configuration)
        checked = stage.run(sys.executable, CHECK, port, stage.directory / "www", rounds, timeout=60).out
        answers = json.loads(checked)["answers"]
        down = stage.folder("down")
        names = [f"http://127.0.0.1:{port}/{name}" for name in SIZES] * downloads
        outputs = [word for number, url in enumerate(names) for word in ("-o", down / f"{number}-{url.rpartition('/')[2]}", url)]
        stage.run("curl", "-sS", "--fail", "--parallel", "--parallel-max", 6, *outputs, timeout=60)
        missing = stage.run("curl", "-sS", "-w", "%{http_code} %{size_download}", "-o", "/dev/null", f"http://127.0.0.1:{port}/none").out
        stage.stop(proxy)
        return answers, missing, tree(down)
    return workload


@pytest.mark.parametrize("way", WAYS)
def test_haproxy(compare, long, way):
    rounds, downloads = (60, 40) if long else (4, 3)
    payload = (rounds + downloads) * sum(SIZES.values())
    compare(proxied(way, rounds, downloads), redirected=payload, arms=(EAGER, auto(1)) if way == "splice" else (EAGER,))

# SPDX-License-Identifier: BSD-2-Clause
"""nginx, unmodified, its workers an unprivileged user's, with wrk (kept-alive connections) and a client that compares files."""
import random
import re
import sys
from pathlib import Path

import pytest
from support.apps import ARMS, Server
from support.program import Program, run
from support.proof import proved

CHECK = Path(__file__).with_name("http_check.py")
SIZES = {"1k": 1 << 10, "16k": 1 << 14, "odd": 100_003, "1m": 1 << 20, "8m": 8 << 20}
CONFIGURATION = """
daemon off;
worker_processes 2;
user nobody nogroup;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile {sendfile};
    tcp_nopush {sendfile};
    keepalive_requests 10000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {directory}/www;
    }}
}}
"""


def nginx(sendfile):
    def command(port, directory):
        generator = random.Random(7)
        www = directory / "www"
        www.mkdir()
        for name, size in SIZES.items():
            (www / name).write_bytes(generator.randbytes(size))
        (directory / "nginx.conf").write_text(CONFIGURATION.format(port=port, directory=directory, sendfile=sendfile))
        return ["nginx", "-p", directory, "-c", directory / "nginx.conf", "-e", directory / "error.log"]
    return command


@pytest.mark.parametrize("sendfile", ["on", "off"], ids=["sendfile", "no-sendfile"])
@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_nginx_files(helper, arm, sendfile):
    with Server(nginx(sendfile), arm, helper.socket) as server, helper.counting() as grown:
        seen = run([sys.executable, CHECK, server.port, server.directory / "www", 8], arm, helper.socket, timeout=20)
        log = (server.directory / "error.log").read_text()
        assert not re.search(r"\[(alert|crit|emerg)\]", log), log
    if arm.accelerated:
        # Writes of 32 KiB leave for plain TCP when the client is on another CPU, after 32 of them (preload/admission.h).
        least = 0.25 * seen["bytes"] if sendfile == "on" else 2**16
        proved(grown["redirected_bytes"] > least, lambda: f"{seen} {grown}\n{helper.explain()}")


@pytest.mark.parametrize("name", ["1k", "1m"])
@pytest.mark.parametrize("arm", ARMS, ids=str)
def test_nginx_wrk(helper, arm, name):
    # With sendfile it corks its answers, which are no turns if they are small (preload/admission.h).
    with Server(nginx("on" if name == "1m" else "off"), arm, helper.socket) as server, helper.counting() as grown, \
            Program(["wrk", "-t", 2, "-c", 16, "-d", "1s", f"http://127.0.0.1:{server.port}/{name}"],
                    arm, helper.socket) as wrk:
        assert wrk.wait(15) == 0, wrk.describe()
        requests = int(re.search(r"(\d+) requests in", wrk.out).group(1))
        assert requests > 100, wrk.describe()
        assert "Non-2xx" not in wrk.out and "Socket errors" not in wrk.out, wrk.describe()
    if arm.accelerated:
        proved(grown["redirected_msgs"] > requests, lambda: f"{requests} requests, {grown}\n{helper.explain()}")
        proved(grown["redirected_bytes"] > 0.25 * requests * SIZES[name], lambda: f"{requests} requests, {grown}\n{helper.explain()}")

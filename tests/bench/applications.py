# SPDX-License-Identifier: BSD-2-Clause
"""Loads that are applications as Debian has them, unmodified. Each arm has its own servers, which live through all rounds;
the client is started anew for each run."""
import contextlib
import csv
import io
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from arms import ARMS, PROGRAMS, Failed
from model import Goal, Workload
from programs import Session, finished

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.program import descendants  # noqa: E402

HERE = Path(__file__).resolve().parent
APP_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
# Of 0.2 s: runs of 0.4 s of fifty connections that join at their beginning show how that goes, in their 99th percentile above all.
STEADY_SECONDS = 25
REQUESTS_MIN = 1000     # redis-benchmark counts milliseconds: of fewer that are over at once it says "inf" a second
TICK_NS = 1e9 / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pinned(cpu, command):
    return command if cpu < 0 else ["taskset", "-c", str(cpu), *command]


def tree_cpu_ns(pid):
    """CPU time of a process, its descendants and the children that they have waited for."""
    ticks = 0
    for each in descendants(pid):
        with contextlib.suppress(OSError):
            ticks += sum(int(field) for field in Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()[11:15])
    return ticks * TICK_NS


class Server:
    """A server process of a session: started in its arm, waited for, ended with SIGTERM by pid."""

    def __init__(self, command, environment, port, log):
        self.port, self.unix = port, None
        self.log = log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(command, env=dict(environment, PATH=APP_PATH), stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output)
        try:
            self._wait(command[0] if command[0] != "taskset" else command[3])
        except BaseException:
            self.end()
            raise

    def _wait(self, name, seconds=15):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise Failed(f"{name} does not listen: {self.log.read_text(errors='replace')[-500:]}")

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in reversed(descendants(self.process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self.process.wait()


class Application:
    """One kind of server and client. Sub-classes say: needs, servers(), client(), result()."""
    needs = ()          # commands

    def missing(self):
        lost = [name for name in self.needs if not shutil.which(name, path=APP_PATH)]
        return f"no {' '.join(lost)}" if lost else ""

    def session(self, treatment, workload, arms):
        return ApplicationSession(treatment, workload, arms)

    def servers(self, start, folder):
        """Starts what it takes with start(command, port), the last of it what the client talks to; unix=PATH: there, too."""
        raise NotImplementedError

    def prepare(self, port, environment):
        """What the data need, once for each arm."""

    def client(self, where, seconds, rate):
        """The command of one run. where: a port, or the Path of a socket; rate: operations a second as of the last run, 0 at
        first."""
        raise NotImplementedError

    def result(self, out):
        """Numbers from what the client printed, "per_second" among them."""
        raise NotImplementedError


class ApplicationSession(Session):
    def __init__(self, treatment, workload, arms):
        super().__init__(treatment, workload)
        self.app, self.arms = workload.load, arms
        self.stack = contextlib.ExitStack()
        self.started = {}       # arm's name: its servers
        self.rate = 0

    def __enter__(self):
        try:
            for name in self.arms:
                self.start(ARMS[name])
            self.run(ARMS["plain"], 0.2)    # finds the rate
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def proved_run(self, arm, seconds):
        self.settle()
        return super().proved_run(arm, seconds)

    def settle(self):
        """Waits until the servers have done with the client of the run before: their last answers move the counters."""
        last, deadline = -1, time.monotonic() + 2
        while time.monotonic() < deadline:
            now = self.treatment.helper.totals()["redirected_bytes"]
            if now == last:
                return
            last = now
            time.sleep(0.01)

    def start(self, arm):
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="smaccel-bench-")))
        folder.chmod(0o755)
        servers = self.started[arm.name] = []
        environment = self.treatment.environment(arm)

        def start(command, port, unix=None):
            full = self.treatment.prefix(arm) + pinned(self.workload.cpus[1], [str(word) for word in command])
            server = Server(full, environment, port, folder / "log")
            server.unix = unix
            self.stack.callback(server.end)
            servers.append(server)

        self.app.servers(start, folder)
        self.app.prepare(servers[-1].port, self.treatment.environment(ARMS["plain"]))

    def run(self, arm, seconds):
        servers = self.started[arm.name]
        where = servers[-1].unix if arm.unix else servers[-1].port
        command = pinned(self.workload.cpus[0], [str(word) for word in self.app.client(where, seconds, self.rate)])
        before = sum(tree_cpu_ns(server.process.pid) for server in servers)
        out, client_cpu_ns = finished(self.treatment.prefix(arm) + command,
                                      dict(self.treatment.environment(arm), PATH=APP_PATH), seconds * 10 + 60)
        server_cpu_ns = sum(tree_cpu_ns(server.process.pid) for server in servers) - before
        try:
            result = self.app.result(out)
        except (TypeError, ValueError, LookupError) as error:
            raise Failed(f"{command}: no numbers: {out[-300:]}") from error
        self.rate = result["per_second"]
        if result.get("operations"):
            result["cpu_ns"] = (client_cpu_ns + server_cpu_ns) / result["operations"]
        return result


class Redis(Application):
    needs = ("redis-server", "redis-benchmark")

    def __init__(self, test, clients, bytes_=64, pipeline=1):
        self.test, self.clients, self.bytes, self.pipeline = test, clients, bytes_, pipeline
        self.requests = 0       # of the run under way

    def servers(self, start, folder):
        port = free_port()
        start(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder,
               "--loglevel", "warning", "--unixsocket", folder / "socket"], port, unix=folder / "socket")

    def prepare(self, port, environment):
        finished(self.command(port, "set", 1, 10, 1), environment, 20)

    def command(self, where, test, clients, requests, pipeline):
        return ["redis-benchmark", "-s" if isinstance(where, Path) else "-p", str(where), "-c", str(clients), "-n", str(requests),
                "-t", test, "-d", str(self.bytes), "-P", str(pipeline), "--csv"]

    def client(self, where, seconds, rate):
        self.requests = max(REQUESTS_MIN, 40 * self.clients * self.pipeline, int(rate * seconds))
        return self.command(where, self.test, self.clients, self.requests, self.pipeline)

    def result(self, out):
        row = next(csv.DictReader(io.StringIO(out[out.index('"test"'):])))
        if not math.isfinite(float(row["rps"])):
            raise ValueError("too few requests to measure")
        return {"operations": self.requests, "per_second": float(row["rps"]), "median_ns": float(row["p50_latency_ms"]) * 1e6,
                "p99_ns": float(row["p99_latency_ms"]) * 1e6, "max_ns": float(row["max_latency_ms"]) * 1e6}


class Memcached(Application):
    needs = ("memcached",)

    def servers(self, start, folder):
        port = free_port()
        start(["memcached", "-l", "127.0.0.1", "-p", port, "-U", "0", "-t", "1", "-u", "root"], port)

    def client(self, port, seconds, _rate):
        return [PROGRAMS / "rr", "--port", port, "--connections", 50, "--size", 64, "--seconds", seconds, "--client-cpu", -1]

    def result(self, out):
        result = json.loads(out)
        return dict(result, operations=result["count"])


class Nginx(Application):
    needs = ("nginx", "wrk")

    def __init__(self, close=False, connections=50):
        self.close, self.connections = close, connections

    def servers(self, start, folder):
        port = free_port()
        (folder / "nginx.conf").write_text(f"""daemon off; worker_processes 1; pid {folder}/pid; user root;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
  fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "{'x' * 128}"; }} }} }}
""")
        start(["nginx", "-p", folder, "-e", f"{folder}/error", "-c", f"{folder}/nginx.conf"], port)

    def client(self, port, seconds, _rate):
        header = ["-H", "Connection: close"] if self.close else []
        return ["wrk", "-t", 1, "-c", self.connections, "-d", max(1, math.ceil(seconds)), *header, "-s",
                HERE / "wrk_report.lua", f"http://127.0.0.1:{port}/"]

    def result(self, out):
        got = json.loads(re.search(r"^result (.*)$", out, re.MULTILINE)[1])
        if got["errors"] or not got["requests"]:
            raise Failed(f"wrk: {got}")
        return {"per_second": got["requests"] * 1e6 / got["duration_us"], "operations": got["requests"],
                **{f"{name}_ns": got[f"{key}_us"] * 1e3
                   for name, key in (("median", "p50"), ("p99", "p99"), ("p999", "p999"), ("max", "max"))}}


class Haproxy(Nginx):
    needs = ("haproxy", "nginx", "wrk")

    def servers(self, start, folder):
        def started(command, port):
            backend.append(port)
            start(command, port)

        backend = []
        super().servers(started, folder)
        port = free_port()
        (folder / "haproxy.cfg").write_text(f"""global
  nbthread 1
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend front
  bind 127.0.0.1:{port}
  default_backend back
backend back
  server one 127.0.0.1:{backend[0]}
""")
        start(["haproxy", "-db", "-f", f"{folder}/haproxy.cfg"], port)


class Pgbench(Application):
    needs = ("setpriv",)

    def __init__(self, select_only, clients=8):
        self.select_only, self.clients = select_only, clients

    @staticmethod
    def folder():
        """Debian keeps the programs of each version apart, and out of the PATH."""
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), key=lambda path: float(path.parts[-3]))
        return versions[-1].parent if versions and (versions[-1].parent / "initdb").exists() else None

    def missing(self):
        return super().missing() or ("" if self.folder() else "no PostgreSQL")

    def servers(self, start, folder):
        port, programs = free_port(), self.folder()
        data = folder / "data"
        data.mkdir()
        shutil.chown(data, "postgres", "postgres")
        nobody = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]    # it refuses root
        finished([*nobody, f"{programs}/initdb", "-D", str(data), "-A", "trust", "-N", "--no-instructions"],
                 dict(os.environ, LC_ALL="C"), 120)
        start([*nobody, f"{programs}/postgres", "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c",
               f"unix_socket_directories={data}", "-c", "fsync=off", "-c", "autovacuum=off", "-c", "max_wal_size=4GB"], port,
              unix=data / f".s.PGSQL.{port}")

    def prepare(self, port, environment):
        deadline = time.monotonic() + 30    # it listens before it is ready
        while subprocess.run([f"{self.folder()}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], env=environment,
                             timeout=10).returncode:
            if time.monotonic() > deadline:
                raise Failed("PostgreSQL does not get ready")
            time.sleep(0.05)
        finished([f"{self.folder()}/pgbench", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-i", "-q", "-s", "4",
                  "postgres"], environment, 120)

    def client(self, where, seconds, _rate):
        host, port = (where.parent, where.suffix[1:]) if isinstance(where, Path) else ("127.0.0.1", where)
        return [f"{self.folder()}/pgbench", "-h", host, "-p", port, "-U", "postgres", "-n", "-c", self.clients, "-T",
                max(1, math.ceil(seconds)), *(["-S"] if self.select_only else []), "postgres"]

    def result(self, out):
        return {"per_second": float(re.search(r"^tps = ([\d.]+)", out, re.MULTILINE)[1]),
                "mean_ns": float(re.search(r"latency average = ([\d.]+) ms", out)[1]) * 1e6,
                "operations": int(re.search(r"actually processed: (\d+)", out)[1])}


class Sockperf(Application):
    needs = ("sockperf",)

    def servers(self, start, folder):
        port = free_port()
        start(["sockperf", "server", "--tcp", "-i", "127.0.0.1", "-p", port], port)

    def client(self, port, seconds, _rate):
        return ["sockperf", "ping-pong", "--tcp", "-i", "127.0.0.1", "-p", port, "-t", max(1, math.ceil(seconds)), "-m", 64,
                "--full-rtt"]

    def result(self, out):
        def percentile(name):
            return float(re.search(rf"percentile {re.escape(name)}\s*=\s*([\d.]+)", out)[1]) * 1e3

        count = int(re.search(r"SentMessages=(\d+)", out)[1])
        return {"median_ns": percentile("50.000"), "p99_ns": percentile("99.000"), "p999_ns": percentile("99.900"),
                "max_ns": float(re.search(r"<MAX> observation =\s*([\d.]+)", out)[1]) * 1e3,
                "per_second": count, "operations": count}


def workloads(all_cores):
    cores = {name: all_cores[name] for name in ("one core", "two cores")}
    arms = ("plain", "auto", "bypass")
    redis_goals = (Goal(">= 1.30"), Goal("<= 0.85", kind="tail"))
    rows = [(f"redis {test} c={clients}", "redis", Redis(test.lower(), clients), redis_goals if clients == 50 else ())
            for clients in (1, 10, 50) for test in ("GET", "SET")]
    rows += [(f"redis {test} pipeline 16", "redis", Redis(test.lower(), 50, pipeline=16), ()) for test in ("GET", "SET")]
    rows += [(f"redis {test} 16 KiB", "redis", Redis(test.lower(), 50, bytes_=16384), ()) for test in ("GET", "SET")]
    rows += [("memcached GET c=50", "memcached", Memcached(), (Goal(">= 1.25"),)),
             ("nginx keep-alive c=50", "nginx", Nginx(), (Goal(">= 1.25"),)),
             ("nginx close c=50", "nginx", Nginx(close=True), (Goal(">= 0.98"),)),
             ("pgbench -S c=8", "postgresql", Pgbench(True), (Goal(">= 1.15"),)),
             ("pgbench TPC-B c=8", "postgresql", Pgbench(False), ()),
             ("haproxy, nginx c=50", "haproxy", Haproxy(), ())]
    for name, group, load, goals in rows:
        for where, cpus in cores.items():
            steady = name in ("redis GET c=50", "redis SET c=50", "pgbench -S c=8")
            seconds = STEADY_SECONDS if steady else 2 if group == "redis" else 4
            more = ("unix",) if group in ("redis", "postgresql") else ()
            spins = ("spin",) if "c=1," in f"{name}," and where == "two cores" else ()
            yield Workload(f"{name}, {where}", group, "1/s", "per_second", load, (cpus[1], cpus[0]), more=True,
                           tail="p99_ns" if group != "postgresql" else "", goals=goals, arms=arms + more + spins, seconds=seconds,
                           redirects=None if "close" in name else True)
    for where, cpus in cores.items():
        yield Workload(f"sockperf ping-pong 64 B, {where}", "sockperf", "us", "median_ns", Sockperf(), cpus, tail="p99_ns",
                       arms=arms + (("spin",) if where == "two cores" else ()), seconds=4)

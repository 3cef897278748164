# SPDX-License-Identifier: BSD-2-Clause
"""`smaccel ab` from end to end: real programs, a real helper, and everything that can go wrong in between."""
import json
import os
import re
import signal
import subprocess
import sys
import time

import ab
import pytest
from support.apps import free_port
from support.proof import proved

PINGPONG = (ab.PINGPONG, "--size", "64", "--seconds", "0.2", "--warm-up", "0.01")  # long enough to join on a busy machine
SHORT_PINGPONG = (ab.PINGPONG, "--size", "64", "--seconds", "0.03", "--warm-up", "0.01")
PINGPONG_METRIC = ("--metric", r'latency:ns="median_ns": ([0-9.]+)')
GONE_S = 5


@pytest.fixture
def marker(tmp_path):
    """A word in the command lines of a test's processes; at its end none of them may be left."""
    word = f"marker-{os.getpid()}-{tmp_path.name}"
    yield word
    deadline = time.monotonic() + GONE_S
    while ab.commands_with(word):
        assert time.monotonic() < deadline, f"left behind: {ab.commands_with(word)}"
        time.sleep(0.02)


def shell(text, marker):
    """A shell command that carries the marker."""
    return ("sh", "-c", text, marker)


def run_json(*arguments, **options):
    """Of a trial that has an accelerated arm. A helper that is late has redirected nothing of a run of 0.2 s."""
    wanted = options.pop("status", 0)
    status, out, err = ab.run("--json", *arguments, **options)
    proved(status == wanted or status != 3 or "nothing was redirected" not in out, out[-1500:])
    assert status == wanted, f"exit status {status}\n{out[-1500:]}\n{err}"
    return json.loads(out)


def wait_until(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not {what} within {seconds} s"
        time.sleep(0.01)


# ---- what a trial shows ---------------------------------------------------------------------------------------------
def test_a_real_trial_proves_its_treatment(helper, tmp_path):
    page = tmp_path / "page.html"
    report = run_json("--rounds", 2, "--html", page, *PINGPONG_METRIC, "--", *PINGPONG, helper=helper)
    proved(report["rounds"]["invalid"] == 0, report)
    assert report["rounds"] == {"valid": 2, "invalid": 0, "finished": 2}
    assert [r["arm"] for r in report["runs"]] == list("AB" "ABBA" "BAAB")
    for run in report["runs"]:
        redirected = run["proof"]["redirected_bytes"]
        assert redirected == 0 if run["arm"] == "A" else redirected > 0, run
        assert run["values"]["latency"] > 0 and run["values"]["wall time"] > 0.03 and run["values"]["CPU time of CMD"] > 0
    assert report["verdict"] == "not-enough-data"
    assert ab.metric(report, "latency")["rounds_missing"] == 4
    assert ab.metric(report, "latency")["ratio"]["is_interval"] is False
    ab.check_page(page.read_text())


def test_redis_with_a_server(helper, tmp_path):
    port, saved = free_port(), tmp_path / "report.json"
    status, out, err = ab.run(
        "--rounds", 1, "--warmup", 1, "--save", saved, "--server", f"redis-server --port {port} --save '' --dir {tmp_path}",
        "--", "redis-benchmark", "-p", port, "-n", 3000, "-c", 10, "-t", "get", helper=helper)
    assert status == 0, out + err
    assert "GET requests *" in out and "proof, A: 0 bytes" in out and "redirected" in out
    report = json.loads(saved.read_text())
    assert report["settings"]["reader"] == "redis-benchmark"
    for run in report["runs"]:
        assert {"GET requests", "GET latency p50", "GET latency p99", "GET latency max", "CPU time of the server"} <= set(run["values"])
        assert (run["proof"]["redirected_bytes"] > 0) == (run["arm"] == "B")
        assert run["proof"]["sessions"] == 2 and run["proof"]["connections"] >= 10
        check_latencies(run["values"])
    assert not ab.commands_with(f"--port {port}")


def check_latencies(values):
    """What the shim saw in redis-benchmark is what redis-benchmark itself measured, to the time between its clock and the calls. (Not so
    the maximum: the shim sees its CONFIG GETs as well.)"""
    seen, said = values["response time p50"], values["GET latency p50"]
    assert 0.5 * said - 50 <= seen <= 1.1 * said + 50
    assert 0 < values["service time p50"] < values["response time max"]


def test_a_bare_arm_has_no_shim(helper, marker, tmp_path):
    log = tmp_path / "log"
    log.unlink(missing_ok=True)  # of a turn before
    status, out, err = ab.run("--rounds", 1, "--warmup", 0, "--bare-a", "--a-env", "ARM=a", "--b-env", "ARM=b", "--", *shell(
        f'echo "$ARM:$LD_PRELOAD:$SMACCEL_ADMIT" >> {log}; exec {" ".join(PINGPONG)}', marker), helper=helper)
    proved("nothing was redirected" not in out + err, out + err)
    assert status == 0, out + err
    lines = log.read_text().split()
    assert len(lines) == 4
    assert all(("libsmaccel.so" in line) == line.startswith("b:") for line in lines), lines


def test_a_bare_arm_has_no_shim_where_the_caller_has_one(helper, tmp_path):
    """As under `smaccel run -- bash`. What else is preloaded stays."""
    library = str(ab.BUILD / "libsmaccel.so")
    preload = {"LD_PRELOAD": f"libm.so.6:{library}", "SMACCEL_ADMIT": "auto"}
    log = tmp_path / "log"
    log.unlink(missing_ok=True)
    with helper.counting() as grown:
        report = run_json("--rounds", 1, "--warmup", 0, "--bare-a", *PINGPONG_METRIC, "--", "sh", "-c",
                             f'echo "$LD_PRELOAD" >> {log}; exec {" ".join(PINGPONG)}', helper=helper, extra=preload)
    assert log.read_text().split() == ["libm.so.6", preload["LD_PRELOAD"], preload["LD_PRELOAD"], "libm.so.6"]
    assert grown["redirected_bytes"] == sum(run["proof"]["redirected_bytes"] for run in report["runs"] if run["arm"] == "B") > 0


def test_a_bare_arm_is_plain_where_the_library_comes_by_itself(helper, tmp_path):
    """As by /etc/ld.so.preload: it is in both arms, and off in A."""
    log = tmp_path / "log"
    log.unlink(missing_ok=True)
    report = run_json("--rounds", 1, "--warmup", 0, "--bare-a", *PINGPONG_METRIC, "--", "sh", "-c",
                      f'echo "off=$SMACCEL" >> {log}; LD_PRELOAD={ab.BUILD / "libsmaccel.so"} exec {" ".join(PINGPONG)}', helper=helper)
    assert log.read_text().split() == ["off=off", "off=", "off=", "off=off"]
    assert all((run["proof"]["redirected_bytes"] > 0) == (run["arm"] == "B") for run in report["runs"]), report["runs"]


def test_a_bare_arm_proves_that_it_has_no_shim(helper):
    """One that comes in another way is seen: the trial is invalid."""
    report = ab.run_json("--bare-a", "--a-env", f"LD_PRELOAD={ab.BUILD / 'libsmaccel.so'}", "--a-env", "SMACCEL=", *PINGPONG_METRIC, "--",
                         *PINGPONG, helper=helper, status=3)
    assert "redirected in a plain run" in report["invalid"]


SLEEPER = """
import os, time
times = []
for _ in range(7):
    begun = time.monotonic()
    time.sleep(float(os.environ.get("D", "0.005")))
    times.append(time.monotonic() - begun)
print(f"slept {1000 * min(times):.3f} ms")
"""


def test_a_real_delay_is_found():
    """A clock that really runs: 5 ms against 20. A run's number is the least of seven, so that a busy machine's stalls do not decide."""
    report = ab.run_json("--env-only", "--warmup", 0, "--rounds", 8, "--b-env", "D=0.02", "--metric", "delay:ms=slept ([0-9.]+)",
                         "--fail-if", "slower", "--", sys.executable, "-c", SLEEPER, status=4)
    assert report["verdict"] == "slower" and report["metric"] == "delay", report["sentence"]
    assert 2 < ab.metric(report, "delay")["ratio"]["value"] < 4.5


def test_numbers_that_are_too_coarse_are_not_called_equal():
    """2.3 times as slow, and "1 ms" in both arms."""
    status, out, err = ab.run("--env-only", "--warmup", 0, "--rounds", 6, "--a-env", "V=0.6", "--b-env", "V=1.4", "--metric",
                              "p50:ms=p50: ([0-9]+)", "--fail-if", "slower", "--", "sh", "-c", "printf 'p50: %.0f ms\\n' $V")
    assert status == 0 and "Verdict: not enough data: p50" in out and "all its values are the same" in out, out
    assert f" on {os.uname().nodename}: " in out and "rounds decide nothing" not in err, out + err


def test_a_real_a_a_trial_is_not_biased(helper):
    """Real connections in both arms. At 99.9 % a false alarm is one in a thousand runs of this test; a bias would be one always."""
    report = ab.run_json("--aa", "--rounds", 12, "--confidence", 99.9, *PINGPONG_METRIC, "--", *SHORT_PINGPONG, helper=helper)
    assert report["verdict"] in ("no-difference", "not-enough-data"), report["sentence"]


# ---- no proof, no verdict ----------------------------------------------------------------------------------------------
def test_nothing_redirected_is_an_invalid_trial(helper):
    report = ab.run_json("--b-env", "SMACCEL=off", *PINGPONG_METRIC, "--", *PINGPONG, helper=helper, status=3)
    assert report["verdict"] == "invalid"
    assert "nothing was redirected" in report["invalid"] and "no process of it spoke to the helper" in report["invalid"]
    assert len(report["runs"]) == 2  # known after the first warm-up


def test_an_invalid_trial_says_what_its_connections_were(helper):
    report = ab.run_json("--b-env", "SMACCEL_ADMIT=never", *PINGPONG_METRIC, "--", *PINGPONG, helper=helper, status=3)
    proved(not any(late in report["invalid"] for late in ("no process of it spoke to the helper", "no-helper")), report["invalid"])
    assert "its connections: 2 watching" in report["invalid"]


def test_other_users_of_the_helper_do_not_spoil_the_proof(helper):
    """A's "exactly 0" is of its own processes."""
    other = dict(ab.environment(helper), LD_PRELOAD=str(ab.BUILD / "libsmaccel.so"))
    with helper.counting() as grown:
        with subprocess.Popen([ab.PINGPONG, "--seconds", "20"], env=other, stdout=subprocess.DEVNULL) as running:
            try:
                wait_until(lambda: helper.totals()["pairs_armed"] > 0, "armed")
                report = run_json("--rounds", 1, "--warmup", 0, *PINGPONG_METRIC, "--", *PINGPONG, helper=helper)
            finally:
                running.kill()
    assert all(run["proof"]["redirected_bytes"] == 0 for run in report["runs"] if run["arm"] == "A")
    assert grown["redirected_bytes"] > sum(run["proof"]["redirected_bytes"] for run in report["runs"]) > 0


def test_a_plain_arm_that_redirects_is_an_invalid_trial(helper):
    report = ab.run_json("--a-env", "SMACCEL_ADMIT=auto", *PINGPONG_METRIC, "--", *PINGPONG, helper=helper, status=3)
    proved("nothing was redirected" not in report["invalid"] and len(report["runs"]) == 1, report)
    assert "redirected in a plain run" in report["invalid"]


def test_without_a_valid_round_it_has_failed(helper):
    report = ab.run_json("--rounds", 1, "--warmup", 0, "--", "false", helper=helper, status=1)
    assert report["rounds"]["valid"] == 0 and "none of 1 rounds was valid" in report["failure"], report


def test_the_kill_switch_is_noticed_at_once(helper):
    subprocess.run([ab.SMACCEL, "off"], env=ab.environment(helper), check=True, timeout=10)
    try:
        status, _, err = ab.run("--", "true", helper=helper)
    finally:
        subprocess.run([ab.SMACCEL, "on"], env=ab.environment(helper), check=True, timeout=10)
    assert status == 1 and "kill switch" in err


def test_no_helper_is_said_before_anything_runs(tmp_path):
    status, _, err = ab.run("--", "touch", tmp_path / "ran")
    assert status == 1 and "no helper at" in err and not (tmp_path / "ran").exists()


# ---- runs that fail ------------------------------------------------------------------------------------------------------
def test_a_failing_run_invalidates_its_round(tmp_path, marker):
    runs = tmp_path / "runs"
    command = shell(f'echo x >> {runs}; [ $(wc -l < {runs}) != 7 ] || {{ echo broken >&2; exit 3; }}', marker)
    report = ab.run_json("--aa", "--warmup", 1, "--rounds", 3, "--", *command)
    assert report["rounds"] == {"valid": 2, "invalid": 1, "finished": 3}
    bad = [run for run in report["runs"] if not run["good"]]
    assert len(bad) == 1 and bad[0]["round"] == 1 and "exit status 3: broken" in bad[0]["why"]
    assert ab.metric(report, "wall time")["rounds"] == 2


def test_a_command_that_always_fails_is_given_up(marker):
    status, out, err = ab.run("--aa", "--", *shell("echo no luck >&2; exit 9", marker))
    assert status == 1 and "each warm-up run failed" in out and "exit status 9: no luck" in err


def test_a_run_that_hangs_is_ended(marker):
    status, out, _ = ab.run("--aa", "--warmup", 0, "--timeout", "0.2", "--", *shell("sleep 60 & sleep 60", marker))
    assert status == 1 and "was not done after" in out and "3 rounds in a row" in out


def test_a_metric_that_is_not_printed_is_no_silent_gap(marker):
    status, out, _ = ab.run("--aa", "--metric", "x=x=([0-9]+)", "--", *shell("echo y=1", marker))
    assert status == 1 and 'no "x" in what CMD printed' in out


def test_a_number_with_separators_is_not_cut_at_the_first(marker):
    status, out, _ = ab.run("--aa", "--metric", "ops:1/s=ops: ([0-9,]+)", "--", *shell("echo ops: 12,107", marker))
    assert status == 1 and 'no "ops" in what CMD printed: "12,107" is no number' in out, out


# ---- servers ---------------------------------------------------------------------------------------------------------------
SERVER = """
import socket, sys, time, os
# {marker}
if "{mode}" == "daemon" and os.fork(): time.sleep(60)
if "{mode}" == "daemon": os.setsid()
time.sleep({delay})
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", {port})); s.listen()
print("at your service", flush=True)
time.sleep(60)
"""


def server(tmp_path, marker, port, mode="plain", delay=0.1):
    path = tmp_path / f"{marker}.py"
    path.write_text(SERVER.format(marker=marker, mode=mode, port=port, delay=delay))
    return f"{sys.executable} '{path}'"


@pytest.mark.parametrize("ready", [(), ("port",), ("--ready", "at your (service|command)")])
def test_a_server_is_waited_for(tmp_path, marker, ready):
    port = free_port()
    connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
    ready = ("--ready", port) if ready == ("port",) else ready
    report = ab.run_json("--aa", "--warmup", 0, "--rounds", 1, "--server", server(tmp_path, marker, port), *ready,
                         "--", sys.executable, "-c", connect)
    assert report["rounds"]["valid"] == 1
    assert ab.metric(report, "CPU time of the server")["A"] > 0


def test_a_server_that_does_not_listen(tmp_path, marker):
    status, out, _ = ab.run("--aa", "--timeout", 1, "--server", f"sh -c 'echo hm; sleep 60' {marker}", "--", "true")
    assert status == 1 and "not ready after 1 s" in out and "hm" in out


def test_a_server_that_ends_too_early(marker):
    status, out, _ = ab.run("--aa", "--server", f"sh -c 'echo no such port >&2; exit 4' {marker}", "--", "true")
    assert status == 1 and "ended before it was ready (exit status 4): no such port" in out


def test_another_process_on_the_port_is_not_the_server(tmp_path, marker):
    """It listens already; the server that was started does not."""
    import socket
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        status, out, _ = ab.run("--aa", "--timeout", 1, "--ready", other.getsockname()[1], "--server",
                                f"sh -c 'sleep 60' {marker}", "--", "true")
    assert status == 1 and "not ready after" in out


def test_a_server_that_left_its_group_is_ended_too(tmp_path, marker):
    """Daemons come back to the subreaper; the fixture looks for them."""
    status, out, _ = ab.run("--aa", "--warmup", 0, "--rounds", 1, "--ready", "service", "--server",
                            server(tmp_path, marker, free_port(), mode="daemon"), "--", "true")
    assert status == 0, out


def test_background_processes_of_the_command_are_ended(marker):
    status, out, _ = ab.run("--aa", "--warmup", 0, "--rounds", 1, "--", *shell("sleep 60 & setsid sleep 61 & true", marker))
    assert status == 0, out


# ---- ending early -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_a_report(tmp_path, marker, number):
    runs = tmp_path / "runs"
    process = ab.start("--aa", "--warmup", 0, "--rounds", 1000, "--", *shell(f"echo x >> {runs}; sleep 0.02", marker))
    wait_until(lambda: runs.exists() and len(runs.read_text().split()) >= 10, "ten runs")
    process.send_signal(number)
    status, out, _ = ab.finish(process, 20)
    assert status == 128 + number
    assert "ended early" in out and "Verdict: not enough data" in out, out
    assert re.search(r": ([2-9]|[1-9]\d+) valid, 0 invalid, 1 not finished", out), out


@pytest.mark.parametrize("done,left_out", [(0, "0 warm-up runs"), (1, "1 warm-up run")])
def test_warm_up_runs_that_were_not_made_are_not_counted(tmp_path, marker, done, left_out):
    runs, page = tmp_path / "runs", tmp_path / "page.html"
    runs.touch()
    process = ab.start("--aa", "--warmup", 3, "--html", page, "--", *shell(f"echo x >> {runs}; [ $(wc -l < {runs}) -le {done} ] || sleep 50", marker))
    wait_until(lambda: len(runs.read_text().split()) == done + 1, "the run that is interrupted")
    process.send_signal(signal.SIGINT)
    status, out, _ = ab.finish(process, 20)
    assert status == 128 + signal.SIGINT and f"{left_out} left out" in out and f"{left_out} left out" in page.read_text(), out


def test_a_killed_trial_takes_its_processes_along(marker):
    process = ab.start("--aa", "--server", f"sleep 77{os.getpid()}", "--timeout", 50, "--", "true")
    wait_until(lambda: ab.commands_with(f"sleep 77{os.getpid()}"), "started")
    process.kill()
    ab.finish(process, 10)
    wait_until(lambda: not ab.commands_with(f"sleep 77{os.getpid()}"), "gone", GONE_S)


def test_seconds_end_a_trial(marker):
    begun = time.monotonic()
    report = ab.run_json("--aa", "--warmup", 0, "--seconds", 0.3, "--", *shell("sleep 0.02", marker))
    assert report["rounds"]["valid"] >= 1 and time.monotonic() - begun < 20


# ---- usage --------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arguments,message", [
    ((), "which program"),
    (("--rounds", "-1", "true"), "--rounds"),
    (("--rounds", "x", "true"), "invalid numeric value"),
    (("--margin", "0", "true"), "--margin"),
    (("--confidence", "100", "true"), "--confidence"),
    (("--metric", "x", "true"), "NAME[:UNIT]"),
    (("--metric", "x=(", "true"), "--metric"),
    (("--metric", "x:us:up=1", "true"), "--metric"),
    (("--reader", "nonsense", "true"), "redis-benchmark"),
    (("--pin", "a", "true"), "--pin"),
    (("--ready", "80", "true"), "--server"),
    (("--server", "x 'y", "true"), "quote"),
    (("--server", "sleep 1", "--ready", "70000", "true"), "no port"),
    (("--server", "sleep 1", "--ready", "(", "true"), "--ready"),
    (("--aa", "--env-only", "true"), "one of them"),
    (("--b-env", "X", "true"), "NAME=VALUE"),
    (("--profile", "nonsense", "true"), "nonsense"),
])
def test_wrong_usage(arguments, message):
    status, out, err = ab.run(*arguments)
    assert status == 2 and message in err and not out


def test_programs_that_cannot_be_run():
    assert ab.run("--aa", "nonexistent-program")[0] == 127
    assert ab.run("--aa", "--server", "/etc/passwd", "true")[0] == 126
    status, _, err = ab.run("--aa", "--html", "/nonexistent/x", "true")
    assert status == 1 and "/nonexistent/x" in err


def test_pinning_is_for_both_sides_apart(tmp_path, marker):
    cpus = sorted(os.sched_getaffinity(0))
    port = free_port()
    path = tmp_path / f"{marker}.py"
    path.write_text(SERVER.format(marker=marker, mode="plain", port=port, delay=0).replace(
        "time.sleep(60)", f"open({str(tmp_path / 'server')!r}, 'w').write(str(os.sched_getaffinity(0))); time.sleep(60)"))
    report = ab.run_json("--aa", "--warmup", 0, "--rounds", 1, "--pin", f"{cpus[0]}:{cpus[-1]}", "--metric", "cpu=[{]([0-9]+)[}]",
                         "--server", f"{sys.executable} '{path}'", "--ready", port, "--", sys.executable, "-c",
                         "import os; print(os.sched_getaffinity(0))")
    assert all(run["values"]["cpu"] == cpus[0] for run in report["runs"])
    wait_until(lambda: (tmp_path / "server").exists(), "written")
    assert (tmp_path / "server").read_text() == str({cpus[-1]})

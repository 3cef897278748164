# SPDX-License-Identifier: BSD-2-Clause
"""Where the reports of `smaccel ab`, and of `smaccel trial`, go: what they hold whatever a program prints, and what is left when they cannot be written."""
import calendar
import json
import os
import signal
import socket
import subprocess
import sys
import time

import ab
import pytest
from service import INVALID, start, trial
from support.apps import wait_until
from support.manual import undocumented

ONE_ROUND = ("--aa", "--rounds", "1", "--warmup", "0")


def run_bytes(*arguments, **options):
    """Exit status and stdout of a run, as bytes."""
    done = subprocess.run([ab.SMACCEL, "ab", *arguments], env=ab.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, check=False, **options)
    return done.returncode, done.stdout


# ---- texts that are not UTF-8 --------------------------------------------------------------------------------------------
def test_a_message_that_is_not_utf8():
    status, out = run_bytes(*ONE_ROUND, "--json", "--", "sh", "-c", r"printf 'caf\351 not found\n' >&2; exit 1")
    assert status == 1 and "exit status 1: caf\ufffd not found" in json.loads(out)["runs"][0]["why"]


@pytest.mark.parametrize("shift", range(3))
def test_a_message_that_is_cut_is_cut_between_characters(shift):
    euros = "x" * shift + "\u20ac" * 150
    status, out = run_bytes(*ONE_ROUND, "--json", "--metric", f"{'n' * 60}=(.*)", "--", "echo", f"1{euros}")
    why = json.loads(out)["runs"][0]["why"]
    assert status == 1 and "\ufffd" not in why and "\u20ac" in why


def test_names_and_arguments_that_are_not_utf8(tmp_path):
    page = tmp_path / "page.html"
    status, out = run_bytes(*ONE_ROUND, "--json", "--metric", b"d\xe9lai:\xb5s=([0-9]+)", "--a-env", b"X=\xe9", "--html", str(page), "--", "echo",
                            "1", b"\xe9")
    report = json.loads(out)
    assert status == 0 and report["metric"] == "d\ufffdlai" and report["settings"]["command"] == ["echo", "1", "\ufffd"]
    assert report["settings"]["environment"]["A"] == ["X=\ufffd"]
    assert all(run["values"]["d\ufffdlai"] == 1 for run in report["runs"]) and ab.metric(report, "d\ufffdlai")["unit"] == "\ufffds"
    ab.check_page(page.read_text())


def test_infinite_seconds_are_refused():
    assert run_bytes("--aa", "--seconds", "inf", "--", "true")[0] == 2


# ---- files -----------------------------------------------------------------------------------------------------------------
def is_report(path):
    return json.loads(path.read_text())["rounds"]["valid"] == 1


def test_who_reads_the_output_may_go(tmp_path):
    saved, page = tmp_path / "report.json", tmp_path / "page.html"
    saved.write_text("old")
    reading, writing = os.pipe()
    with subprocess.Popen([ab.SMACCEL, "ab", *ONE_ROUND, "--json", "--save", saved, "--html", page, "--", "true"], env=ab.environment(),
                          stdin=subprocess.DEVNULL, stdout=writing, stderr=writing) as process:
        os.close(reading)
        os.close(writing)
        assert process.wait(timeout=60) == 1  # its standard output could not be written
    assert is_report(saved)
    ab.check_page(page.read_text())
    assert sorted(os.listdir(tmp_path)) == ["page.html", "report.json"]


def test_programs_still_get_sigpipe():
    say = r"s/^SigIgn:\t.\{12\}\(.\).*/ignored=\1/p"  # of 16 digits, the one of signals 13 to 16
    status, out = run_bytes(*ONE_ROUND, "--json", "--metric", "ignored=ignored=(.)", "--", "sed", "-n", say, "/proc/self/status")
    assert status == 0, out
    assert all(run["values"]["ignored"] == 0 for run in json.loads(out)["runs"])


def test_a_killed_trial_leaves_the_old_report(tmp_path):
    saved = tmp_path / "report.json"
    saved.write_text("old")
    process = ab.start("--aa", "--rounds", 100, "--save", saved, "--html", tmp_path / "page.html", "--", "sh", "-c",
                       f"touch {tmp_path}/ran; exec sleep 60")  # it runs when the trial is killed, and dies with it
    wait_until((tmp_path / "ran").exists, 20)
    process.send_signal(signal.SIGKILL)
    ab.finish(process, 10)
    assert saved.read_text() == "old" and sorted(os.listdir(tmp_path)) == ["ran", "report.json"]


def test_a_report_replaces_the_file_behind_a_link_and_keeps_its_mode(tmp_path):
    saved, link = tmp_path / "report.json", tmp_path / "link"
    saved.write_text("old")
    saved.chmod(0o640)
    link.symlink_to(saved)
    assert run_bytes(*ONE_ROUND, "--save", str(link), "--", "true")[0] == 0
    assert link.is_symlink() and is_report(saved) and saved.stat().st_mode & 0o777 == 0o640


def test_a_report_into_standard_output_and_into_a_pipe(tmp_path):
    status, out = run_bytes(*ONE_ROUND, "--save", "/dev/stdout", "--", "true")
    assert status == 0 and out.startswith(b"{\n") and b"\nVerdict: " in out
    with open(tmp_path / "out", "w", encoding="utf8") as file:
        subprocess.run([ab.SMACCEL, "ab", *ONE_ROUND, "--save", "/dev/stdout", "--", "true"], env=ab.environment(), stdout=file, check=True, timeout=60)
    text = (tmp_path / "out").read_text()
    assert text.startswith("{\n") and "\nVerdict: " in text
    assert os.listdir(tmp_path) == ["out"]


def test_a_full_disk_is_said_once():
    status, out, err = ab.run(*ONE_ROUND, "--quiet", "--save", "/dev/full", "--html", "/dev/full", "--", "true")
    assert status == 1 and "Verdict" in out
    assert err.splitlines() == ["smaccel ab: /dev/full: No space left on device"] * 2


def test_a_page_of_a_trial_that_cannot_be_written_leaves_the_old_one(helper, tmp_path):
    page, full = tmp_path / "page.html", ("sh", "-c", 'trap "" XFSZ; ulimit -f 1; exec "$@"', "sh")
    start(helper)
    trial(helper, "report", "--html", str(page), expect=INVALID)
    before = page.read_text()
    done = trial(helper, "report", "--html", str(page), expect=1, prefix=full)
    assert f"{page}: File too large" in done.stderr and done.stdout
    assert page.read_text() == before and os.listdir(tmp_path) == [page.name]


@pytest.mark.parametrize("exists", [True, False])
def test_two_reports_into_one_file_are_refused(tmp_path, exists):
    """However it is spelled: the second one would be all that is left."""
    path, folder = tmp_path / "report", tmp_path / "folder"
    folder.symlink_to(tmp_path)
    if exists:
        path.write_text("old")
    for other in (path, folder / "report", f"{tmp_path}/./report", "report"):
        done = subprocess.run([ab.SMACCEL, "ab", *ONE_ROUND, "--save", path, "--html", other, "--", "touch", "ran"], env=ab.environment(),
                              cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2 and "--save and --html" in done.stderr, (other, done)
    assert not exists or path.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["folder", "report"][:1 + exists]


@pytest.mark.parametrize("option", ["--save", "--html"])
def test_an_empty_path_is_refused(tmp_path, option):
    status, _, err = ab.run(*ONE_ROUND, f"{option}=", "--", "touch", tmp_path / "ran")
    assert status == 2 and f"{option}: into which file" in err and not (tmp_path / "ran").exists(), err


@pytest.mark.parametrize("path,message", [("/nonexistent/x", "No such file"), ("/", "Is a directory"), ("/etc/passwd/x", "Not a directory")])
def test_what_cannot_be_written_is_said_at_the_start(tmp_path, path, message):
    status, _, err = ab.run("--aa", "--save", path, "--", "touch", tmp_path / "ran")
    assert status == 1 and message in err and not (tmp_path / "ran").exists()


# ---- standard descriptors --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-"])
def test_progress_does_not_go_into_a_file(tmp_path, closed):
    saved = tmp_path / "report.json"
    subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", ab.SMACCEL, "ab", *ONE_ROUND, "--save", saved, "--", "true"], env=ab.environment(),
                   stdout=subprocess.DEVNULL, check=True, timeout=60)
    assert is_report(saved)


def test_a_closed_standard_output_is_an_error():
    assert subprocess.run(["sh", "-c", f"exec {ab.SMACCEL} ab --aa --rounds 1 -- true >&-"], env=ab.environment(), stdin=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False, timeout=60).returncode == 1


def test_a_program_that_is_run_has_its_descriptors_as_they_were():
    listed = subprocess.run(["sh", "-c", f"exec {ab.SMACCEL} run -- ls /proc/self/fd <&- 2>&-"], env=ab.environment(), stdout=subprocess.PIPE,
                            text=True, check=False, timeout=60).stdout.split()
    assert "2" not in listed


# ---- processes that are not the trial's ---------------------------------------------------------------------------------
def test_processes_of_a_caller_by_exec_live(tmp_path):
    """Whoever has a shell start something and then exec `ab`: it is a child of ab's, but none of the trial's."""
    script = f'sleep 60 >/dev/null 2>&1 & echo $! > {tmp_path}/pid; exec "$0" "$@"'
    done = subprocess.run(["sh", "-c", script, ab.SMACCEL, "ab", *ONE_ROUND, "--", "false"], env=ab.environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60, check=False)
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGKILL)  # it is there
    assert done.returncode == 1


def test_signals_reach_a_trial_that_a_child_does(tmp_path):
    script = 'sleep 60 & echo $! > "$1/pid"; shift; exec "$@"'
    begun = tmp_path / "begun"
    command = ["sh", "-c", script, "sh", tmp_path, ab.SMACCEL, "ab", *ONE_ROUND, "--", "sh", "-c", f"touch {begun}; sleep 50"]
    with subprocess.Popen(command, env=ab.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as trial:
        wait_until(begun.exists, 20)
        trial.send_signal(signal.SIGTERM)
        assert trial.wait(20) == 128 + signal.SIGTERM
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_process_that_may_not_be_ended(tmp_path):
    """Another user's that CMD has started, as sudo does: it is not waited for without bound, and the trial says so."""
    program, source = tmp_path / "sleeper", tmp_path / "sleeper.c"
    source.write_text("#include <unistd.h>\nint main(void) { if (setuid(0)) return 1; sleep(40); return 0; }\n")
    subprocess.run(["cc", "-o", program, source], check=True)
    os.chmod(program, 0o4755)
    os.chmod(tmp_path, 0o755)
    for folder in list(tmp_path.parents)[:2]:
        os.chmod(folder, 0o755)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ab.SMACCEL, "ab", *ONE_ROUND, "--", "sh", "-c",
               f"{program} >/dev/null 2>&1 & sleep 0.5; echo 1"]
    done = subprocess.run(command, env=ab.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    subprocess.run(["pkill", "-f", program], check=False)
    assert done.returncode == 1 and "cannot be ended" in done.stderr, done


def test_a_server_among_many_that_listen():
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(900)]
    server = f"{sys.executable} -S -c 'import socket, time; kept = socket.create_server((\"127.0.0.1\", 0)); time.sleep(50)'"
    done = subprocess.run([ab.SMACCEL, "ab", *ONE_ROUND, "--timeout", "10", "--server", server, "--", "true"], env=ab.environment(),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    for listener in listeners:
        listener.close()
    assert done.returncode == 0, done


def test_children_that_the_caller_ignores_are_waited_for():
    done = subprocess.run(["env", "--ignore-signal=CHLD", ab.SMACCEL, "ab", *ONE_ROUND, "--", "true"], env=ab.environment(),
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done


def test_hang_up_is_ignored_under_nohup(tmp_path):
    begun = tmp_path / "begun"
    command = ["env", "--ignore-signal=HUP", ab.SMACCEL, "ab", *ONE_ROUND, "--", "sh", "-c", f"touch {begun}; sleep 0.5"]
    with subprocess.Popen(command, env=ab.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as trial:
        wait_until(begun.exists, 20)
        trial.send_signal(signal.SIGHUP)
        assert trial.wait(20) == 0


def test_too_few_rounds_are_said_at_once_and_a_report_says_when_and_where():
    for options, said in (("--rounds", 1), "fewer than 6 rounds decide nothing"), \
            (("--rounds", 7, "--confidence", 99), "fewer than 8 rounds cannot show"):
        _, out, err = ab.run("--json", "--aa", "--warmup", 0, *options, "--", "true")
        assert said in err, err
    report = json.loads(out)
    assert not undocumented(report), undocumented(report)
    begun = calendar.timegm(time.strptime(report["started"], "%Y-%m-%dT%H:%M:%SZ"))
    assert 0 <= time.time() - begun < 120 and report["machine"]["host"] == os.uname().nodename, report["machine"]
    assert report["machine"]["cpus"] >= 1 and report["machine"]["load_before"] >= 0, report["machine"]

# SPDX-License-Identifier: BSD-2-Clause
"""A command of tests/run in a process group of its own: it has so many seconds, and nothing of it stays behind."""
import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

END_GRACE_S = 15
LEFTOVER_GRACE_S = 2
YIELDING_NICE = 8


def group_signal(group, number):
    """True while the group has members."""
    try:
        os.killpg(group, number)
        return True
    except ProcessLookupError:
        return False


def group_end(group, grace_s):
    """Waits for the group's last member, then ends what is left. True if something was."""
    deadline = time.monotonic() + grace_s
    while group_signal(group, 0):
        if time.monotonic() > deadline:
            group_signal(group, signal.SIGKILL)
            return True
        time.sleep(0.02)
    return False


running = set()  # process groups


def leave_cpu_to_others(process):
    """Of a session of its own: where the kernel shares by sessions, a nice value counts inside one only."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PGRP, process.pid, YIELDING_NICE)
        Path(f"/proc/{process.pid}/autogroup").write_text(str(YIELDING_NICE))


def run_command(command, folder, environment, log, seconds, first_signal, yields):
    """A command that is late gets `first_signal`, time to tidy up, and SIGKILL. Returns the exit status (negative: a signal) and a complaint or ''."""
    process = subprocess.Popen(["/bin/bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                               stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    running.add(process.pid)
    if yields:
        leave_cpu_to_others(process)
    try:
        return process_end(process, seconds, first_signal)
    finally:
        running.discard(process.pid)


def process_end(process, seconds, first_signal):
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        group_signal(process.pid, first_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_GRACE_S)
        group_signal(process.pid, signal.SIGKILL)
        process.wait()
        return process.returncode, f"not done after {seconds} s"
    except BaseException:  # Ctrl-C: nothing stays behind
        group_signal(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if group_end(process.pid, LEFTOVER_GRACE_S):
        return process.returncode, "left processes behind"
    return process.returncode, ""

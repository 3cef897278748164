# SPDX-License-Identifier: BSD-2-Clause
"""fork, exec, dup and their kin with a connection that is armed: the same output and the right bytes as on plain TCP.

Each case is a conversation of two processes (process_case.h). In the accelerated arms the helper's counters must show that
the conversation was redirected before the deed, and the helper must hold no fd more than before afterwards.
"""
import pytest
from support.apps import ARMS, fd_count, wait_until
from support.program import AUTO, EAGER, PLAIN, Program, auto, built
from support.proof import proved
from support.scale import SCALE

CASES = {
    "process/fork_cases": ["fork-split", "fork-takeover", "fork-child-leaves", "fork-relay", "fork-two-readers",
                           "thread-two-readers", "fork-prefork", "daemon", "daemon-null", "vfork"],
    "process/exec_cases": ["inetd-cat", "inetd-cat-bare", "inetd-shell", "inetd-python", "inetd-whole-unread", "exec", "exec-bare",
                           "exec-unread", "exec-fails", "exec-fds"],
    "process/spawn_cases": ["system", "popen-write", "popen-read", "spawn-actions", "spawn-actions-bare", "spawn-unread", "spawn-whole",
                            "spawn-idle", "spawn-uses", "vfork-cat", "vfork-whole"],
    "process/fd_cases": ["closefrom", "close-range", "close-range-unshare", "close-raw", "close-range-cloexec", "dup2-over",
                         "dup2-connection", "dup2-self", "dup", "dup-last", "thread-close", "thread-shutdown"],
    "process/pass_cases": ["pass-forked", "pass-executed", "pass-bare", "pass-unread", "pass-self", "pass-self-exit"],
}
# In these the subject opens another pair after its deed, which must be accelerated too: no breaker, no lost session.
PROVED = {"fork-takeover", "vfork", "inetd-cat", "inetd-shell", "system", "spawn-actions", "spawn-unread", "vfork-cat",
          "inetd-whole-unread", "spawn-whole", "vfork-whole", "closefrom", "close-range", "close-range-cloexec", "thread-close",
          "pass-forked", "pass-bare", "pass-unread", "pass-self"}
TIMEOUT_S = 25
# The deed comes when the connection is armed: after how many turns it joined makes a case no other one.
ARMS_OF = {"accept": [PLAIN, auto(1), EAGER], "connect": [PLAIN, AUTO, EAGER]} if SCALE < 3 else {"accept": ARMS, "connect": ARMS}


@pytest.mark.parametrize("program", CASES)
def test_process_cases_are_all_listed(program):
    with Program([built(program)]) as listing:
        assert listing.wait(TIMEOUT_S) == 0
        assert listing.out.split() == CASES[program]


@pytest.mark.parametrize("role, arm", [(role, arm) for role, arms in ARMS_OF.items() for arm in arms], ids=str)
@pytest.mark.parametrize("program, case", [(program, case) for program, cases in CASES.items() for case in cases])
def test_process_case(helper, program, case, role, arm):
    fds_before = fd_count(helper.pid)
    with helper.counting() as grown, Program([built(program), case, role], arm, helper.socket) as run:
        status = run.wait(TIMEOUT_S)
        assert status == 0, run.describe()
        assert run.out == f"ok {case}\n", run.describe()
    if arm.accelerated:
        proved(grown["redirected_msgs"] > 20, lambda: f"hardly anything was redirected: {grown}\n{helper.explain()}")
    if arm is EAGER and case in PROVED:
        proved(grown["sockets_joined"] >= 4, lambda: f"the pair opened afterwards did not join: {grown}\n{helper.explain()}")
    wait_until(lambda: fd_count(helper.pid) <= fds_before, 5,
               lambda: f"the helper keeps fds: {fds_before} before, {fd_count(helper.pid)} now\n{helper.explain()}")


# Taken for its parent, the child closes the parent's connection for the shim: -EAGAIN, or 8 of the bytes.
@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_a_vfork_child_has_its_parents_number(helper, arm):
    namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with helper.counting() as grown, Program([*namespace, built("process/vfork_renumbered")], arm, helper.socket) as run:
        assert run.wait(TIMEOUT_S) == 0 and run.out == "16\n", run.describe()
    proved(not arm.accelerated or grown["redirected_msgs"] > 20, helper.explain)

# SPDX-License-Identifier: BSD-2-Clause
"""A child that keeps a ledger's place when the pair has left does not spoil the accounts of the connection that gets it next."""
import pytest
from support.helper import Helper
from support.program import EAGER, PLAIN, built, run
from support.proof import proved

CELLS = 1024  # of a ledger
BOUND = 8  # bytes: of two messages of five the second one passes, behind the first


@pytest.fixture(scope="module")
def bounded(root_only):
    with Helper("--test-bound", BOUND) as running:
        yield running


# With a cell that was given to others while the child had it, the receive on one of them brought 5 bytes, and 5 waited behind them.
@pytest.mark.parametrize("child", ["uses", "idle", "closes"])
@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_child_with_an_old_ledger(bounded, arm, child):
    with bounded.counting() as grown:
        result = run([built("process/child_ledger"), child], arm, bounded.socket, timeout=60)
    assert result["bytes"] == 10, result
    proved(not arm.accelerated or grown["pairs_armed_total"] > CELLS, grown)

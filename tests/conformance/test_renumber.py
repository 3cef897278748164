# SPDX-License-Identifier: BSD-2-Clause
"""The library makes room for files of the application at its own numbers."""
import pytest

from support.program import EAGER, PLAIN, built, run
from support.proof import proved


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_files_at_the_numbers_of_the_library(helper, arm):
    with helper.counting() as grown:
        result = run([built("conformance/renumber"), "seconds=3", "threads=6"], arm, helper.socket, timeout=40)
    assert (result["refused"], result["foreign"]) == (0, 0), (result, grown)
    proved(result["puts"] > 1000 and result["connections"] > 200, (result, grown))  # 435 with a busy loop on the only CPU
    if arm.accelerated:
        proved(grown["sockets_joined"] > result["connections"], lambda: f"{grown}\n{helper.explain()}")

# SPDX-License-Identifier: BSD-2-Clause
"""How much of the long tests is run: `make check` has minutes, tests/suites/list what it leaves out."""
import os

SCALE = int(os.environ.get("SMACCEL_TEST_SCALE", "1"))


def scaled(count):
    return count * SCALE

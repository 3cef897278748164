# SPDX-License-Identifier: BSD-2-Clause
"""Finds tests/support, whatever folder pytest is started in."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.fixtures import *  # noqa: E402,F401,F403

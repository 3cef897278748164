# SPDX-License-Identifier: BSD-2-Clause
"""Conformance tests: what a program sees on an accelerated connection is what TCP would show it."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.fixtures import *  # noqa: E402,F401,F403

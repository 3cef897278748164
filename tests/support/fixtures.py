# SPDX-License-Identifier: BSD-2-Clause
"""pytest fixtures: from support.fixtures import *  in a conftest.py."""
import os

import pytest

from .helper import Helper, ensure_bpf_fs
from .proof import pytest_pyfunc_call  # a hook: in each conftest.py

__all__ = ["root_only", "helper", "place", "pytest_pyfunc_call"]


@pytest.fixture(scope="session", autouse=True)
def root_only():
    if os.geteuid() != 0:
        pytest.skip("needs root: smacceld loads BPF programs")


@pytest.fixture(scope="module")
def helper(root_only):
    """A private helper, shared by the tests of a file."""
    with Helper() as running:
        yield running


@pytest.fixture
def place(root_only):
    """A helper that is not started: its paths."""
    helper = Helper()
    ensure_bpf_fs()
    yield helper
    helper.remove()

# SPDX-License-Identifier: BSD-2-Clause
"""What a test shows of acceleration it shows only if enough was accelerated, and how much that is depends on how soon the ends join: on who else
wants a CPU. So a test that was not proved is done again, a few times; what applications see is asserted, each time.

And what differs from plain TCP on a machine that is busy with other tests: what does not come again is a remark, not a failure, unless the scale
asks for more (make check-suites)."""
import pytest

from .scale import SCALE

TURNS = 3


class NotAccelerated(AssertionError):
    """Too little was accelerated for the test to show anything."""


def proved(enough, explain=""):
    """Of how much was accelerated. explain: the message, or a function that makes it."""
    if not enough:
        raise NotAccelerated(explain() if callable(explain) else explain)


def assert_none_again(record_property, look):
    """look(): a list of what differs, in words."""
    found = look()
    again = look() if found and SCALE < 3 else found
    assert not again, f"{len(again)} differences\n" + "\n".join(again[:5])
    if found:
        record_property("remark", f"differed once: {' '.join(found[0].split())}")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """A test that says by its remark that it was done again is one whose acceleration came late."""
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    for turn in range(1, TURNS + 1):
        try:
            pyfuncitem.obj(**arguments)
            return True
        except NotAccelerated as lacking:
            if turn == TURNS:
                raise
            print(f"turn {turn}: {lacking}")
            pyfuncitem.user_properties.append(("remark", f"not accelerated in turn {turn}"))

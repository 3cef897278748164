# SPDX-License-Identifier: BSD-2-Clause
"""Every way to name this host is accelerated, with blocking and with non-blocking connect (fact 22)."""
import pytest

from support.namespaces import Netns
from support.program import EAGER, PLAIN, auto, built, run
from support.proof import proved

OWN_FOUR, OWN_SIX = "10.77.0.1", "fd77::1"
ADDRESSES = {
    # name: (listen, connect, bind)
    "ipv4": ("127.0.0.1", "127.0.0.1", None),
    "ipv4-127.0.0.2": ("127.0.0.2", "127.0.0.2", None),
    "ipv4-from-127.0.0.2": ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
    "ipv4-any": ("0.0.0.0", "127.0.0.3", None),
    "ipv6": ("::1", "::1", None),
    "ipv6-any": ("::", "::1", None),
    "mapped-client": ("127.0.0.1", "::ffff:127.0.0.1", None),
    "mapped-both": ("::", "::ffff:127.0.0.1", None),
    "dual-stack-server": ("::", "127.0.0.1", None),
    "own-ipv4": (OWN_FOUR, OWN_FOUR, None),
    "own-ipv4-from-loopback": ("0.0.0.0", OWN_FOUR, "127.0.0.1"),
    "own-ipv4-to-loopback": ("127.0.0.1", "127.0.0.1", OWN_FOUR),
    "own-ipv4-dual-stack": ("::", OWN_FOUR, None),
    "own-ipv6": (OWN_SIX, OWN_SIX, None),
    "own-ipv6-any": ("::", OWN_SIX, "::1"),
}


@pytest.fixture(scope="module")
def netns():
    with Netns([f"{OWN_FOUR}/24", f"{OWN_SIX}/64"]) as made:
        yield made


@pytest.mark.parametrize("nonblocking", [0, 1], ids=["blocking", "nonblocking"])
@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(2)], ids=str)
@pytest.mark.parametrize("name", ADDRESSES)
def test_address_is_accelerated(helper, netns, name, arm, nonblocking):
    listen, connect, bind = ADDRESSES[name]
    options = [f"listen={listen}", f"connect={connect}", f"nonblocking={nonblocking}", "connections=4", "turns=1500",
               "message_max=8192", "close=fin", "deadline=20", "warm=1"] + ([f"bind={bind}"] if bind else [])
    with helper.counting() as grown:
        result = run([built("conformance/exchange"), "both", *options], arm, helper.socket, netns, timeout=30)
    assert result["mismatches"] == 0 and result["errors"] == 0
    if arm.accelerated:
        proved(grown["pairs_armed_total"] == 4, lambda: f"{grown}\n{helper.explain()}")
        proved(grown["redirected_bytes"] > result["bytes"] / 4, lambda: f"{result}\n{grown}\n{helper.explain()}")

# SPDX-License-Identifier: BSD-2-Clause
"""Two network namespaces use the same 127.0.0.1 tuples at the same time, under one helper: never a byte across (invariant 2)."""
import sys

import pytest

from support.namespaces import Netns
from support.program import BUILD, EAGER, PLAIN, Program, auto, built
from support.proof import proved

PORT, CLIENT_PORT, CONCURRENCY, CONNECTIONS = 7000, 7100, 6, 120


@pytest.mark.parametrize("arm", [PLAIN, EAGER, auto(1)], ids=str)
def test_equal_tuples_in_two_namespaces(helper, arm):
    """Six connections at any time, from six fixed ports, in both namespaces; the seeds differ, so that every token does."""
    options = [f"port={PORT}", f"client_port={CLIENT_PORT}", f"client_ports={CONCURRENCY}", f"concurrency={CONCURRENCY}",
               f"connections={CONNECTIONS}", "turns=60", "message_max=16384", "pause_us=500", "deadline=60", "warm=1"]
    with Netns() as one, Netns() as two, helper.counting() as grown:
        programs = []
        try:
            for seed, netns in ((1, one), (2, two)):
                programs.append(Program([built("conformance/exchange"), "both", f"seed={seed}", *options], arm,
                                        helper.socket, netns))
            results = [program.result(70) for program in programs]
        finally:
            for program in programs:
                program.end()
    for result in results:
        assert result["connections"] == CONNECTIONS and result["mismatches"] == 0 and result["errors"] == 0
    if arm.accelerated:
        # more than one namespace alone can explain: both were accelerated
        proved(grown["pairs_armed_total"] > CONNECTIONS, lambda: f"{grown}\n{helper.explain()}")
        proved(grown["redirected_bytes"] > max(result["bytes"] for result in results) / 2, lambda: f"{grown}\n{helper.explain()}")


@pytest.mark.parametrize("arm", [EAGER, auto(1)], ids=str)
def test_each_namespace_is_accelerated(helper, arm):
    """The same, one after the other: what each namespace alone gets redirected."""
    for seed in (3, 4):
        with Netns() as netns, helper.counting() as grown:
            with Program([built("conformance/exchange"), "both", f"seed={seed}", f"port={PORT}",
                          f"client_port={CLIENT_PORT}", "client_ports=4", "turns=60", "connections=20", "warm=1"], arm, helper.socket,
                         netns) as program:
                result = program.result(60)
        assert result["mismatches"] == 0
        proved(grown["redirected_bytes"] > 0, lambda: f"{grown}\n{helper.explain()}")


# tcp_rmem, and whether there is room for redirected bytes.
BUFFERS = {"tiny": ("4096 8192 16384", False), "1m": ("4096 131072 1048576", True)}


@pytest.mark.parametrize("name", BUFFERS)
def test_small_buffers(helper, name):
    """The kernel is as usable as elsewhere, and all that depends on the buffers is how much is redirected."""
    rmem, has_room = BUFFERS[name]
    with Netns() as netns, helper.counting() as grown:
        netns.run("sh", "-c", f"echo {rmem} > /proc/sys/net/ipv4/tcp_rmem")
        assert ": usable" in netns.run(BUILD / "smaccel", "probe")
        with Program([built("conformance/exchange"), "both", "seed=5", f"port={PORT}", f"client_port={CLIENT_PORT}", "client_ports=4",
                      "turns=60", "connections=8", f"warm={int(has_room)}"], EAGER, helper.socket, netns) as program:
            result = program.result(60)
    assert result["mismatches"] == 0 and result["errors"] == 0 and result["connections"] == 8
    assert (grown["redirected_bytes"] > 0) == has_room, f"{grown}\n{helper.explain()}"


# Turns with a server by the port of the argument, which is translated to the server's own.
TRANSLATED = f"""
import json, socket, sys
listener = socket.create_server(("127.0.0.1", {PORT}))
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
server = listener.accept()[0]
for i in range(300):
    client.sendall(b"turn %d" % i)
    server.sendall(server.recv(64) + b"!")
    assert client.recv(64) == b"turn %d!" % i
print(json.dumps({{"peer": client.getpeername()[1], "own": server.getsockname()[1]}}))
"""


@pytest.mark.parametrize("port", [PORT, PORT + 1])
def test_translated_addresses(helper, port):
    """Ends that know each other by other addresses are no pair, and lose nothing by it."""
    with Netns() as netns, helper.counting() as grown:
        netns.run("/usr/sbin/nft", f"add table ip nat; add chain ip nat out {{ type nat hook output priority -100; }}; "
                                   f"add rule ip nat out tcp dport {PORT + 1} redirect to :{PORT}")
        with Program([sys.executable, "-c", TRANSLATED, port], EAGER, helper.socket, netns) as program:
            assert program.result(20) == {"peer": port, "own": PORT}
    if port == PORT:
        proved(grown["redirected_msgs"] > 500, lambda: f"{grown}\n{helper.explain()}")
    else:
        assert grown["redirected_msgs"] == 0, f"{grown}\n{helper.explain()}"

# SPDX-License-Identifier: BSD-2-Clause
"""Connections between two network namespaces of one host, over veth: only by policy (`peers`), only for the addresses it
names, only of one user, and never for a loopback address (invariant 2)."""
import contextlib
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.apps import NOBODY, ss_rows, wait_until
from support.helper import Helper
from support.namespaces import Netns
from support.program import EAGER, Program, auto, built
from support.proof import proved

SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
SERVER_V6, CLIENT_V6 = "fd77::1", "fd77::2"
PORT = 7000


@contextlib.contextmanager
def veth():
    """A server's and a client's namespace, connected."""
    with Netns() as server, Netns() as client:
        def ip(netns, *words):
            subprocess.run(["ip", "-n", netns.name, *words], check=True, timeout=10)
        ip(server, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", client.name)
        for netns, v4, v6 in (server, SERVER, SERVER_V6), (client, CLIENT, CLIENT_V6):
            ip(netns, "addr", "add", f"{v4}/24", "dev", "veth0")
            ip(netns, "addr", "add", f"{v6}/64", "dev", "veth0", "nodad")
            ip(netns, "link", "set", "veth0", "up")
        yield server, client


@contextlib.contextmanager
def helper_with(*lines):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write("".join(f"{line}\n" for line in lines))
        config.flush()
        with Helper("--config", config.name) as helper:
            yield helper


def exchange(helper, arm, server, client, address=SERVER, seed=1, client_prefix=(), turns=60):
    options = [f"seed={seed}", f"port={PORT}", "connections=12", "concurrency=4", f"turns={turns}", "deadline=40"]
    with Program([built("conformance/exchange"), "server", f"listen={address}", *options], arm, helper.socket, server) as one:
        one.wait_output("port")
        with Program([*client_prefix, built("conformance/exchange"), "client", f"connect={address}", *options], arm,
                     helper.socket, client) as two:
            results = [two.result(50), one.result(50)]
    for result in results:
        assert result["mismatches"] == result["errors"] == 0, results


@pytest.mark.parametrize("arm", [auto(2), EAGER], ids=str)
@pytest.mark.parametrize("address", [SERVER, SERVER_V6])
def test_by_policy_they_are_accelerated(arm, address):
    with veth() as (server, client), helper_with("peers = 10.77.0.0/24, fd77::/64") as helper:
        with helper.counting() as grown:
            exchange(helper, arm, server, client, address, turns=500)
        proved(grown["pairs_armed_total"] >= 1 and grown["redirected_bytes"] > 10000, helper.explain)


@pytest.mark.parametrize("lines", [(), ("peers = 10.78.0.0/24",), ("peers = 10.77.0.1/32",)], ids=["none", "other", "one-end"])
def test_without_policy_they_are_not(lines):
    with veth() as (server, client), helper_with(*lines) as helper:
        with helper.counting() as grown:
            for arm in auto(2), EAGER:
                exchange(helper, arm, server, client)
        assert grown["pairs_armed_total"] == grown["redirected_bytes"] == 0, helper.explain()


def test_two_users_are_not_paired():
    with veth() as (server, client), helper_with("peers = 10.77.0.0/24") as helper:
        with helper.counting() as grown:
            exchange(helper, EAGER, server, client, client_prefix=NOBODY)
        assert grown["pairs_armed_total"] == grown["redirected_bytes"] == 0, helper.explain()
        proved(helper.status()["refusals"].get("netns", 0) > 0, helper.explain)


def test_loopback_never_crosses():
    """The same 127.0.0.1 tuples in two namespaces at the same time, and a policy that names 127/8 and everything else."""
    with Netns() as one, Netns() as two, helper_with("peers = 0.0.0.0/1 128.0.0.0/1", "peers = 127.0.0.0/8") as helper:
        options = [f"port={PORT}", "client_port=7100", "client_ports=6", "concurrency=6", "connections=60", "turns=60",
                   "pause_us=300", "deadline=60"]
        with helper.counting() as grown:
            with contextlib.ExitStack() as stack:
                programs = [stack.enter_context(Program([built("conformance/exchange"), "both", f"seed={seed}", *options],
                                                        auto(1), helper.socket, netns))
                            for seed, netns in ((1, one), (2, two))]
                results = [program.result(70) for program in programs]
        assert all(result["mismatches"] == result["errors"] == 0 for result in results), results
        proved(grown["pairs_armed_total"] > 60)  # each namespace by itself
        assert helper.status()["refusals"].get("not-peers", 0) == 0


def test_equal_names_in_two_pairs_of_namespaces():
    """A network that two pairs of namespaces use for themselves must not be named; if it is, no byte goes astray."""
    with veth() as (server, client), veth() as (other_server, other_client), helper_with("peers = 10.77.0.0/24") as helper:
        options = [f"port={PORT}", "connections=30", "concurrency=4", "turns=80", "deadline=40", f"bind={CLIENT}",
                   "client_port=7100", "client_ports=4"]
        with contextlib.ExitStack() as stack, helper.counting() as grown:
            programs = []
            for seed, one, two in (1, server, client), (2, other_server, other_client):
                programs.append(stack.enter_context(Program(
                    [built("conformance/exchange"), "server", f"seed={seed}", f"listen={SERVER}", *options], auto(1),
                    helper.socket, one)))
                programs[-1].wait_output("port")
                programs.append(stack.enter_context(Program(
                    [built("conformance/exchange"), "client", f"seed={seed}", f"connect={SERVER}", *options], auto(1),
                    helper.socket, two)))
            results = [program.result(60) for program in programs]
        assert all(result["mismatches"] == result["errors"] == 0 for result in results), results
        proved(grown["redirected_bytes"] > 0, helper.explain)


def test_ss_says_so(helper):
    """Without a policy the reason is that the other end is not on this host, as far as its namespace knows."""
    with veth() as (server, client):
        options = ["seed=1", f"port={PORT}", "connections=1", "concurrency=1", "turns=4000", "pause_us=1000", "deadline=40"]
        with Program([built("conformance/exchange"), "server", f"listen={SERVER}", *options], auto(2), helper.socket, server):
            with Program([built("conformance/exchange"), "client", f"connect={SERVER}", *options], auto(2), helper.socket,
                         client):
                wait_until(lambda: [row["reason"] for row in ss_rows(helper)] == ["remote", "remote"], 15,
                           lambda: str(ss_rows(helper)))


def test_config_errors_are_said(tmp_path):
    path = Path(tmp_path) / "conf"
    path.write_text("peers = 10.0.0.1/24\n")
    done = subprocess.run([built("../smacceld"), "--config", str(path)], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0 and f"{path}:1" in done.stderr

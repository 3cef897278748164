# SPDX-License-Identifier: BSD-2-Clause
"""socat and ncat: a process per connection, programs behind the socket, relays in a row, half-close.

ncat as a server goes one way at a time: with a program behind it, and much both ways, it locks up on plain TCP too.
"""
import pytest
from stage import STREAM_LEAST, checksum, random_file
from support.apps import wait_until

def socat_echo(stage, port):
    stage.serve(port, "socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork", "EXEC:cat")


def socat_shell(stage, port):
    stage.serve(port, "socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork", "SYSTEM:cat | cat")


def socat_inetd(stage, port):
    """The program gets the socket itself: plain TCP behind the exec."""
    stage.serve(port, "socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork", "EXEC:cat,nofork")


def socat_chain(stage, port):
    behind = stage.port()
    socat_echo(stage, behind)
    stage.serve(port, "socat", "-b", 5000, f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork", f"TCP:127.0.0.1:{behind},nodelay")


SERVERS = {server.__name__: server for server in (socat_echo, socat_shell, socat_inetd, socat_chain)}
CLIENTS = {"socat": ["socat", "-t", "20", "-", "TCP:127.0.0.1:{port}"], "ncat": ["ncat", "127.0.0.1", "{port}"]}


def echoes(server, client, size):
    def workload(stage):
        port = stage.port()
        SERVERS[server](stage, port)
        sums = []
        for number in range(3):
            there = random_file(stage.directory / f"there-{number}", size + number, seed=number)
            command = " ".join(CLIENTS[client]).format(port=port)
            stage.run("sh", "-c", f"{command} < there-{number} > back-{number}", timeout=60)
            back = stage.directory / f"back-{number}"
            sums += [checksum(there), checksum(back)]
        return sums
    return workload


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", SERVERS)
def test_echo(compare, long, server, client):
    size = 30_000_000 if long else 2_000_000
    sums = compare(echoes(server, client, size), redirected=0 if server == "socat_inetd" else STREAM_LEAST)
    assert sums[::2] == sums[1::2]


def one_way(size):
    """ncat takes a file, then gives one, through a program each."""
    def workload(stage):
        there = random_file(stage.directory / "there", size)
        sums = [checksum(there)]
        for name, behind, command in (("taken", "cat > taken", "ncat --send-only 127.0.0.1 {port} < there"),
                                      ("given", "cat there", "ncat --recv-only 127.0.0.1 {port} > given")):
            port = stage.port()
            server = stage.start("ncat", "-v", "--listen", "--sh-exec", behind, "127.0.0.1", port)
            wait_until(lambda server=server: "Listening on" in server.err, 5, server.describe)
            stage.run("sh", "-c", command.format(port=port), timeout=30)
            assert server.wait(10) == 0, server.describe()
            wait_until(lambda name=name: (stage.directory / name).stat().st_size >= size, 10, "ncat does not wait for the program behind it")
            sums.append(checksum(stage.directory / name))
        return sums
    return workload


def test_ncat_one_way(compare, long):
    size = 100_000_000 if long else 5_000_000
    # No floor: a stream that begins before its pair is armed, and whose reader never catches up, stays on TCP to its end. That these
    # relays are accelerated is shown by the two-way ones.
    sums = compare(one_way(size), redirected=0)
    assert len(set(sums)) == 1

# SPDX-License-Identifier: BSD-2-Clause
"""Samba: smbd, a forked process per client, and smbclient: files up and down in both dialects' sizes, many small ones, a listing."""
import re

from stage import STREAM_LEAST, checksum, random_file, tree

CONFIGURATION = """
[global]
    server role = standalone server
    map to guest = Bad User
    guest account = nobody
    interfaces = 127.0.0.1
    bind interfaces only = yes
    smb ports = {port}
    disable spoolss = yes
    load printers = no
    private dir = {directory}/state
    lock directory = {directory}/state
    state directory = {directory}/state
    cache directory = {directory}/state
    pid directory = {directory}/state
    ncalrpc dir = {directory}/state/rpc
    log file = {directory}/log
    use sendfile = yes
    min receivefile size = 16384
    socket options = TCP_NODELAY
[there]
    path = {directory}/there
    guest ok = yes
    read only = no
    force user = root
"""


def transfers(size):
    def workload(stage):
        port, there = stage.port(), stage.folder("there")
        stage.folder("state")
        configuration = stage.write("smb.conf", CONFIGURATION.format(port=port, directory=stage.directory))
        stage.serve(port, "smbd", "--foreground", "-s", configuration)
        here = stage.folder("here")
        random_file(here / "large", size)
        for number in range(30):
            random_file(here / f"small-{number}", 500 * number + 1, seed=number)
        client = ["smbclient", "-s", configuration, "-N", "-p", port, "//127.0.0.1/there", "-c"]
        stage.run(*client, "prompt OFF; recurse ON; lcd here; mput *", timeout=120)
        back = stage.folder("back")
        listing = stage.run(*client, "prompt OFF; recurse ON; lcd back; mget *; ls", timeout=120).out
        names = sorted(re.findall(r"^  (\S+) +\w+ +(\d+) ", listing, re.MULTILINE))
        assert tree(here) == tree(there) == tree(back)
        stage.run(*client, "rename large moved; rm small-1", timeout=30)
        return names, tree(there), checksum(back / "large")
    return workload


def test_samba(compare, long):
    size = 500_000_000 if long else 10_000_000
    compare(transfers(size), redirected=min(0.02 * size, STREAM_LEAST))

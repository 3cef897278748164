# SPDX-License-Identifier: BSD-2-Clause
"""rsync's daemon, which forks a child per connection and chroots: a tree up, changed, up again, and down."""
import os

from stage import STREAM_LEAST, random_file, tree

CONFIGURATION = """
port = {port}
address = 127.0.0.1
use chroot = yes
[there]
path = {directory}/there
read only = no
uid = root
gid = root
"""


def transfers(files, size):
    def workload(stage):
        here, there = stage.folder("here"), stage.folder("there")
        for number in range(files):
            random_file(here / f"file-{number}", size // files + number, seed=number + 1)
        port = stage.port()
        configuration = stage.write("rsyncd.conf", CONFIGURATION.format(port=port, directory=stage.directory))
        stage.serve(port, "rsync", "--daemon", "--no-detach", f"--config={configuration}")
        url = f"rsync://127.0.0.1:{port}/there/"
        stage.run("rsync", "-a", "--delete", "here/", url, timeout=200)
        first = tree(there)
        # Only what changed travels: a mixture of small messages both ways.
        with open(here / "file-0", "r+b") as file:
            file.seek(1000)
            file.write(b"changed")
        os.utime(here / "file-0", (1, 1))
        (here / "file-1").unlink()
        os.utime(here, (1, 1))
        changes = stage.run("rsync", "-a", "-i", "--delete", "--checksum", "here/", url, timeout=200).out
        stage.run("rsync", "-az", "--bwlimit=0", url, "back", timeout=200)
        assert first != tree(there) == tree(here) == tree(stage.directory / "back")
        return first, tree(there), sorted(changes.splitlines())
    return workload


def test_rsync_daemon(compare, long):
    size = 500_000_000 if long else 20_000_000
    compare(transfers(50, size), redirected=min(0.02 * size, STREAM_LEAST))

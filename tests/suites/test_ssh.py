# SPDX-License-Identifier: BSD-2-Clause
"""OpenSSH: scp both ways and sftp, checksums compared; privilege separation, its sandbox (seccomp, chroot), re-exec.

`sshd -r` serves a connection in a forked child, which the shim stays with. Without it sshd executes itself for each
connection, which inherits the socket over exec: plain TCP, and nothing need be redirected.
"""
import getpass
from pathlib import Path

import pytest
from stage import checksum, random_file
from support.program import EAGER, auto

CONFIGURATION = """
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host
PidFile none
AuthorizedKeysFile {directory}/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
MaxStartups 20
"""
MODES = {"fork": ["-r"], "re-exec": []}


def sshd(stage, mode):
    """Returns the options that scp and sftp need."""
    for name in ("host", "key"):
        stage.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", name)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where the sandboxed child is chrooted to
    port = stage.port()
    configuration = stage.write("sshd_config", CONFIGURATION.format(port=port, directory=stage.directory))
    stage.serve(port, "/usr/sbin/sshd", "-D", "-e", *MODES[mode], "-f", configuration, env={"HOME": stage.directory})
    options = {"Port": port, "IdentityFile": stage.directory / "key", "User": getpass.getuser(), "BatchMode": "yes", "LogLevel": "error",
               "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "GlobalKnownHostsFile": "/dev/null"}
    return ["-F", "none", *(f"-o{name}={value}" for name, value in options.items())]


def copies(mode, size):
    def workload(stage):
        options = sshd(stage, mode)
        random_file(stage.directory / "there", size)
        random_file(stage.directory / "small", 1 << 20)
        stage.run("scp", *options, "there", f"127.0.0.1:{stage.directory}/up", timeout=300)
        stage.run("scp", *options, f"127.0.0.1:{stage.directory}/there", "down", timeout=300)
        stage.run("scp", "-O", *options, f"127.0.0.1:{stage.directory}/small", "old-protocol", timeout=300)
        stage.run("sftp", "-q", "-b", "-", *options, "127.0.0.1", text=f"cd {stage.directory}\nget small sftp\nput small put\nrm put\n")
        said = stage.run("ssh", *options, "127.0.0.1", "cat; echo $SSH_CONNECTION | wc -w; exit 3", text="typed\n", status=3)
        return [checksum(stage.directory / name) for name in ("there", "up", "down", "small", "old-protocol", "sftp")], said.out
    return workload


@pytest.mark.parametrize("mode", MODES)
def test_scp(compare, long, mode):
    size = 1 << 30 if long and mode == "fork" else 8 << 20
    # Before a connection's last process sees it others have read from it: in auto its bytes do not add up, and it stays as it is.
    sums, _ = compare(copies(mode, size), redirected={EAGER: size if mode == "fork" else 0, auto(1): 0})
    assert len(set(sums[:3])) == len(set(sums[3:])) == 1, sums

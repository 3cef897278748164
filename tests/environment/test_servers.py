# SPDX-License-Identifier: BSD-2-Clause
"""Real servers that lock themselves in: chroot and another user (HAProxy), forked children under seccomp (sshd, vsftpd).

memcached -u and nginx's workers are in tests/apps. What these do over a connection is compared byte by byte.
"""
import hashlib
import os
import pwd
import random
import subprocess
import sys
from pathlib import Path

import pytest
from support.apps import Commanded, Server
from support.program import EAGER, PLAIN, Program, auto, built, run
from support.proof import proved

TURNS = 1000
TIMEOUT_S = 20
FILE_BYTES = 2_000_003
SESSIONS_MAX = 20
ARMS = [PLAIN, EAGER, auto(1)]

HAPROXY = """
global
    chroot {directory}/jail
    user nobody
    group nogroup
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
listen talk
    bind 127.0.0.1:{port}
    server talk 127.0.0.1:{back}
"""

SSHD = """
ListenAddress 127.0.0.1
Port {port}
HostKey {directory}/host_key
PidFile none
AuthorizedKeysFile {directory}/user_key.pub
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""

VSFTPD = """
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
anonymous_enable=YES
anon_root={directory}/files
secure_chroot_dir={directory}/empty
seccomp_sandbox=YES
ftp_username=daemon
pasv_address=127.0.0.1
"""

# Commands alone: Debian's vsftpd is ended by its own filter when it sends a file, with or without the shim.
FTP_CLIENT = """
import ftplib, sys
with ftplib.FTP() as ftp:
    ftp.connect("127.0.0.1", int(sys.argv[1]), timeout=10)
    print(ftp.login())
    for command in ["NOOP", "PWD", "TYPE I", "FEAT", "HELP"] * 12:
        print(ftp.sendcmd(command))
    print(ftp.quit())
"""


def test_haproxy_in_a_chroot_as_nobody_is_accelerated(helper):
    """The way to the helper was opened before the chroot; the connections come after it."""
    def haproxy(back):
        def command(port, directory):
            (directory / "jail").mkdir(mode=0o755)
            (directory / "haproxy.cfg").write_text(HAPROXY.format(port=port, directory=directory, back=back))
            return ["haproxy", "-db", "-f", directory / "haproxy.cfg"]
        return command

    for arm in ARMS:
        with Commanded([built("environment/talk"), "server"], arm, helper.socket) as back, \
                Server(haproxy(back.wait_output("port ")), arm, helper.socket) as server:
            assert os.readlink(f"/proc/{server.program.pid}/root").endswith("/jail")
            assert os.stat(f"/proc/{server.program.pid}").st_uid == pwd.getpwnam("nobody").pw_uid
            with helper.counting() as grown:
                seen = run([built("environment/talk"), "client", server.port, TURNS, "when-redirecting"], arm, helper.socket,
                           timeout=TIMEOUT_S)
        if arm.accelerated:  # each byte goes there and back, and over two connections
            proved(grown["redirected_bytes"] > 0.5 * 4 * seen["bytes"], lambda: f"{seen} {grown}\n{helper.explain()}")


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("arm", ARMS, ids=str)
@pytest.mark.parametrize("reexec", [True, False], ids=["re-executed", "forked"])
def test_sshd(helper, arm, reexec):
    """The child that talks before the login is in a chroot, unprivileged, and under a filter of system calls."""
    def sshd(port, directory):
        for key in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key], check=True, timeout=10)
        (directory / "file").write_bytes(random.Random(3).randbytes(FILE_BYTES))
        (directory / "sshd_config").write_text(SSHD.format(port=port, directory=directory))
        return ["/usr/sbin/sshd", "-D", "-e", *([] if reexec else ["-r"]), "-f", directory / "sshd_config"]

    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks its children in
    wanted = arm is EAGER and not reexec
    with Server(sshd, arm, helper.socket) as server:
        copy, before = server.directory / "copy", helper.totals()["redirected_bytes"]
        options = ["-F", "none", "-i", server.directory / "user_key", "-o", "StrictHostKeyChecking=no", "-o",
                   "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
        for _ in range(SESSIONS_MAX if wanted else 1):  # an answer of the helper that comes late makes the first ones plain
            with Program(["scp", *options, "-P", server.port, f"root@127.0.0.1:{server.directory}/file", copy], arm, helper.socket) as scp:
                assert scp.wait(TIMEOUT_S) == 0, f"{scp.describe()}\n{server.program.describe()}"
            assert digest_of(copy) == digest_of(server.directory / "file")
            if helper.totals()["redirected_bytes"] > before:
                break
        proved(not wanted or helper.totals()["redirected_bytes"] > before, helper.explain)


def test_vsftpd(helper):
    """Processes for each session, in a chroot, unprivileged, under a filter; the control connection came before it."""
    def vsftpd(port, directory):
        directory.chmod(0o755)
        for name in ("files", "empty"):
            (directory / name).mkdir(mode=0o755)
        (directory / "vsftpd.conf").write_text(VSFTPD.format(port=port, directory=directory))
        return ["vsftpd", directory / "vsftpd.conf"]

    answers = set()
    for arm in ARMS:
        with Server(vsftpd, arm, helper.socket) as server, helper.counting() as grown:
            leaves = helper.totals()["leaves"]
            for _ in range(SESSIONS_MAX):  # an answer of the helper that comes late makes the first ones plain
                with Program([sys.executable, "-c", FTP_CLIENT, server.port], arm, helper.socket) as client:
                    assert client.wait(TIMEOUT_S) == 0, f"{client.describe()}\n{server.program.describe()}"
                    answers.add(client.out)
                if arm is not EAGER or helper.totals()["leaves"] > leaves:
                    break
        if arm is EAGER:  # the filter comes before the greeting
            proved(grown["pairs_armed_total"] > 0 and grown["leaves"] > 0, lambda: f"{grown}\n{helper.explain()}")
    assert len(answers) == 1 and answers.pop().count("200 NOOP ok.") == 12

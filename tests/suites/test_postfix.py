# SPDX-License-Identifier: BSD-2-Clause
"""Postfix: mail through a chain of daemons that each change user and root: smtp-source to smtpd, queue, smtp to smtp-sink.

Everything of it runs in the arm: master hands the shim's settings on. What arrives must be what was sent, each message once.
"""
import collections
import hashlib
import shutil

import pytest
from support.apps import wait_until
from support.program import EAGER, auto

MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/spool
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.test
mydestination =
local_transport = error:no local mail
alias_maps =
relayhost = [127.0.0.1]:{sink}
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_host_lookup = native
smtpd_peername_lookup = no
message_size_limit = 0
default_destination_concurrency_limit = 5
import_environment = MAIL_CONFIG TZ LD_PRELOAD SMACCEL_SOCKET SMACCEL_ADMIT
"""
# service, type, private, unprivileged, chroot, wake-up, limit of processes, command
MASTER = """
127.0.0.1:{port} inet n - y - 20 smtpd
pickup unix n - y 60 1 pickup
cleanup unix n - y - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - y - - trivial-rewrite
bounce unix - - y - 0 bounce
defer unix - - y - 0 bounce
trace unix - - y - 0 bounce
verify unix - - y - 1 verify
flush unix n - y 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - y - 20 smtp
relay unix - - y - 20 smtp
error unix - - y - - error
retry unix - - y - - error
discard unix - - y - - discard
anvil unix - - y - 1 anvil
scache unix - - y - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def delivered(folder):
    """{(sender, recipient, checksum of the body): how often}; smtp-sink puts the envelope into headers of its own."""
    found = collections.Counter()
    for path in folder.iterdir():
        head, _, body = path.read_bytes().partition(b"\n\n")
        names = dict(line.split(b": ", 1) for line in head.splitlines() if line.startswith(b"X-"))
        found[names[b"X-Mail-Args"], names[b"X-Rcpt-Args"], hashlib.sha256(body).hexdigest()] += 1
    return found


def mail(messages, sessions, size):
    def workload(stage):
        port, sink = stage.port(), stage.port()
        config, arrived = stage.folder("config"), stage.folder("arrived", 0o777)
        stage.folder("spool")
        shutil.chown(stage.folder("data", 0o700), "postfix")
        config.joinpath("main.cf").write_text(MAIN.format(directory=stage.directory, sink=sink))
        config.joinpath("master.cf").write_text(MASTER.format(port=port))
        stage.serve(sink, "smtp-sink", "-u", "nobody", "-d", f"{arrived}/%M%S.", f"127.0.0.1:{sink}", 50)
        server = stage.serve(port, "/usr/sbin/postfix", "-c", config, "start-fg", timeout=30)
        stage.run("smtp-source", "-m", messages, "-s", sessions, "-l", size, "-f", "from@mail.test", "-t", "to@elsewhere.test", "-c", "-d",
                  f"127.0.0.1:{port}", timeout=120)
        log = stage.directory / "log"
        wait_until(lambda: log.read_text().count("status=sent") >= messages, 60, lambda: f"{server.describe()}\n{log.read_text()[-3000:]}")
        stage.stop(server)
        found = delivered(arrived)
        assert sum(found.values()) == messages
        return found
    return workload


@pytest.mark.long
@pytest.mark.parametrize("messages, sessions, size", [(400, 1, 2000), (60, 10, 1_000_000)], ids=["many", "large"])
def test_postfix(compare, messages, sessions, size):
    compare(mail(messages, sessions, size), redirected={EAGER: messages * size // 2, auto(1): 1})

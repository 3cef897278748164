# SPDX-License-Identifier: BSD-2-Clause
"""vsftpd, chrooted, as one process and as two, and from inetd: curl and lftp go up, down, and on from the middle.

Of two processes one accepts the data connections and passes them on over SCM_RIGHTS, and the control connection wants its urgent
data inline: plain TCP. vsftpd's own seccomp sandbox ends it on plain TCP too (newfstatat is not on its list).
"""
import pytest
from stage import STREAM_LEAST, checksum, random_file, tree

CONFIGURATION = """
listen={listen}
listen_address=127.0.0.1
listen_port={port}
background=NO
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_umask=022
anon_root={directory}/root
ftp_username=ftp
nopriv_user=nobody
secure_chroot_dir={directory}/empty
one_process_model={one}
seccomp_sandbox=NO
use_sendfile={sendfile}
xferlog_enable=NO
pasv_address=127.0.0.1
"""
WAYS = {"one-process": dict(one="YES", sendfile="YES"), "read-write": dict(one="YES", sendfile="NO"),
        "two-processes": dict(one="NO", sendfile="YES")}


def vsftpd(stage, way):
    port = stage.port()
    stage.folder("empty")
    root = stage.folder("root")
    up = root / "up"
    up.mkdir()
    up.chmod(0o777)
    listen = "NO" if way == "inetd" else "YES"
    settings = WAYS["one-process"] if way == "inetd" else WAYS[way]
    configuration = stage.write("vsftpd.conf", CONFIGURATION.format(port=port, directory=stage.directory, listen=listen, **settings))
    if way == "inetd":
        line = f"127.0.0.1:{port} stream tcp nowait root /usr/sbin/vsftpd vsftpd {configuration}\n"
        stage.serve(port, "inetd", "-d", stage.write("inetd.conf", line))
    else:
        stage.serve(port, "vsftpd", configuration)
    return f"ftp://127.0.0.1:{port}", root


def transfers(way, size):
    def workload(stage):
        url, root = vsftpd(stage, way)
        random_file(root / "there", size)
        random_file(stage.directory / "here", size, seed=2)
        for number in range(20):
            random_file(root / f"small-{number}", 1000 * number, seed=number)
        stage.run("curl", "-sS", "-o", "down", f"{url}/there", timeout=60)
        stage.run("curl", "-sS", "-C", size // 2, "-o", "half", f"{url}/there", timeout=60)
        stage.run("curl", "-sS", "-T", "here", f"{url}/up/curl", timeout=60)
        listing = stage.run("curl", "-sS", "-l", f"{url}/").out
        missing = stage.run("curl", "-sS", f"{url}/none", status=None)
        script = "set net:max-retries 1; set net:timeout 10; set cmd:fail-exit yes; mirror -P 3 / mirrored; put -O /up here -o lftp; quit"
        stage.run("lftp", "-c", f"open {url}; {script}", env={"HOME": stage.directory}, timeout=60)
        sums = [checksum(path) for path in (root / "there", stage.directory / "down", stage.directory / "half", stage.directory / "here",
                                            root / "up" / "curl", root / "up" / "lftp")]
        return sums, sorted(listing.split()), missing.status, tree(stage.directory / "mirrored")
    return workload


@pytest.mark.parametrize("way", [*WAYS, "inetd"])
def test_ftp(compare, long, way):
    size = 300_000_000 if long else 4_000_000
    sums, *_ = compare(transfers(way, size), redirected=min(0.02 * size, STREAM_LEAST) if way in ("one-process", "read-write") else 0)
    assert sums[0] == sums[1] and sums[3] == sums[4] == sums[5]

# SPDX-License-Identifier: BSD-2-Clause
"""Who starts a helper for others: the units for systemd leave it enough (there is no systemd here, so what it would do is done by
hand), and examples/with-helper passes on what its command needs."""
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from support.helper import Helper
from support.program import BUILD

TREE = Path(__file__).resolve().parents[2]
UNITS = TREE / "helper/systemd"
READY = "smacceld: ready"


def directives(name):
    """Of a unit file, each with its last value."""
    lines = (line.strip() for line in (UNITS / name).read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def shows_addresses():
    """To root without CAP_SYSLOG."""
    settings = [int(Path("/proc/sys/kernel", name).read_text()) for name in ("kptr_restrict", "perf_event_paranoid")]
    return settings[0] == 0 and settings[1] <= 1


def start_with(place, capabilities):
    """Its exit status and what it said, as CapabilityBoundingSet= and NoNewPrivileges= would start it; None: it serves (and is ended)."""
    bounds = ",".join(["-all", *(f"+{name.lower().removeprefix('cap_')}" for name in capabilities)])
    command = ["setpriv", f"--bounding-set={bounds}", "--inh-caps=-all", "--no-new-privs",
               str(BUILD / "smacceld"), "--socket", str(place.socket), "--pin-dir", str(place.pins)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = ""
        for line in process.stderr:
            said += line
            if READY in line:
                process.terminate()
        status = process.wait(20)
    return (None if READY in said else status), said


def test_the_units_capabilities_are_enough(place):
    unit = directives("smacceld.service.in")
    assert unit["NoNewPrivileges"] == "yes"
    status, said = start_with(place, unit["CapabilityBoundingSet"].split())
    assert status is None, said


def test_the_socket_outlives_a_stop_of_the_service():
    """systemd removes RuntimeDirectory= at each stop, with what is in it, though the socket is another unit's."""
    service, sock = directives("smacceld.service.in"), directives("smacceld.socket")
    assert Path(sock["ListenSequentialPacket"]).parent == Path("/run", service["RuntimeDirectory"])
    assert service["RuntimeDirectoryPreserve"] == "yes"


def start_where(place, *injections):
    """Its end, where these system calls are answered as said."""
    inject = [word for injection in injections for word in ("-e", f"inject={injection}")]
    traced = ",".join(injection.split(":")[0] for injection in injections)
    return subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={traced}", *inject, str(BUILD / "smacceld"), "--socket",
                           str(place.socket), "--pin-dir", str(place.pins)], capture_output=True, text=True, timeout=40, check=False)


def test_what_ends_it_for_good(place):
    """An end by any signal does not; what would be the same the next time does: status 2 (unit/cli-run) and 3, a kernel that refuses."""
    unit = directives("smacceld.service.in")
    assert (unit["Restart"], unit["RestartPreventExitStatus"]) == ("always", "2 3")
    done = start_where(place, "bpf:error=EINVAL")
    assert done.returncode == 3 and "Linux 6.1 or later" in done.stderr, done


@pytest.mark.parametrize("call, lacking, advice", [("clone,clone3:error=EAGAIN", "no thread to try with", "pids.max"),
                                                   ("clone,clone3:error=EAGAIN:when=2+", "no thread for the watchdog", "pids.max"),
                                                   ("timer_create:error=EAGAIN", "no timer", "LimitSIGPENDING="),
                                                   ("socket:error=EMFILE:when=2+", "Too many open files", "LimitNOFILE=")],
                         ids=["threads", "watchdog", "timer", "files"])
def test_what_is_lacking_does_not_end_it_for_good(place, call, lacking, advice):
    """It says nothing of the kernel, and may be there the next time: the unit starts it again."""
    done = start_where(place, call)
    assert done.returncode == 1 and lacking in done.stderr and advice in done.stderr, done
    assert "this kernel" not in done.stderr, done


def test_the_log_has_what_root_has_done(root_only):
    with Helper() as helper:
        for command in ("off", "on", "trial start", "trial stop", "trial start", "off"):
            subprocess.run([str(BUILD / "smaccel"), *command.split()], env=dict(os.environ, SMACCEL_SOCKET=str(helper.socket)), check=True, timeout=15,
                           capture_output=True)
        asked = r" by uid 0, pid \d+\n"
        assert re.search("acceleration switched off" + asked + "smacceld: acceleration switched on" + asked + "smacceld: trial 1: started" + asked +
                         "smacceld: trial 1: stopped" + asked + "smacceld: trial 2: started" + asked + "smacceld: trial 2: ended by the kill switch\n",
                         helper.log), helper.log


def uninstall(root):
    return subprocess.run(["make", "-s", "uninstall", f"DESTDIR={root}", "PREFIX=/usr", "LIBDIR=/usr/lib", "MULTIARCH=none"], cwd=TREE, text=True,
                          capture_output=True, timeout=50, check=False, env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")})


def test_uninstall_leaves_no_ld_so_preload_without_its_library(tmp_path):
    library, preload = tmp_path / "usr/lib/libsmaccel.so", tmp_path / "etc/ld.so.preload"
    for path, text in ((library, ""), (preload, "/usr/lib/libsmaccel.so\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    done = uninstall(tmp_path)
    assert done.returncode and "take that line out first" in done.stderr and library.exists(), done
    preload.write_text("")
    done = uninstall(tmp_path)
    assert done.returncode == 0 and not library.exists(), done


def start_activated(place, *options):
    """What it says, with a socket of systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(place.socket))
        listening.listen()
        command = [str(BUILD / "smacceld"), "--pin-dir", str(place.pins), *options]
        held = ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 0</dev/null', "sh", *command]
        with subprocess.Popen(held, stderr=subprocess.PIPE, text=True, stdin=listening) as process:
            said = ""
            for line in process.stderr:
                said += line
                if READY in line:
                    process.terminate()
            assert process.wait(20) == 0, said
    return said


def test_who_may_connect_is_systemds_matter(place):
    """Where it holds the socket; settings that say otherwise are not passed over in silence."""
    assert "ignored" not in start_activated(place)
    place.socket.unlink()
    said = start_activated(place, "--socket-mode", "600", "--socket-group", "54321")
    assert "socket-mode" in said and "SocketMode=" in said and "ignored" in said, said


def test_the_documented_capabilities_are_enough(place):
    """And each is missed by its name, before anything is done."""
    enough = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYSLOG"]
    status, said = start_with(place, enough)
    assert status is None, said
    for missing in enough:
        status, said = start_with(place, [name for name in enough if name != missing])
        if missing == "CAP_SYSLOG" and shows_addresses():
            assert status is None, said
            continue
        assert status == 1 and f"capability {missing.lower().removeprefix('cap_')} is missing" in said, said


def test_with_helper_passes_on_its_standard_input():
    done = subprocess.run([str(TREE / "examples/with-helper"), "sh", "-c", "cat; exit 3"], input="said\n", capture_output=True, text=True, timeout=60,
                          check=False)
    assert (done.returncode, done.stdout) == (3, "said\n"), done

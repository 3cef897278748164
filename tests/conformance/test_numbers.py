# SPDX-License-Identifier: BSD-2-Clause
"""Connections under numbers that the wrappers do not see, or that libc reads by itself: they are plain TCP."""
import sys

import pytest

from support.program import EAGER, PLAIN, Program
from support.proof import proved

# Eight bytes come one by one while they are read as a whole: on a joined end a receive of no wrapper would bring the first.
DUPLICATE = """
import socket, threading, time
listener = socket.create_server(("127.0.0.1", 0))
asker = socket.socket()
HOW
asker.connect(listener.getsockname())
server = listener.accept()[0]
for one, other in [(asker, server), (server, asker)] * 20:
    one.sendall(b"x")
    assert other.recv(1) == b"x"
def send():
    for byte in b"in parts":
        server.sendall(bytes([byte]))
        time.sleep(0.005)
sender = threading.Thread(target=send)
sender.start()
print(reader.recv(8, socket.MSG_WAITALL))
sender.join()
"""

# The connection gets number 0, and a handler that restarts meets the receive that stdio makes of it, inside libc.
STDIN = """
import ctypes, os, signal, socket, threading, time
libc = ctypes.CDLL(None)
stdin = ctypes.c_void_p.in_dll(libc, "stdin")
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.siginterrupt(signal.SIGUSR1, False)
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
os.close(0)
assert libc.accept(listener.fileno(), None, None) == 0
server = socket.socket(fileno=0)
for one, other in [(client, server), (server, client)] * 20:
    one.sendall(b"x")
    assert other.recv(1) == b"x"
def send():
    time.sleep(0.1)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
    time.sleep(0.1)
    client.sendall(b"a line\\n")
sender = threading.Thread(target=send)
sender.start()
line = ctypes.create_string_buffer(64)
print(libc.fgets(line, 64, stdin) != 0, line.value)
sender.join()
"""


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
@pytest.mark.parametrize("how", ["reader = asker", "reader = asker.dup()"], ids=["one", "two"])
def test_a_duplicate_from_before_connect(helper, arm, how):
    with helper.counting() as grown, Program([sys.executable, "-c", DUPLICATE.replace("HOW", how)], arm, helper.socket) as program:
        assert program.wait(20) == 0, program.describe()
    assert program.out.strip() == "b'in parts'", program.describe()
    if arm.accelerated and how == "reader = asker":
        proved(grown["redirected_bytes"] > 0 and grown["pairs_armed_total"] == 1, lambda: f"{grown}\n{helper.explain()}")
    else:
        assert grown["redirected_bytes"] == grown["pairs_armed_total"] == 0, f"{grown}\n{helper.explain()}"


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_number_0_is_read_by_stdio(helper, arm):
    with helper.counting() as grown, Program([sys.executable, "-c", STDIN], arm, helper.socket) as program:
        assert program.wait(20) == 0, program.describe()
    assert program.out.strip() == "True b'a line\\n'", program.describe()
    assert grown["redirected_bytes"] == 0, f"{grown}\n{helper.explain()}"


# The high numbers are all in use, where the library would have its own; twenty low ones are free.
FEW_NUMBERS = """
import errno, os, resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
listener = socket.create_server(("127.0.0.1", 0))
def open_files(count):
    files = []
    try:
        while len(files) < count:
            files.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EMFILE
    return files
for file in open_files(2000)[100:120]:
    os.close(file)
for _ in range(40):
    client = socket.create_connection(listener.getsockname())
    server = listener.accept()[0]
    for one, other in [(client, server), (server, client)] * 20:
        one.sendall(b"x")
        assert other.recv(1) == b"x"
    client.close()
    server.close()
print(len(open_files(20)))
"""


@pytest.mark.parametrize("arm", [PLAIN, EAGER], ids=str)
def test_no_number_is_kept_where_they_are_short(helper, arm):
    """A session that found no number kept one end of its pair, each time."""
    with Program([sys.executable, "-c", FEW_NUMBERS], arm, helper.socket) as program:
        assert program.wait(30) == 0, program.describe()
        assert program.out.split() == ["20"], program.describe()

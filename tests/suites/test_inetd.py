# SPDX-License-Identifier: BSD-2-Clause
"""openbsd-inetd: a child per connection that executes a program with the socket as standard input, output and error.

Behind the exec it is plain TCP: stdio and programs that know no shim must find all bytes, and a FIN when they end. What inetd
answers itself (echo) and what the client side sends before the exec may be redirected.
"""
from stage import checksum, random_file
from support.apps import wait_until

# Nothing but what inetd gives it: lines through stdio, urgent data and a terminal through telnetd, a file through cat.
CONFIGURATION = """
127.0.0.1:{cat} stream tcp nowait root /bin/cat cat
127.0.0.1:{file} stream tcp nowait root /bin/cat cat {directory}/there
127.0.0.1:{lines} stream tcp nowait root /bin/sed sed -u s/^/line:/
127.0.0.1:{shell} stream tcp nowait root /bin/sh sh -c read:line;echo:$line;exec:sort
127.0.0.1:{telnet} stream tcp nowait root /usr/sbin/telnetd telnetd -h -E {directory}/login
"""
# It stays until the client hangs up: telnetd ends with its child, over plain TCP too, and what the child wrote last is lost whenever
# SIGCHLD comes before telnetd has read the terminal (16 of 240 sessions, 12 side by side on two CPUs; none since it stays).
LOGIN = """#!/bin/sh
echo "ready"
read line
echo "got $line"
read hangup
"""


def services(size):
    def workload(stage):
        names = ("cat", "file", "lines", "shell", "telnet")
        ports = {name: stage.port() for name in names}
        there = random_file(stage.directory / "there", size)
        stage.write("login", LOGIN, 0o755)
        # inetd has no way to quote a blank in an argument.
        text = CONFIGURATION.format(directory=stage.directory, **ports).replace("read:line;echo:$line;exec:sort", stage.write(
            "reads", "read line; echo got $line; exec sort\n", 0o755).name).replace("sh -c reads", f"sh {stage.directory}/reads")
        stage.serve(ports["file"], "inetd", "-d", stage.write("inetd.conf", text))

        def ask(name, text="", client="socat -t 10 - TCP:127.0.0.1:{}"):
            return stage.run("sh", "-c", client.format(ports[name]), text=text, timeout=30).out
        stage.run("sh", "-c", f"socat -u TCP:127.0.0.1:{ports['file']} CREATE:down", timeout=60)
        stage.run("sh", "-c", f"socat -t 10 - TCP:127.0.0.1:{ports['cat']} < there > back", timeout=60)
        lines = "".join(f"{number * 7919 % 10007} {'y' * (number % 90)}\n" for number in range(5000))
        said = [ask("lines", lines), ask("shell", "first\n" + lines), ask("cat")]
        terminal = stage.start("sh", "-c", f"(sleep 0.5; echo typed; sleep 1) | telnet -E 127.0.0.1 {ports['telnet']}", env={"TERM": "dumb"})
        wait_until(lambda: "got typed" in terminal.out, 10, terminal.describe)
        said.append([line.strip() for line in terminal.out.splitlines() if line.startswith("got")])
        return said, checksum(there), checksum(stage.directory / "down"), checksum(stage.directory / "back")
    return workload


def test_inetd(compare, long):
    said, *sums = compare(services(200_000_000 if long else 3_000_000), redirected=0)
    assert len(set(sums)) == 1 and said[1].startswith("got first\n")

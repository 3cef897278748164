#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Does acceleration help a service of the old kind, a filter that reads its standard input and answers on its standard output, put on
# the network inetd-style by socat, which starts one filter a connection? A trial of round trips, plain and accelerated by turns.
# (socat keeps the socket and passes the bytes on to the filter. A server that hands the socket itself to the filter, as
# inetd's "nowait" does, stays on plain TCP: bytes that go past the shim are never touched.)
# Needs root, socat and python3. Fails if the accelerated runs redirected nothing, or the plain ones anything.
#   TRIPS=N round trips a run (20000)     FILTER=CMD the filter (cat)     Arguments are options for smaccel ab.
set -u
here=$(cd "$(dirname "$0")" && pwd)
port=${PORT:-$((20000 + RANDOM % 10000))}

# shellcheck disable=SC2016
client='
import socket, sys, time
port, trips = int(sys.argv[1]), int(sys.argv[2])
with socket.create_connection(("127.0.0.1", port)) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    begun = time.monotonic()
    for number in range(trips):
        line = b"line %d\n" % number
        connection.sendall(line)
        answer = b""
        while len(answer) < len(line):
            piece = connection.recv(4096)
            if not piece:
                sys.exit("the service hung up")
            answer += piece
        if answer != line:
            sys.exit(f"sent {line!r}, received {answer!r}")
    print(f"round trip: {(time.monotonic() - begun) / trips * 1e6:.3f} us")
'
"$here/with-helper" smaccel ab "$@" --metric 'round trip:us:lower=round trip: ([0-9.]+) us' \
	--server "socat TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr,nodelay,fork EXEC:${FILTER:-cat}" --ready "$port" -- \
	python3 -c "$client" "$port" "${TRIPS:-20000}"

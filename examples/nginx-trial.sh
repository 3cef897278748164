#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Does acceleration help nginx? A trial: wrk with keep-alive connections against a fresh nginx in each run, plain and accelerated by turns.
# Needs root, nginx and wrk. Fails if the accelerated runs redirected nothing, or the plain ones anything.
#   SECONDS_A_RUN=N (2)     Arguments are options for smaccel ab, such as --rounds 20 or --html FILE.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/smaccel-nginx.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
port=${PORT:-$((20000 + RANDOM % 10000))}

cat >"$work/nginx.conf" <<EOF
daemon off;
worker_processes 1;
error_log $work/error.log;
pid $work/nginx.pid;
events { worker_connections 256; }
http {
	access_log off;
	keepalive_requests 100000000;
	client_body_temp_path $work/body; proxy_temp_path $work/proxy; fastcgi_temp_path $work/fastcgi;
	uwsgi_temp_path $work/uwsgi; scgi_temp_path $work/scgi;
	server { listen 127.0.0.1:$port; location / { return 200 "a page of 64 bytes, or so, which is what many services answer..."; } }
}
EOF
"$here/with-helper" smaccel ab "$@" \
	--server "nginx -p $work -c $work/nginx.conf" --ready "$port" -- \
	wrk --latency -t 1 -c 16 -d "${SECONDS_A_RUN:-2}" "http://127.0.0.1:$port/"

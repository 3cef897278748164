#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# sockperf ping-pong over TCP, before and after, as a trial: first within one network namespace over its loopback device, then between
# two network namespaces over a veth pair (as between two containers), with the same verdicts and the same proof.
#
# Addresses repeat in every namespace, so the helper pairs across them only by policy: the line "peers = 10.77.0.0/24" in its
# configuration says that addresses in that network exist once on this host. PEERS=none leaves it out; then the second trial is invalid
# for want of proof, which is what it is there to say.
#
# Needs root, sockperf, ip and nsenter. Fails if a trial has no proof that the accelerated runs were redirected and the plain ones not.
#   SECONDS_A_RUN=N (5)   PLACES='loopback veth': which of the two trials
# Arguments are options for smaccel ab, such as --rounds 20.
set -u
here=$(cd "$(dirname "$0")" && pwd)
for program in sockperf ip nsenter; do
	command -v $program >/dev/null || { echo "sockperf-namespaces: $program is not installed" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo 'sockperf-namespaces: needs root: it makes network namespaces, and the helper loads BPF programs' >&2; exit 1; }
options=("$@")
seconds=${SECONDS_A_RUN:-5}
one=smaccel-$$-a two=smaccel-$$-b
work=$(mktemp -d "${TMPDIR:-/tmp}/smaccel-sockperf.XXXXXX") || exit 1
clean_up() {
	ip netns del "$one" 2>/dev/null
	ip netns del "$two" 2>/dev/null
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

ip netns add "$one" && ip netns add "$two" &&
	ip -n "$one" link set lo up && ip -n "$two" link set lo up &&
	ip -n "$one" link add veth0 type veth peer name veth0 netns "$two" &&
	ip -n "$one" addr add 10.77.0.1/24 dev veth0 && ip -n "$one" link set veth0 up &&
	ip -n "$two" addr add 10.77.0.2/24 dev veth0 && ip -n "$two" link set veth0 up || exit 1

inside() { # NAMESPACE: the words before a command; nsenter leaves mounts alone, so the helper's socket stays in reach
	echo "nsenter --net=/run/netns/$1 --"
}

peers=${PEERS:-10.77.0.0/24}
if [ "$peers" = none ]; then echo; else echo "peers = $peers"; fi >"$work/smacceld.conf"

trial() { # CLIENT-NAMESPACE ADDRESS
	# shellcheck disable=SC2046  # words, on purpose
	"$here/with-helper" --helper-option --config --helper-option "$work/smacceld.conf" \
		smaccel ab "${options[@]}" --primary 'latency p50' \
		--server "$(inside "$one") sockperf server --tcp -i $2 -p 11111" --ready 11111 -- \
		$(inside "$1") sockperf ping-pong --tcp -i "$2" -p 11111 -t "$seconds" -m 64
}

for place in ${PLACES:-loopback veth}; do
	if [ "$place" = loopback ]; then
		echo '==== one namespace, loopback ===='
		trial "$one" 127.0.0.1 || exit
	else
		echo '==== two namespaces, veth ===='
		trial "$two" 10.77.0.1 || exit
	fi
done

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# sockperf ping-pong over TCP, before and after, as a trial: first within one network namespace over its loopback device, then between
# two network namespaces over a veth pair (as between two containers), with the same verdicts and the same proof.
#
# Between namespaces the kernel's facts do not prove a pair in the same way (addresses repeat in every namespace), so the helper pairs
# there only by policy; a helper without such a policy leaves these connections on plain TCP. The second trial then is invalid for want
# of proof, and this script says so: it shows no figure for what was not accelerated.
#
# Needs root, sockperf, ip and nsenter. Fails if the first trial has no proof.
#   SECONDS_A_RUN=N (5; the talk took 30)     POLICY='peers = 10.77.0.0/24': a line for the helper's configuration
# Arguments are options for smaccel ab, such as --rounds 20.
set -u
here=$(cd "$(dirname "$0")" && pwd)
for program in sockperf ip nsenter; do
	command -v $program >/dev/null || { echo "sockperf-namespaces: $program is not installed" >&2; exit 1; }
done
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

policy=()
if [ -n "${POLICY:-}" ]; then
	echo "$POLICY" >"$work/smacceld.conf"
	policy=(--helper-option --config --helper-option "$work/smacceld.conf")
fi

trial() { # CLIENT-NAMESPACE ADDRESS
	# shellcheck disable=SC2046  # words, on purpose
	"$here/with-helper" "${policy[@]}" smaccel ab "${options[@]}" --primary 'latency p50' \
		--server "$(inside "$one") sockperf server --tcp -i $2 -p 11111" --ready 11111 -- \
		$(inside "$1") sockperf ping-pong --tcp -i "$2" -p 11111 -t "$seconds" -m 64
}

echo '==== one namespace, loopback ===='
trial "$one" 127.0.0.1 || exit
echo
echo '==== two namespaces, veth ===='
trial "$two" 10.77.0.1
status=$?
if [ $status = 3 ]; then # no proof of treatment
	echo
	echo 'Between the two namespaces nothing was accelerated (see the reason above): this helper has no policy for it.'
	[ -n "${POLICY:-}" ] || status=0
fi
exit $status

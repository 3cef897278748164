#!/bin/busybox sh
# SPDX-License-Identifier: BSD-2-Clause
# shellcheck disable=SC2154  # work, build and so on are guest.sh's
# A part of guest.sh: every case of tests/conformance/semantics notes the same as on plain TCP.

# FILE: what a run noted, a line "CASE FIELD" TAB VALUES for each field. Fields of different threads may come in any order.
semantics_notes() {
	awk '$2 != "armed" { key = $1 " " $2; value = substr($0, length(key) + 2); notes[key] = notes[key] " |" value }
		END { for (key in notes) print key "\t" notes[key] }' "$1"
}

# CASE FIELD: whether the list of known differences has it.
semantics_listed() {
	local case field
	while read -r case field _; do
		case $case in '#'* | '') continue ;; esac
		# shellcheck disable=SC2254  # patterns they are
		case $1 in $case) case $2 in $field) return 0 ;; esac ;; esac
	done <"$work/listed"
	return 1
}

# FILE ARM CASE...: runs these cases and notes them in FILE; ARM: plain, or as for accelerated.
semantics_run() {
	local file=$1 arm=$2 status begun
	shift 2
	begun=$(date +%s)
	set -- timeout -s KILL 300 "$build/tests/conformance/semantics" "$@" --deadline 30000
	if [ "$arm" = plain ]; then
		"$@" >"$file.out" 2>"$file.errors"
	else
		accelerated "$arm" "$@" >"$file.out" 2>"$file.errors"
	fi
	status=$?
	echo "semantics, $arm: $(($(date +%s) - begun)) s"
	semantics_notes "$file.out" >"$file"
	[ $status = 0 ] || tail -n $DETAIL_LINES "$file.errors"
	return $status
}

# PLAIN ACCELERATED [PLAIN]: what differs and is not listed, a line "CASE FIELD VALUES -> VALUES" each; "listed FIELD" for the others.
# With a second plain run a field in which those two differ is no measure (as in test_semantics.py).
semantics_differences() {
	local case field values
	awk -F '\t' -v files=$# 'FNR == 1 { file++ }
		file == 1 { plain[$1] = $2 } file == 2 { here[$1] = $2 } file == 3 { second[$1] = $2 }
		END { for (k in here) if (!(k in plain)) plain[k] = "-"
		      for (k in here) if (plain[k] != here[k] && (files == 2 || plain[k] == (k in second ? second[k] : "-")))
			print k, plain[k], "->", here[k]
		      for (k in plain) if (!(k in here) && (files == 2 || second[k] == plain[k])) print k, plain[k], "-> -" }' "$@" | sort |
		while read -r case field values; do
			if semantics_listed "$case" "$field"; then
				echo "listed $field"
			else
				echo "$case $field $values"
			fi
		done
}

# NAME ARM: the notes in $work/NAME against plain ones. This machine's processors stand still at times: what differs is looked at
# again, a case at a time, and must not differ in most of SEMANTICS_AGAIN times.
SEMANTICS_AGAIN=3
semantics_compare() {
	local listed cases time pid most=1
	semantics_differences "$work/plain" "$work/$1" >"$work/different"
	listed=$(grep -c '^listed' "$work/different")
	cases=$(grep -v '^listed' "$work/different" | awk '{ print $1 }' | sort -u)
	if [ -n "$cases" ] && [ "$(echo "$cases" | wc -l)" -le 32 ]; then # of hundreds; more: not by chance
		grep -v '^listed' "$work/different" | sed "s/^/$1, again: /"
		: >"$work/different"
		most=$((SEMANTICS_AGAIN / 2 + 1))
		for time in $(seq $SEMANTICS_AGAIN); do
			# shellcheck disable=SC2086  # names
			semantics_run "$work/plain-again" plain $cases &
			pid=$!
			# shellcheck disable=SC2086
			semantics_run "$work/again" "$2" $cases || not_ok "semantics/$1-again" "time $time"
			wait $pid || not_ok "semantics/$1-plain-again" "time $time"
			awk '{ print $1 }' "$work/again" | sort -u >"$work/names"
			awk 'NR == FNR { names[$1]; next } $1 in names' "$work/names" "$work/plain" >"$work/plain-then"
			semantics_differences "$work/plain-again" "$work/again" "$work/plain-then" >>"$work/different"
		done
	fi
	grep -v '^listed' "$work/different" | awk -v most="$most" '{ lines[$1 " " $2] = $0; times[$1 " " $2]++ }
		END { for (k in lines) if (times[k] >= most) print lines[k] }' | sort >"$work/unlisted"
	if [ -s "$work/unlisted" ]; then
		cat "$work/unlisted"
		not_ok "semantics/$1-as-plain" "$(awk '{ print $1 }' "$work/unlisted" | sort -u | wc -l) cases differ"
	else
		ok "semantics/$1-as-plain $(awk '{ print $1 }' "$work/plain" | sort -u | wc -l) cases, $listed fields listed"
	fi
}

# What differs is in the list of tests/conformance, or in one for this kernel alone (tests/vm/differences-6.1 and so on).
semantics_list() {
	series=$(uname -r | cut -d. -f1,2)
	cat /smaccel/differences >"$work/listed"
	[ ! -f "/smaccel/differences-$series" ] || cat "/smaccel/differences-$series" >>"$work/listed"
}

# The cases to run: all, or with vm_every=N every Nth one, 6.1 beginning with the first and other kernels with the second.
semantics_cases() {
	if [ "${every:-1}" = 1 ]; then
		echo --all
	else
		"$build/tests/conformance/semantics" --list | awk -v every="$every" -v first="$([ "$series" = 6.1 ] && echo 1 || echo 2)" \
			'NR % every == first % every { print $1 }'
	fi
}

# [ARM]; mixed: eager with a bound of a few bytes, so that redirected and passed bytes follow each other all the time.
part_semantics() {
	local arm admit before cases
	semantics_list
	cases=$(semantics_cases)
	# shellcheck disable=SC2086  # names
	semantics_run "$work/plain" plain $cases --jobs 8
	expect_success semantics/plain "$work/plain.errors" $? || return
	# The mixtures are repaired by hand where the kernel counts one queue alone, up to 6.11; on later ones the host shows them. One arm a
	# kernel: the whole of check is to stay below 20 minutes.
	[ -n "$1" ] || { set -- eager; [ "$series" != 6.1 ] || set -- mixed; }
	for arm in "$@"; do
		admit=$(echo $arm | sed 's/auto/1/; s/mixed/eager/')
		# shellcheck disable=SC2046  # two words or none
		helper_start $([ $arm != mixed ] || echo --test-bound 8) || { not_ok "semantics/$arm" "the helper does not start"; continue; }
		before=$(total redirected_bytes)
		# shellcheck disable=SC2086
		semantics_run "$work/$arm" "$admit" $cases --jobs 8
		expect_success "semantics/$arm" "$work/$arm.errors" $? || continue
		[ "$(total redirected_bytes)" -gt "$before" ] || not_ok "semantics/$arm" "no byte was redirected"
		semantics_compare $arm "$admit"
	done
}

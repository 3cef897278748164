#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# `smaccel` as scripts see it: exit statuses, the environment it hands on, the programs it refuses. TAP. No root, no helper.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
build=${SMACCEL_BUILD:-$here/build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
smaccel=$build/smaccel
cc=${CC:-gcc}
unset LD_PRELOAD SMACCEL SMACCEL_ADMIT SMACCEL_LOG SMACCEL_LIBRARY ASAN_OPTIONS
export SMACCEL_SOCKET=$work/no-helper
failures=0

# A library that does nothing stands in for the shim: this is about the command line.
echo | "$cc" -shared -fPIC -o "$work/libsmaccel.so" -x c - || exit 1
export SMACCEL_LIBRARY=$work/libsmaccel.so

result() { # GOOD NAME [DETAIL]
	if [ "$1" = 0 ]; then
		echo "ok $2"
	else
		echo "not ok $2 # ${3:-}"
		failures=$((failures + 1))
	fi
}

# Status and both outputs of a command, in $status, $out, $err.
try() {
	"$@" >"$work/out" 2>"$work/err" </dev/null
	status=$?
	out=$(cat "$work/out")
	err=$(cat "$work/err")
}

expect() { # NAME STATUS OUT-PATTERN ERR-PATTERN: shell patterns
	# shellcheck disable=SC2053
	[ "$status" = "$2" ] && [[ $out == $3 ]] && [[ $err == $4 ]]
	result $? "$1" "status $status, out: ${out:0:80}, err: ${err:0:120}"
}

program() { # NAME FLAGS...
	local name=$1
	shift
	echo 'int main(void) { return 0; }' | "$cc" -o "$work/$name" -x c - "$@" 2>"$work/cc.log"
}

try "$smaccel"; expect usage_without_command 2 '' 'Usage:*'
try "$smaccel" --help; expect help 0 'Usage:*run*ab*status*ss*explain*probe*semantics*off*on*' ''
try "$smaccel" --version; expect version 0 'smaccel [0-9]*' ''
try "$smaccel" -V; expect version_in_short 0 'smaccel [0-9]*' ''
try "$smaccel" nonsense; expect unknown_command 2 '' '*nonsense*'
for command in run ab status ss explain probe semantics off on; do
	try "$smaccel" $command --help; expect help_$command 0 "Usage: smaccel $command*" ''
	try "$smaccel" $command -h; expect help_in_short_$command 0 "Usage: smaccel $command*" ''
	try "$smaccel" $command --nonsense; expect bad_option_$command 2 '' "*--nonsense*; see \`smaccel $command --help\`"
done
for command in start status report stop; do
	try "$smaccel" trial $command -h; expect help_in_short_trial_$command 0 "Usage: smaccel trial $command*" ''
done
# What a usage names is taken, and what it does not is not: an option that is known asks the helper, that is not there.
try "$smaccel" trial -h; expect trial_usage 0 $'*trial status [[]--json]\n*trial report [[]--json] [[]--html=FILE]\n*trial stop\n*' ''
try "$smaccel" trial status --json; expect trial_status_json 1 '' '*no helper*'
try "$smaccel" trial report --json --html "$work/html"; expect trial_report_html 1 '' '*no helper*'
try "$smaccel" trial stop --json; expect trial_stop_json 2 '' '*--json*'
try "$smaccel" trial status --html "$work/html"; expect trial_status_html 2 '' '*--html*'
try "$smaccel" trial start --percent 50x; expect trial_percent 2 '' '*--percent=50x: not a number above 0 and below 100'
try "$smaccel" trial start --port=0; expect trial_port 2 '' '*--port=0: not a port, from 1 to 65535'
for command in status ss off on; do
	try "$smaccel" $command; expect no_helper_$command 1 '' "*no helper at $SMACCEL_SOCKET*start it*"
	try "$smaccel" $command --socket "$work/other"; expect socket_option_$command 1 '' "*no helper at $work/other*"
	try "$smaccel" $command extra; expect no_arguments_$command 2 '' '*extra*'
done

full() { # NAME COMMAND...: what it was asked for cannot be written
	local name=$1
	shift
	# shellcheck disable=SC2016
	try sh -c 'exec "$@" >/dev/full' sh "$@"; expect "${name}_to_a_full_disk" 1 '' '*: standard output: No space left on device'
	# shellcheck disable=SC2016
	try sh -c 'exec "$@" >&-' sh "$@"; expect "${name}_to_a_closed_output" 1 '' '*: standard output: Bad file descriptor'
}
full help "$smaccel" --help
full help_ab "$smaccel" ab --help
full version "$smaccel" --version
full semantics "$smaccel" semantics
full daemon_help "$build/smacceld" --help
full daemon_version "$build/smacceld" --version
try "$smaccel" ab --rounds x true; expect ab_rounds_no_number 2 '' '*--rounds x*'
try "$smaccel" ab --rounds 0 true; expect ab_rounds_none 2 '' '*--rounds: 1 to*'
try "$smaccel" ab --seconds 0 true; expect ab_seconds_none 2 '' '*--seconds*'
try "$smaccel" ab --pin 1023 true; expect ab_no_such_cpu 2 '' '*--pin: there is no CPU 1023*'
try "$smaccel" ab --env-only true; expect ab_env_only_without_any 2 '' '*--a-env*'
try "$smaccel" ab --env-only --a-env A=1 --warmup 1 --rounds 1000 --primary nonsense true
expect ab_unknown_primary 1 '*' '*no metric "nonsense", but "wall time"*'
try "$build/smacceld" --slots 0; expect daemon_slots_out_of_range 2 '' '*--slots*slots is a number from 1 to 4194304*'
try "$build/smacceld" --socket-mode 9; expect daemon_mode 2 '' '*octal*777*'
cd "$work" || exit 1
for option in --socket --pin-dir; do
	try "$build/smacceld" "$option="; expect "daemon_empty$option" 2 '' "smacceld: $option: *empty"
done
try "$build/smacceld" --socket "$work/daemon" --socket-group no-such-group; expect daemon_no_such_group 2 '' "*no group 'no-such-group'"
echo 'socket-group = no-such-group' >"$work/conf"
try "$build/smacceld" --socket "$work/daemon" --config "$work/conf"; expect daemon_no_such_group_in_the_file 2 '' "*no group 'no-such-group'"
[ -z "$(find "$work" -name '*.lock')" ]; result $? daemon_leaves_no_lock
cd - >/dev/null || exit 1
echo 'nonsense = 1' >"$work/conf"
try "$build/smacceld" --config "$work/conf"; expect daemon_unknown_setting 2 '' '*conf:1*smacceld(8)*'
try "$build/smacceld" --nonsense; expect daemon_bad_option 2 '' 'smacceld: --nonsense*; see smacceld --help'
try "$build/smacceld" -h; expect daemon_help_in_short 0 'Usage: smacceld*--slots=N*(32768)*' ''
JOURNAL_STREAM=$(stat -c %d:%i "$work/err") try "$build/smacceld" --nonsense; expect daemon_error_in_the_journal 2 '' '<3>smacceld: --nonsense*'
JOURNAL_STREAM=$(stat -c %d:%i "$work/out") try "$build/smacceld" --nonsense; expect daemon_error_beside_the_journal 2 '' 'smacceld: *'
# The sample's settings are all good: the option that comes after them is what is refused.
sed 's/^#\([a-z]\)/\1/' "$here/examples/smacceld.conf" >"$work/conf"
grep -q '^peers = ' "$work/conf"; result $? daemon_sample_has_settings
try "$build/smacceld" --config "$work/conf" --lonely-ms x; expect daemon_sample_settings 2 '' 'smacceld: --lonely-ms: *'

try "$smaccel" run; expect run_nothing 2 '' '*which program*'
try "$smaccel" run --profile nonsense true; expect run_bad_profile 2 '' '*nonsense*'
# shellcheck disable=SC2016
print_preload=(sh -c 'echo "$LD_PRELOAD"')
try "$smaccel" run "${print_preload[@]}"; expect run_preloads 0 "$SMACCEL_LIBRARY" ''
LD_PRELOAD=libc.so.6 try "$smaccel" run "${print_preload[@]}"; expect run_appends 0 "libc.so.6:$SMACCEL_LIBRARY" ''
try "$smaccel" run "$smaccel" run "${print_preload[@]}"; expect run_twice 0 "$SMACCEL_LIBRARY" ''
try "$smaccel" run -- echo -- --profile x; expect run_leaves_arguments 0 '-- --profile x' ''
try "$smaccel" run echo --json -n; expect run_leaves_options 0 '--json -n' ''
try "$smaccel" run sh -c 'exit 37'; expect run_exit_status 37 '' ''
try "$smaccel" run sh -c 'kill -TERM $$'; expect run_signal 143 '' '*'
try "$smaccel" run --profile eager sh -c 'echo $SMACCEL_ADMIT'; expect run_profile 0 eager ''
try "$smaccel" run --socket /x/y sh -c 'echo $SMACCEL_SOCKET'; expect run_socket 0 /x/y ''
SMACCEL_LOG=info try "$smaccel" run true; expect run_warns_with_a_log 0 '' '*no helper*'
SMACCEL_LOG=loud try "$smaccel" run true; expect run_names_a_bad_log_level 0 '' '*SMACCEL_LOG=loud*debug*'
SMACCEL_ADMIT=alwys try "$smaccel" run true; expect run_names_a_bad_admission 0 '' '*SMACCEL_ADMIT=alwys*eager*'
for setting in SMACCEL=of SMACCEL=eager SMACCEL_SECCOMP=bogus SMACCEL_GROUP=xyz SMACCEL_GROUP=12345678901234567 SMACCEL_SPIN_US=10001 \
	SMACCEL_ADMIT=2000000001 "SMACCEL_SOCKET=$(printf '/%0108d' 0)"; do
	try env "$setting" "$smaccel" run true; expect "run_names_${setting:0:30}" 0 '' "smaccel run: $setting: *"
done
try "$smaccel" run --socket "$(printf '/%0107d' 0)" true; expect run_names_a_long_socket_option 0 '' '*SMACCEL_SOCKET=/00*too long*'
for setting in SMACCEL=Off SMACCEL=1 SMACCEL= SMACCEL_SECCOMP=trust SMACCEL_GROUP=1234567890abCDef SMACCEL_SPIN_US=10000 SMACCEL_LOG= \
	"SMACCEL_SOCKET=$(printf '/%0106d' 0)"; do
	try env "$setting" "$smaccel" run true; expect "run_knows_${setting:0:30}" 0 '' ''
done
SMACCEL_ADMIT=8 SMACCEL_SPIN_US=20 SMACCEL_LOG=error:/dev/null try "$smaccel" run true; expect run_knows_good_settings 0 '' '*no helper*'
SMACCEL_LIBRARY=/nonexistent try "$smaccel" run true; expect run_without_library 1 '' '*/nonexistent*SMACCEL_LIBRARY*'
mkdir "$work/a b" && cp "$SMACCEL_LIBRARY" "$work/a b/"
SMACCEL_LIBRARY="$work/a b/libsmaccel.so" try "$smaccel" run true; expect run_library_with_blank 1 '' '*blank*'

try "$smaccel" run nonexistent-program; expect run_not_found 127 '' '*not found*'
try "$smaccel" run "$work/nonexistent"; expect run_path_not_found 127 '' '*not found*'
try "$smaccel" run "$work"; expect run_folder 126 '' '*not an executable*'
echo text >"$work/text"
try "$smaccel" run "$work/text"; expect run_not_executable 126 '' '*not an executable*'
PATH=$work:$PATH try "$smaccel" run text; expect run_not_executable_in_path 126 '' '*not an executable*'

program plain; program setuid; program setgid
chmod u+s "$work/setuid"; chmod g+s "$work/setgid"
try "$smaccel" run "$work/plain"; expect run_plain 0 '' ''
try "$smaccel" run "$work/setuid"; expect run_setuid 126 '' '*setuid*'
try "$smaccel" run "$work/setgid"; expect run_setgid 126 '' '*setgid*'
if program static -static; then
	try "$smaccel" run "$work/static"; expect run_static 126 '' '*statically linked*'
	printf '#!%s\n' "$work/static" >"$work/script"; chmod +x "$work/script"
	try "$smaccel" run "$work/script"; expect run_static_interpreter 126 '' "*$work/static*statically linked*"
fi
if [ "$(id -u)" = 0 ] && program caps && setcap cap_net_raw+ep "$work/caps" 2>/dev/null; then
	try "$smaccel" run "$work/caps"; expect run_file_capability 126 '' '*file capabilities*'
else
	echo 'ok run_file_capability # SKIP takes root and setcap'
fi
printf '#!/usr/bin/env -S sh -e\necho env script\n' >"$work/script"; chmod +x "$work/script"
try "$smaccel" run "$work/script"; expect run_env_script 0 'env script' ''
printf 'echo no hash bang\n' >"$work/bare"; chmod +x "$work/bare"
try "$smaccel" run "$work/bare"; expect run_bare_script 0 'no hash bang' ''
printf '#!%s\n' "$work/setuid" >"$work/script"
try "$smaccel" run "$work/script"; expect run_setuid_interpreter 126 '' '*setuid*'
printf '\177ELF\1\1\1' >"$work/elf32"; head -c 100 /dev/zero >>"$work/elf32"; chmod +x "$work/elf32"
try "$smaccel" run "$work/elf32"; expect run_other_class 126 '' '*another machine*'
head -c 64 "$work/plain" >"$work/cut"; chmod +x "$work/cut"
try "$smaccel" run "$work/cut"; expect run_cut_elf 126 '' '*cut*'
if program asan -fsanitize=address; then
	try "$smaccel" run "$work/asan"; expect run_asan 0 '' ''
	ASAN_OPTIONS=detect_leaks=0 try "$smaccel" run "$work/asan"; expect run_asan_options_kept 0 '' ''
fi
exit $((failures > 0))

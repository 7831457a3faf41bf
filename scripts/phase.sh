#!/usr/bin/env bash
# phase.sh NAME COMMAND...: runs a phase of a test run. One line with its time when all is well, with the reason of each
# skipped test; the command's output when not. POLLUX_TEST_VERBOSE=1 shows the output as it comes.
set -uo pipefail
name=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
start=$SECONDS
if [ -n "${POLLUX_TEST_VERBOSE:-}" ]; then
	"$@" 2>&1 | tee "$log"
else
	"$@" >"$log" 2>&1
fi
rc=$?
took=$((SECONDS - start))
if [ $rc != 0 ]; then
	# Of a test log only what failed; of anything else the whole.
	if [ -z "${POLLUX_TEST_VERBOSE:-}" ]; then
		grep -vE '^(=== (RUN|PAUSE|CONT|NAME)|--- PASS|PASS$|ok  |\?   )|^ +--- PASS' "$log" | tail -n 400
	fi
	printf '%-12s FAILED  %4d s\n' "$name" "$took"
	exit $rc
fi
printf '%-12s ok      %4d s\n' "$name" "$took"
# What a phase has to tell, and the reason that stands above each "--- SKIP".
awk '/^note: / {print "    " substr($0, 7)}
	match($0, /^ +[A-Za-z0-9_]+\.go:[0-9]+: note: /) {print "    " substr($0, RLENGTH + 1)}
	/^ +[A-Za-z0-9_]+\.go:[0-9]+: / {why = $0; sub(/^ +[^ ]+ /, "", why)}
	/--- SKIP: / {sub(/^ *--- SKIP: /, ""); sub(/ \(.*/, ""); print "    skipped " $0 ": " why}' "$log" | awk '!seen[$0]++'

#!/usr/bin/env bash
# phase.sh NAME COMMAND...: runs a phase of a test run. One line with its time when all is well, with its notes and the
# reasons of skipped tests; the command's output when not. POLLUX_TEST_VERBOSE=1 shows the output as it comes.
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
	[ -n "${POLLUX_TEST_VERBOSE:-}" ] || tail -n 500 "$log"
	printf '%-12s FAILED  %4d s\n' "$name" "$took"
	exit $rc
fi
printf '%-12s ok      %4d s\n' "$name" "$took"
sed -nE 's/^note: /    /p; /^skipped /s/^/    /p' "$log" | awk '!seen[$0]++'

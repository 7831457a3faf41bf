#!/usr/bin/env bash
# test.sh PHASE...: runs the phases in order, all of them, and ends with one line that says what failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
fuzztime=${FUZZTIME:-10s}

# Packages whose tests need nothing but Go: all that does not lie below test/.
units() { go list ./... | grep -v '^pollux/test/'; }
have_c() { [ "$(go env CGO_ENABLED)" = 1 ] && command -v "$(go env CC)" >/dev/null; }

# gotest ARGUMENT...: go test, of whose output only what a person wants is left.
gotest() {
	if [ -n "${POLLUX_TEST_VERBOSE:-}" ]; then
		go test -v -count=1 "$@"
	else
		go test -json -count=1 "$@" 2>&1 | go run ./test/summary
	fi
}
export -f gotest
on_units() { units | xargs -r bash -o pipefail -c 'gotest "$@"' gotest "$@"; }

# drive FOLDER... [FLAG...]: the tests below test/ that drive the built binary. A folder that is not there yet is left out.
drive() {
	local packages=()
	while [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; do
		[ ! -d "test/$1" ] || packages+=("./test/$1/...")
		shift
	done
	[ ${#packages[@]} -gt 0 ] || { echo "note: nothing there yet"; return 0; }
	gotest -timeout "${PHASE_TIMEOUT:-1200s}" "$@" "${packages[@]}"
}

deps() { scripts/deps.sh; }
check() { scripts/check.sh; }
unit() { on_units -timeout "${UNIT_TIMEOUT:-110s}"; }
# Sequence numbers begin next to 2^32 where tests look at sessions: here, and in the phase wrap with the built binary.
near_wrap=0xffffffe0
race() {
	export POLLUX_FIRST_SN=$near_wrap
	if have_c; then
		on_units -timeout 900s -race -tags invariants
	else
		echo "note: no C compiler: no race detector, the invariants alone"
		on_units -timeout 900s -tags invariants
	fi
}
benchonce() { on_units -timeout 300s -run '^$' -bench . -benchtime 1x; }
fuzz() { FUZZTIME=$fuzztime scripts/fuzz.sh; }
# What waits more than it computes runs many at a time.
live() { drive target quickstart fault bench gate md -parallel 8; }
# The gate once more, with every sequence number about to wrap, DataSN and R2TSN too; allocations count in the plain build alone.
wrap() { POLLUX_FIRST_SN=$near_wrap POLLUX_TEST_TAGS=invariants drive gate -tags invariants -parallel 8 -skip '^TestAllocation$'; }
# The cluster in simulation: POLLUX_SIM_SEEDS seeds, transcripts, coverage, every mutation.
sim() { gotest -timeout 7200s -tags invariants ./test/sim -seeds "${POLLUX_SIM_SEEDS:-3000}"; }
interop() { drive interop; }
conformance() { POLLUX_TEST_TAGS=invariants drive conformance; }
vm() { drive vm; }
# 100,000 connections that are cut, in 2,000 simulated worlds.
cuts() { POLLUX_ROUNDS=2000 gotest -timeout 1800s -tags invariants -run '^TestManyCuts$' ./iscsi; }

if [ "${1:-}" = --phase ]; then
	"$2"
	exit
fi
start=$SECONDS
failed=()
for p in "$@"; do
	scripts/phase.sh "$p" scripts/test.sh --phase "$p" || failed+=("$p")
done
took=$((SECONDS - start))
if [ ${#failed[@]} -gt 0 ]; then
	echo "FAILED: ${failed[*]} ($# phases, $took s)"
	exit 1
fi
echo "passed: $# phases in $took s${POLLUX_TEST_FULL:+ (full)}"

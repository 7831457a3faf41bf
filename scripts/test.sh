#!/usr/bin/env bash
# test.sh PHASE...: runs the phases in order, all of them, and ends with one line that says what failed.
set -uo pipefail
cd "$(dirname "$0")/.."
full=${POLLUX_TEST_FULL:-}
fuzztime=${FUZZTIME:-10s}

# Packages whose tests need nothing but Go: all but what lies under test/, and the layering test.
units() { go list ./... | grep -v '^pollux/test/'; }
# Packages under test/ that drive the built binary; a folder that is not there yet has nothing to say.
present() {
	local p
	for p in "$@"; do [ ! -d "test/$p" ] || echo "./test/$p/..."; done
}
gotest() { go test -v -count=1 "$@"; }

deps() { scripts/deps.sh; }
check() { scripts/check.sh; }
unit() { units | xargs -r go test -v -count=1 -timeout "${UNIT_TIMEOUT:-110s}"; }
race() {
	[ "$(go env CGO_ENABLED)" = 1 ] && command -v "$(go env CC)" >/dev/null || {
		echo "note: no C compiler: tests run without the race detector"
		units | xargs -r go test -v -count=1 -timeout 600s -tags invariants
		return
	}
	units | xargs -r go test -v -count=1 -timeout 900s -race -tags invariants
}
benchonce() { units | xargs -r go test -count=1 -timeout 300s -run '^$' -bench . -benchtime 1x; }
fuzz() { FUZZTIME=$fuzztime scripts/fuzz.sh; }
live() { built present target fault && each $(present target fault); }
sim() { built present sim && each $(present sim); }
interop() { built present interop && each $(present interop); }
conformance() { built present conformance && each $(present conformance); }
vm() { built present vm && each $(present vm); }

# built FUNC WORD...: true when FUNC lists something to test and there is a program to test it with.
built() {
	[ -n "$("$@")" ] || { echo "note: nothing there yet"; return 1; }
	[ -f main.go ] || echo "note: no main.go yet: the peers alone are tested"
}
each() { gotest -timeout "${PHASE_TIMEOUT:-1200s}" "$@"; }

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
echo "passed: $# phases in $took s${full:+ (full)}"

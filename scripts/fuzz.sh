#!/usr/bin/env bash
# Runs every fuzz target of the tree for FUZZTIME (10s), two at a time; FUZZ is a regular expression over PACKAGE.FuzzName.
# A crasher is kept by Go in the package's testdata/fuzz and becomes a seed.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME=${FUZZTIME:-10s}

targets() { # "PACKAGE FuzzName" lines
	git ls-files -co --exclude-standard -- '*_test.go' | xargs -r grep -HoE '^func Fuzz[A-Za-z0-9_]*' |
		sed -E 's|^([^:]*/)?[^/:]*:func |./\1 |' | sort -u
}
one() { # PACKAGE FuzzName
	local out
	# Where coverage is not quite the same each time, minimizing what looks new by time would take nearly all of it.
	if ! out=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 20x -parallel 1 "$1" 2>&1); then
		# The engine sometimes reports its own deadline as a failure; a crasher names a file or shows a trace.
		if ! grep -q 'context deadline exceeded' <<<"$out" || grep -qE 'Failing input|panic:' <<<"$out"; then
			printf '%s %s\n%s\n' "$1" "$2" "$out"
			return 1
		fi
	fi
	echo "note: $1 $2 $(grep -oE 'execs: [0-9]+' <<<"$out" | tail -1)"
}
export -f one
list=$(targets | grep -E -- "${FUZZ:-.}" || true)
[ -n "$list" ] || { echo "no fuzz target matches ${FUZZ:-.}; they are:"; targets; exit 1; }
echo "note: $(wc -l <<<"$list") fuzz targets, $FUZZTIME each"
xargs -P 2 -L 1 bash -c 'one "$@"' one <<<"$list"

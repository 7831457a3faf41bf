#!/usr/bin/env bash
# Static checks: silent when all is well. A tree that has passed once is not checked again (CHECK_FORCE=1 does).
#
# How to suppress a finding, always with the reason beside it:
#   staticcheck  //lint:ignore SA1234 reason
#   exhaustive   //exhaustive:ignore reason
#   errcheck     _ = f(), or a line in scripts/errcheck.exclude
#   deadcode     a line in scripts/deadcode.allow
set -euo pipefail
cd "$(dirname "$0")/.."
export GOFLAGS=-mod=readonly CGO_ENABLED=0

tool() { go tool -modfile=scripts/tools/go.mod "$@"; }
sources() { git ls-files -co --exclude-standard -- '*.go' '*.sh' '*.s' go.mod go.sum scripts .ci; }

# One line for the state of everything the checks read.
state() {
	go version
	sources | sort | while read -r f; do [ ! -f "$f" ] || sha256sum "$f"; done
}

formatted() {
	local files
	files=$(git ls-files -co --exclude-standard -- '*.go' | while read -r f; do [ ! -f "$f" ] || echo "$f"; done)
	[ -n "$files" ] || return 0
	local bad
	# shellcheck disable=SC2086  # the list is one word per file
	bad=$(tool gofumpt -l $files)
	[ -z "$bad" ] || { echo "gofumpt -w wants to change:"; echo "$bad"; return 1; }
}

vetted() { go vet -tags invariants ./...; }

modern() {
	local diff
	diff=$(go fix -diff ./... 2>&1) || true
	[ -z "$diff" ] || { echo "go fix would change (run: go fix ./...):"; echo "$diff"; return 1; }
}

# The matrix makes one verdict of the builds with and without invariants.
static() { printf 'plain:\ninvariants: -tags=invariants\n' | tool staticcheck -matrix ./...; }

# Only our own enumerations: a switch over reflect.Kind is not meant to name them all. Tests pick the cases they look at.
exhausted() {
	local found
	found=$(tool exhaustive -d -p -typeignore '^reflect[.]' ./... 2>&1 | grep -vE '_test\.go:|/test/') || true
	[ -z "$found" ] || { echo "$found"; return 1; }
}

# A test that drops an error asserts by other means.
errors() { tool errcheck -ignoretests -exclude scripts/errcheck.exclude ./...; }

# What no main and no test reaches (nothing is reached before there is a main), in the plain build and in the one with invariants and race files.
dead() {
	[ -f main.go ] || return 0
	local dir plain tagged rc=0
	dir=$(mktemp -d)
	plain=$dir/plain tagged=$dir/tagged
	tool deadcode -test -f "$dead_line" ./... | sort -u >"$plain"
	tool deadcode -test -tags invariants,race -f "$dead_line" ./... | sort -u >"$tagged"
	comm -12 "$plain" "$tagged" >"$dir/found"
	sed 's/[[:space:]]*#.*//; /^$/d' scripts/deadcode.allow | sort -u >"$dir/allowed"
	awk '{print $1}' "$dir/found" | sort -u >"$dir/names"
	if [ -n "$(comm -23 "$dir/names" "$dir/allowed")" ]; then
		echo "no main and no test reaches:"
		grep -F -f <(comm -23 "$dir/names" "$dir/allowed") "$dir/found"
		rc=1
	fi
	if [ -n "$(comm -13 "$dir/names" "$dir/allowed")" ]; then
		echo "scripts/deadcode.allow lists what is not dead:"
		comm -13 "$dir/names" "$dir/allowed"
		rc=1
	fi
	rm -rf "$dir"
	return $rc
}
# shellcheck disable=SC2016  # a Go template
dead_line='{{$p := .Path}}{{range .Funcs}}{{if not .Generated}}{{printf "%s.%s %s\n" $p .Name .Position}}{{end}}{{end}}'

suppressions() {
	local bad
	bad=$(git ls-files -co --exclude-standard -- '*.go' | xargs -r grep -nE '//(nolint|lint:file-ignore)|//exhaustive:ignore *$' 2>/dev/null || true)
	[ -z "$bad" ] || { echo "a suppression names its check and its reason:"; echo "$bad"; return 1; }
}

shells() {
	local f
	while read -r f; do [ ! -f "$f" ] || bash -n "$f" || return 1; done < <(git ls-files -co --exclude-standard -- '*.sh' .ci/run)
	! command -v shellcheck >/dev/null || git ls-files -co --exclude-standard -- '*.sh' .ci/run | xargs -r shellcheck -S warning
}

[ -n "$(go list ./... 2>/dev/null)" ] || exit 0
stamps=${POLLUX_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pollux-test}/checked
stamp=$stamps/$(state | sha256sum | cut -c1-40)
[ ! -e "$stamp" ] || [ -n "${CHECK_FORCE:-}" ] || exit 0

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# What does not compile would fail in every check below: say it once.
if ! go vet ./... >"$out/vet" 2>&1; then
	echo "go vet failed:"
	sed 's/^/    /' "$out/vet"
	exit 1
fi
checks=(formatted vetted modern static exhausted errors dead suppressions shells)
pids=()
for c in "${checks[@]}"; do
	"$c" >"$out/$c" 2>&1 &
	pids+=($!)
done
rc=0
for i in "${!checks[@]}"; do
	if ! wait "${pids[i]}"; then
		rc=1
		echo "check ${checks[i]} failed:"
		sed 's/^/    /' "$out/${checks[i]}"
	fi
done
[ $rc = 0 ] || exit $rc
mkdir -p "$stamps"
find "$stamps" -type f -mtime +14 -delete
: >"$stamp"

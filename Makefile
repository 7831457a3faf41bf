# What a user and a developer can ask for. `make help` lists it.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

# make run: a memory LUN of SIZE, or FILE served through aio (created with SIZE if absent).
SIZE ?= 1G
FILE ?=
# More options for it, such as RUNFLAGS='--listen 192.0.2.1:3260'.
RUNFLAGS ?=
# The call that `make run` makes.
SERVE_DEMO = bin/pollux serve $(if $(FILE),--file $(FILE) --size $(SIZE),--malloc $(SIZE)) $(RUNFLAGS)

# make fuzz: how long each target runs, and which (a regular expression over PACKAGE.FuzzName).
FUZZTIME ?= 10s
FUZZ ?= .
# make bench: flags of the program test/bench.
BENCHFLAGS ?=
# make sim: how many seeds the simulated cluster runs.
SEEDS ?= 3000

.PHONY: help build helper run check unit race test test-full test-ceph test-gluster fuzz bench sim deps clean FORCE

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make build       bin/pollux, one static binary, and with gcc the helper of bdev/tcmur
build: bin/pollux helper
bin/pollux: FORCE
	@CGO_ENABLED=0 go build -trimpath -o $@ .

# The one program in C. Without gcc the target lacks the bdev_tcmur_* devices, and says so when one is to be made.
HELPER = bin/pollux-tcmur-helper
HELPER_SOURCES = $(wildcard bdev/tcmur/helper/*.[ch])
helper:
	@if command -v gcc >/dev/null; then $(MAKE) -s $(HELPER); else echo "note: no gcc: without $(HELPER) (bdev_tcmur_create)"; fi
$(HELPER): $(HELPER_SOURCES)
	@mkdir -p bin
	@gcc -std=gnu11 -O2 -g -Wall -Wextra -rdynamic -pthread -o $@.$$$$ $(filter %.c,$^) -ldl && mv $@.$$$$ $@

## make run         serves a 1 GiB LUN on 127.0.0.1:3260; FILE=disk.img SIZE=10G serves a file
run: build
	@exec $(SERVE_DEMO)

## make unit        static checks and unit tests, the quick part (under 2 minutes)
unit:
	@scripts/test.sh check unit

## make check       static checks alone
check:
	@scripts/check.sh

## make race        unit tests with the race detector and the invariants
race:
	@scripts/test.sh race

## make test        everything (under 20 minutes on 2 cores); as root it installs what the tests need
test:
	@scripts/test.sh deps check unit race cuts sim benchonce fuzz live wrap interop conformance vm

## make test-full   the same with the long runs: more seeds, more cuts, longer fuzzing
test-full:
	@POLLUX_TEST_FULL=1 FUZZTIME=300s scripts/test.sh deps check unit race cuts sim benchonce fuzz live wrap interop conformance vm

## make test-ceph   bdev/tcmur's rbd handler in front of a Ceph cluster on loopback (as root it installs Ceph)
test-ceph:
	@POLLUX_TEST_CEPH=1 scripts/deps.sh
	@POLLUX_TEST_CEPH=1 go test -v -count=1 -timeout 600s -run '^TestCeph' ./bdev/tcmur

## make test-gluster  its glfs handler in front of a Gluster volume on loopback (root; installs Gluster's programs)
test-gluster:
	@POLLUX_TEST_GLUSTER=1 scripts/deps.sh
	@POLLUX_TEST_GLUSTER=1 go test -v -count=1 -timeout 600s -run '^TestGluster' ./bdev/tcmur

## make fuzz        each fuzz target for FUZZTIME=10s; FUZZ=regexp chooses
fuzz:
	@FUZZTIME=$(FUZZTIME) FUZZ='$(FUZZ)' scripts/test.sh fuzz

## make sim         the simulated cluster, SEEDS=3000
sim:
	@POLLUX_SIM_SEEDS=$(SEEDS) scripts/test.sh sim

## make bench       Pollux, tgt and gotgt in turn: speed and server CPU per I/O; the helper of bdev/tcmur
bench: build
	@go run ./test/bench $(BENCHFLAGS)
	@go run ./test/bench -tcmur $(BENCHFLAGS)

## make deps        installs the Debian packages that tests need (root)
deps:
	@scripts/deps.sh

## make clean       removes what was built here
clean:
	@rm -rf bin test/out

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pollux/bdev"
	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/reactor"
	"pollux/rpc"
	"pollux/scsi"
)

// hung is a block device that answers nothing. It cannot be let go: what has it is left, as after the death of a disk.
type hung struct{ taken chan struct{} }

func (h *hung) Supports(op bdev.Op) bool { return op == bdev.OpRead || op == bdev.OpWrite }
func (h *hung) Destroy() error           { return nil }
func (h *hung) Close()                   {}
func (h *hung) Submit(*bdev.Request)     { h.taken <- struct{}{} }

func (h *hung) OpenQueue(*reactor.Reactor) (bdev.Queue, error) { return h, nil }

// TestStopOverAHungDevice: the target ends although a device never answers, and the error names the device and what it keeps.
func TestStopOverAHungDevice(t *testing.T) {
	t.Parallel()
	flags, _, err := parseServeFlags([]string{"--malloc", "1M", "--listen", "127.0.0.1:0", "-r", filepath.Join(t.TempDir(), "rpc.sock")}, io.Discard)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	flags.cores = []int{-1}
	logging := rpc.NewLogging(logFlags...)
	tgt, err := newTarget(flags, logging, newLogger(io.Discard, nil, logging))
	must(err)
	must(start(t.Context(), tgt, flags, stdio{out: new(bytes.Buffer), err: io.Discard}))
	h := &hung{taken: make(chan struct{}, 1)}
	_, err = tgt.registry.Register(bdev.Spec{Name: "Hung0", ProductName: "Hung disk", BlockSize: 512, Blocks: 1024, Backend: h})
	must(err)
	must(tgt.iscsi.AddLUN("disk0", iscsi.LUNSpec{BdevName: "Hung0", LUN: 7}))

	g, err := reactor.Start(reactor.Config{Cores: []int{-1}})
	must(err)
	t.Cleanup(g.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	portal := tgt.iscsi.Portals(1)[0].String()
	c, err := initiator.Dial(ctx, g.Reactors()[0], portal, initiator.Config{
		Offers: initiator.Offers("iqn.2026-01.test:stop", "iqn.2016-06.io.spdk:disk0"),
	})
	must(err)
	t.Cleanup(c.Close)
	read := func() (*initiator.Answer, error) {
		return c.Do(ctx, 7<<48, []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, nil, 512)
	}
	lost := make(chan error, 1)
	go func() {
		for {
			if _, err := read(); err != nil { // after the unit attentions the one that is kept
				lost <- err
				return
			}
		}
	}()
	<-h.taken
	err = tgt.stop()
	if !errors.Is(err, scsi.ErrUnanswered) || !strings.Contains(err.Error(), "bdev Hung0 keeps 1 requests") {
		t.Errorf("stopped: %v", err)
	}
	if err := <-lost; !errors.Is(err, initiator.ErrLost) {
		t.Errorf("the read that is kept: %v", err)
	}
}

// TestStepsOfTheEndAreBounded: a step that does not end is given up, and what it is about is named; one that goes on may take long.
func TestStepsOfTheEndAreBounded(t *testing.T) {
	t.Parallel()
	if err := within(time.Minute, "quick", func() error { return io.EOF }, nil); err != io.EOF {
		t.Errorf("a step that ends: %v", err)
	}
	never := make(chan struct{})
	defer close(never)
	hang := func() error { <-never; return nil }
	if err := within(time.Millisecond, "RPC calls", hang, nil); !isLeft(err) || !strings.Contains(err.Error(), "RPC calls: not ended after 1ms") {
		t.Errorf("a step that does not end: %v", err)
	}
	asked := 0
	err := within(time.Millisecond, "block devices", hang, func() []string {
		asked++
		return []string{[]string{"Disk2", "Disk1", "Disk0"}[min(asked-1, 2)]}
	})
	if !isLeft(err) || !strings.Contains(err.Error(), "[Disk0]") || asked != 4 {
		t.Errorf("a step that goes on for a while, asked %d times: %v", asked, err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"pollux/bdev"
	"pollux/bdev/aio"
	"pollux/bdev/delay"
	bdeverror "pollux/bdev/error"
	"pollux/bdev/malloc"
	"pollux/bdev/null"
	"pollux/bdev/passthru"
	"pollux/bdev/tcmur"
	"pollux/iscsi"
	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/rpc"
	"pollux/scsi"
)

// target is the composition root: everything that a running target consists of, and the only place that knows all of it.
// Control plane. Two targets can live in one process.
type target struct {
	log      *slog.Logger
	budget   *iobuf.Budget
	group    *reactor.Group
	registry *bdev.Registry
	devices  *scsi.Devices
	iscsi    *iscsi.Server
	rpc      *rpc.Server
}

// registrar is a part of the target that has methods of its own.
type registrar interface{ RegisterRPC(s *rpc.Server) }

// modules is the list of bdev modules. A new one is a line here.
func (t *target) modules() []interface{ Register(s *rpc.Server) } {
	return []interface{ Register(s *rpc.Server) }{
		aio.New(t.registry),
		delay.New(t.registry),
		bdeverror.New(t.registry),
		malloc.New(t.registry),
		null.New(t.registry),
		passthru.New(t.registry),
		tcmur.New(t.registry, tcmur.Config{}),
	}
}

// newTarget starts the reactors and puts the layers on one another. Nothing is served until the RPC server leaves its startup state.
func newTarget(flags serveFlags, logging *rpc.Logging, log *slog.Logger) (*target, error) {
	t := &target{log: log, budget: iobuf.NewBudget(int64(flags.maxDataMemory))}
	part := func(name string) *slog.Logger { return log.With("flag", name) }
	var err error
	t.group, err = reactor.Start(reactor.Config{
		Cores: flags.cores, Mode: flags.mode, Spin: flags.spin, Without: flags.without, Budget: t.budget, Log: part("reactor"),
	})
	if err != nil {
		return nil, fmt.Errorf("reactors: %w", err)
	}
	t.registry = bdev.NewRegistry(t.group, part("bdev"))
	t.devices = scsi.NewDevices(t.group, t.registry, part("scsi"))
	t.iscsi = iscsi.NewServer(t.group, t.devices, iscsi.Config{Log: part("iscsi"), Coalesce: flags.coalesce})
	t.rpc = rpc.New(rpc.Options{
		Log: part("rpc"), Logging: logging, Product: "Pollux", Version: version, Allowed: flags.rpcsAllowed,
		Init: func(context.Context) error { return t.iscsi.Start() },
	})
	for _, p := range []registrar{t.registry, t.devices, t.iscsi} {
		p.RegisterRPC(t.rpc)
	}
	for _, m := range t.modules() {
		m.Register(t.rpc)
	}
	reactor.RegisterRPC(t.rpc, t.group)
	t.registerProcess()
	return t, nil
}

// stepTimeout bounds the steps of the end that have no bound of their own: the calls in progress, and the removal of each block device.
const stepTimeout = 30 * time.Second

// errNotEnded says that a step of the end was given up.
var errNotEnded = errors.New("not ended")

// stop ends the target from the top down: no new calls, sessions out, devices drained and flushed, reactors. What waits for
// somebody else is told first, so that neither a call nor a session has to wait with it. What does not end, because a device does not
// answer, is named in the error and left alone, with everything below it: the process ends without.
func (t *target) stop() error {
	t.registry.Ending()
	err := errors.Join(within(stepTimeout, "RPC calls", t.rpc.Close, nil), t.iscsi.Close())
	if isLeft(err) {
		return err
	}
	err = errors.Join(err, within(stepTimeout, "block devices", t.registry.Close, t.registry.Removing))
	if isLeft(err) {
		return err
	}
	return errors.Join(err, t.stopReactors())
}

// isLeft reports whether something was left that has not ended.
func isLeft(err error) bool { return errors.Is(err, errNotEnded) || errors.Is(err, scsi.ErrUnanswered) }

// within waits for fn to end, but not for longer than atMost with the same doing: what it is about at the moment, by name.
func within(atMost time.Duration, what string, fn func() error, doing func() []string) error {
	ended := make(chan error, 1)
	go func() { ended <- fn() }()
	var before []string
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(atMost):
		}
		var now []string
		if doing != nil {
			now = doing()
		}
		if slices.Equal(now, before) {
			return fmt.Errorf("%s: %w after %v %v", what, errNotEnded, atMost, now)
		}
		before = now
	}
}

func (t *target) stopReactors() error {
	t.group.Stop()
	return nil
}

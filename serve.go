package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"pollux/rpc"
)

// serveCommand is `pollux serve`.
func serveCommand(args []string, std stdio) int {
	flags, done, err := parseServeFlags(args, std.out)
	switch {
	case err != nil:
		fmt.Fprintf(std.err, "pollux serve: %v\npollux serve --help lists the options\n", err)
		return exitMisuse
	case done:
		return exitDone
	}
	logging := rpc.NewLogging(logFlags...)
	for _, name := range flags.logFlags {
		if !logging.SetFlag(name, true) {
			fmt.Fprintf(std.err, "pollux serve: --logflag %q: known are %v and all\n", name, logFlags)
			return exitMisuse
		}
	}
	// A pipe whose reader has gone must not end the target either: who is notified of SIGPIPE survives it.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	out, words := newSink(std.out), newSink(std.err)
	defer out.Close()
	defer words.Close()
	log := newLogger(words, newSystemLog(systemLogSocket), logging)
	slog.SetDefault(log)
	limit := findMemoryLimit("/proc/self/cgroup", "/sys/fs/cgroup")
	flags.maxDataMemory, err = limit.dataMemory(flags.maxDataMemory, flags.memoryAsked, len(flags.cores))
	if err == nil {
		err = serve(flags, logging, log, stdio{std.in, out, words})
	}
	if err != nil {
		fmt.Fprintf(words, "pollux serve: %v\n", err)
		return exitFailed
	}
	return exitDone
}

// serve runs a target from start to end. A second signal ends the process at once.
func serve(flags serveFlags, logging *rpc.Logging, log *slog.Logger, std stdio) error {
	stopped, forget := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer forget()

	t, err := newTarget(flags, logging, log)
	if err != nil {
		return err
	}
	context.AfterFunc(stopped, forget)
	if err := start(stopped, t, flags, std); err != nil {
		return errors.Join(err, t.stop())
	}
	<-stopped.Done()
	log.Info("stopping: sessions are asked to log out, I/O is drained and flushed")
	return t.stop()
}

// start brings the target to where it serves: the RPC socket first, so that clients may configure while it waits. When ctx ends nothing that
// is being made waits for its device any longer, so that start returns soon, without an error.
func start(ctx context.Context, t *target, flags serveFlags, std stdio) error {
	context.AfterFunc(ctx, t.registry.Ending)
	if err := t.rpc.Listen(flags.socket); err != nil {
		return err
	}
	err := begin(ctx, t, flags, std)
	if ctx.Err() != nil {
		return nil // stopped before it had begun
	}
	return err
}

// begin makes what the configuration and the flags say.
func begin(ctx context.Context, t *target, flags serveFlags, std stdio) error {
	if err := configure(ctx, t, flags); err != nil {
		return err
	}
	if !flags.quick.wanted() {
		return nil
	}
	served, err := t.serveQuick(ctx, flags.quick)
	if err != nil {
		return err
	}
	served.print(std.out, flags.socket)
	return nil
}

// configure makes the calls of the configuration file and enters the runtime state.
func configure(ctx context.Context, t *target, flags serveFlags) error {
	if flags.config != "" {
		return t.rpc.LoadConfig(ctx, flags.config, rpc.LoadOptions{
			IgnoreErrors: flags.ignoreInitErrs, WaitForInit: flags.waitForRPC,
		})
	}
	if flags.waitForRPC {
		return t.rpc.WaitInit(ctx)
	}
	return t.rpc.StartInit(ctx)
}

package main

import (
	"context"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"pollux/rpc"
)

// killSignals are the names that spdk_kill_instance takes.
var killSignals = map[string]unix.Signal{
	"SIGINT": unix.SIGINT, "SIGTERM": unix.SIGTERM, "SIGQUIT": unix.SIGQUIT, "SIGHUP": unix.SIGHUP, "SIGKILL": unix.SIGKILL,
	"SIGUSR1": unix.SIGUSR1,
}

type killParams struct {
	Signal string `json:"sig_name" enum:"SIGINT,SIGTERM,SIGQUIT,SIGHUP,SIGKILL,SIGUSR1"`
}

// memoryStats is what process_get_memory answers. Mallocs is cumulative: the difference of two calls is how many objects were
// allocated on the Go heap in between.
type memoryStats struct {
	Mallocs    uint64 `json:"mallocs"`
	HeapBytes  uint64 `json:"heap_bytes"`
	GCs        uint32 `json:"gcs"`
	Goroutines int    `json:"goroutines"`
	DataBytes  int64  `json:"data_bytes"` // of I/O buffers, bounded by --max-data-memory
}

// registerProcess adds the methods about the process as a whole.
func (t *target) registerProcess() {
	rpc.Handle(t.rpc, rpc.Runtime, "spdk_kill_instance", func(_ context.Context, p killParams) (rpc.None, error) {
		return rpc.None{}, unix.Kill(os.Getpid(), killSignals[p.Signal])
	}, "kill_instance").Help("Send a signal to the target.")
	rpc.Handle(t.rpc, rpc.Startup|rpc.Runtime, "process_get_memory", func(context.Context, rpc.None) (memoryStats, error) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return memoryStats{
			Mallocs: m.Mallocs, HeapBytes: m.HeapAlloc, GCs: m.NumGC, Goroutines: runtime.NumGoroutine(), DataBytes: t.budget.Used(),
		}, nil
	}).Help("Tell what the process has allocated.")
}

package reactor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"pollux/rpc"
)

// tickRate is the unit of everything that SPDK counts in ticks: ours are nanoseconds.
const tickRate = 1_000_000_000

// RegisterRPC adds the methods that look into reactors. A reactor is one of SPDK's reactors and its only thread too.
func RegisterRPC(s *rpc.Server, g *Group) {
	rpc.Handle(s, rpc.Runtime, "framework_get_reactors",
		func(context.Context, rpc.None) (reactorsResult, error) { return g.describeReactors() })
	rpc.Handle(s, rpc.Runtime, "thread_get_stats",
		func(context.Context, rpc.None) (threadsResult[threadStats], error) {
			return describeThreads(g, (*Reactor).threadStats)
		})
	rpc.Handle(s, rpc.Runtime, "thread_get_pollers",
		func(context.Context, rpc.None) (threadsResult[threadPollers], error) {
			return describeThreads(g, (*Reactor).threadPollers)
		})
	rpc.Handle(s, rpc.Runtime, "reactor_get_usage",
		func(context.Context, rpc.None) (threadsResult[threadUsage], error) {
			return describeThreads(g, (*Reactor).threadUsage)
		}).Help("Tell what is in use on each reactor: places in its ring, I/O buffers, timers.")
}

type reactorsResult struct {
	TickRate int64         `json:"tick_rate"`
	PID      int           `json:"pid"`
	Reactors []reactorInfo `json:"reactors"`
}

type reactorInfo struct {
	LCore       int             `json:"lcore"`
	NUMA        int             `json:"numa_id"`
	TID         int             `json:"tid"`
	Busy        int64           `json:"busy"`
	Idle        int64           `json:"idle"`
	InInterrupt bool            `json:"in_interrupt"`
	IRQ         uint64          `json:"irq"`
	Sys         uint64          `json:"sys"`
	Usr         uint64          `json:"usr"`
	Threads     []reactorThread `json:"lw_threads"`
}

type reactorThread struct {
	Name    string `json:"name"`
	ID      int    `json:"id"`
	CPUMask string `json:"cpumask"`
	Elapsed int64  `json:"elapsed"`
}

type threadsResult[T any] struct {
	TickRate int64 `json:"tick_rate"`
	Threads  []T   `json:"threads"`
}

type threadStats struct {
	Name    string `json:"name"`
	ID      int    `json:"id"`
	CPUMask string `json:"cpumask"`
	Busy    int64  `json:"busy"`
	Idle    int64  `json:"idle"`
	Active  int    `json:"active_pollers_count"`
	Timed   int    `json:"timed_pollers_count"`
	Paused  int    `json:"paused_pollers_count"`
}

type threadPollers struct {
	Name   string       `json:"name"`
	ID     int          `json:"id"`
	Active []pollerInfo `json:"active_pollers"`
	Timed  []pollerInfo `json:"timed_pollers"`
	Paused []pollerInfo `json:"paused_pollers"`
}

type pollerInfo struct {
	Name  string `json:"name"`
	ID    int    `json:"id"`
	State string `json:"state"`
	Runs  uint64 `json:"run_count"`
	Busy  uint64 `json:"busy_count"`
}

// name is how the reactor's thread is called, in the system and in results.
func (r *Reactor) name() string { return threadName + strconv.Itoa(r.id) }

// threadID counts from 1, as SPDK's do.
func (r *Reactor) threadID() int { return r.id + 1 }

func (g *Group) describeReactors() (reactorsResult, error) {
	result := reactorsResult{TickRate: tickRate, PID: os.Getpid(), Reactors: []reactorInfo{}}
	for _, r := range g.reactors {
		var s Stats
		if err := r.Call(func() { s = r.Stats() }); err != nil {
			return result, fmt.Errorf("%s: %w", r.name(), err)
		}
		info := reactorInfo{
			LCore: r.core, NUMA: numaNode(r.core), TID: r.tid, Busy: s.BusyNanos, Idle: s.IdleNanos,
			InInterrupt: r.mode == ModeInterrupt,
			Threads: []reactorThread{{
				Name: r.name(), ID: r.threadID(), CPUMask: r.cpuMask(), Elapsed: s.BusyNanos + s.IdleNanos,
			}},
		}
		if r.core < 0 {
			info.LCore = r.id // It runs anywhere; clients expect a number to tell reactors apart.
		}
		info.IRQ, info.Sys, info.Usr = coreTicks(r.core)
		result.Reactors = append(result.Reactors, info)
	}
	return result, nil
}

// describeThreads collects what one makes of each reactor, there.
func describeThreads[T any](g *Group, one func(*Reactor) T) (threadsResult[T], error) {
	result := threadsResult[T]{TickRate: tickRate, Threads: []T{}}
	err := g.Each(func(r *Reactor) { result.Threads = append(result.Threads, one(r)) })
	return result, err
}

func (r *Reactor) threadStats() threadStats {
	s := r.Stats()
	return threadStats{
		Name: r.name(), ID: r.threadID(), CPUMask: r.cpuMask(), Busy: s.BusyNanos, Idle: s.IdleNanos,
		Active: len(r.livePollers()), Timed: len(r.timers),
	}
}

func (r *Reactor) threadPollers() threadPollers {
	t := threadPollers{
		Name: r.name(), ID: r.threadID(), Active: []pollerInfo{}, Timed: []pollerInfo{}, Paused: []pollerInfo{},
	}
	for i, p := range r.livePollers() {
		t.Active = append(t.Active, pollerInfo{Name: p.Name, ID: i + 1, State: "running", Runs: p.runs, Busy: p.busy})
	}
	return t
}

// threadUsage is what somebody has taken on a reactor and has to give back.
type threadUsage struct {
	Name     string `json:"name"`
	ID       int    `json:"id"`
	Slots    int    `json:"ring_slots"` // owners of operations on the ring
	InFlight int    `json:"in_flight"`  // operations whose last completion has not come
	Backlog  int    `json:"backlog"`    // operations that the ring has no room for
	Buffers  int    `json:"buffers"`
	Timers   int    `json:"timers"`
	Pollers  int    `json:"pollers"`
}

func (r *Reactor) threadUsage() threadUsage {
	s := r.Stats()
	return threadUsage{
		Name: r.name(), ID: r.threadID(), Slots: s.OpenOps, InFlight: s.InFlight, Backlog: s.Backlog, Buffers: s.BufsOut,
		Timers: len(r.timers), Pollers: len(r.livePollers()),
	}
}

// livePollers are those that the next pass will run.
func (r *Reactor) livePollers() []*Poller {
	var live []*Poller
	for _, p := range r.pollers {
		if p != nil {
			live = append(live, p)
		}
	}
	return append(live, r.pollersNew...)
}

// cpuMask is the core as a hexadecimal mask without 0x; of a reactor without one, the first core, as SPDK knows no "any".
func (r *Reactor) cpuMask() string {
	core := max(r.core, 0)
	return strconv.FormatUint(1<<(core%4), 16) + strings.Repeat("0", core/4)
}

// numaNode is the node of a core, -1 if unknown.
func numaNode(core int) int {
	nodes, err := filepath.Glob(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/node*", core))
	if err != nil || len(nodes) == 0 {
		return -1
	}
	node, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(nodes[0]), "node"))
	if err != nil {
		return -1
	}
	return node
}

// coreTicks are the core's times in interrupts, kernel and programs, in the kernel's ticks; 0 for no core.
func coreTicks(core int) (irq, sys, usr uint64) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil || core < 0 {
		return 0, 0, 0
	}
	for line := range strings.Lines(string(stat)) {
		fields := strings.Fields(line)
		if len(fields) > 7 && fields[0] == "cpu"+strconv.Itoa(core) {
			// user nice system idle iowait irq softirq
			return number(fields[6]), number(fields[3]), number(fields[1])
		}
	}
	return 0, 0, 0
}

func number(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64) // The kernel prints numbers.
	return n
}

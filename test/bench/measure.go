package main

import (
	"context"
	"fmt"
	"time"

	"pollux/test/target"
)

const (
	blockSize = 512
	lunSize   = 256 << 20
	// settle is how long a load runs before, and how long at least after, the processor time is read.
	settle = 400 * time.Millisecond
)

// sample is what one turn of a server under a load came to.
type sample struct {
	iops   float64
	lat    map[string]float64 // µs
	cpu    float64            // µs of kernel-accounted processor time per I/O
	busy   float64            // µs of busy ticks per I/O; 0 where the server has none
	atCore float64            // processor time per time: 1 is a full core
}

// usage is a server's processor time so far.
type usage struct {
	at   time.Time
	cpu  time.Duration
	busy time.Duration
}

func readUsage(s *target.Server) (usage, error) {
	cpu, err := s.CPUTime()
	if err != nil {
		return usage{}, err
	}
	u := usage{at: time.Now(), cpu: cpu}
	if s.Kind() != target.Pollux {
		return u, nil
	}
	var reactors struct {
		TickRate float64 `json:"tick_rate"`
		Reactors []struct {
			Busy float64 `json:"busy"`
		} `json:"reactors"`
	}
	if err := s.RPC("framework_get_reactors", nil, &reactors); err != nil {
		return usage{}, err
	}
	for _, r := range reactors.Reactors {
		u.busy += time.Duration(r.Busy / reactors.TickRate * float64(time.Second))
	}
	return u, nil
}

// measure puts load l on the server for d and reads its processor time while the load is steady.
func (b bench) measure(ctx context.Context, s *target.Server, l load, d time.Duration) (sample, error) {
	run, err := b.generator.start(ctx, b.clientCores, s, l, d+2*settle)
	if err != nil {
		return sample{}, err
	}
	time.Sleep(settle)
	before, err := readUsage(s)
	if err != nil {
		return sample{}, err
	}
	time.Sleep(d - settle/2)
	after, err := readUsage(s)
	if err != nil {
		return sample{}, err
	}
	<-run.done
	if run.err != nil {
		return sample{}, run.err
	}
	if run.out.IOPS <= 0 {
		return sample{}, fmt.Errorf("no I/O was done")
	}
	share := func(t time.Duration) float64 { return float64(t) / float64(after.at.Sub(before.at)) }
	perIO := func(t time.Duration) float64 { return share(t) / run.out.IOPS * 1e6 }
	return sample{
		iops: run.out.IOPS, lat: run.out.Latency,
		cpu: perIO(after.cpu - before.cpu), busy: perIO(after.busy - before.busy), atCore: share(after.cpu - before.cpu),
	}, nil
}

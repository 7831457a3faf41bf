package bench

import (
	"encoding/json"
	"fmt"
	"io"
)

// Latency is in microseconds.
type Latency struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99.9"`
	Max  float64 `json:"max"`
}

// Report is what --json prints.
type Report struct {
	IOPS    float64 `json:"iops"`
	MiBs    float64 `json:"mib_s"`
	Latency Latency `json:"lat_us"`
	Errors  uint64  `json:"errors"`
	// CPUPerIO is the CPU time of this process per command, from the kernel's accounting; BusyPerIO is the time of the reactor's
	// passes that found work, as it counts them itself.
	CPUPerIO   float64 `json:"cpu_us_per_io"`
	BusyPerIO  float64 `json:"busy_us_per_io"`
	Seconds    float64 `json:"seconds"`
	Commands   uint64  `json:"commands"`
	Reads      uint64  `json:"reads"`
	Writes     uint64  `json:"writes"`
	Retries    uint64  `json:"retries"`
	Lost       uint64  `json:"lost"`
	Reconnects uint64  `json:"reconnects"`
	Checked    uint64  `json:"checked"`
	Mismatches uint64  `json:"mismatches"`

	Target      string `json:"target"`
	Connections int    `json:"connections"`
	Depth       int    `json:"depth"`
	BlockSize   int64  `json:"block_size"`
	ReadShare   int    `json:"read_share"`
	Batch       bool   `json:"batch"`
}

// fill computes the figures from what the workers counted.
func (p *Report) fill(c *counts, blockSize int64) {
	h := &c.histogram
	p.Reads, p.Writes, p.Commands = c.reads, c.writes, c.reads+c.writes
	p.Errors, p.Retries, p.Lost = c.errors, c.retries, c.lost
	p.Checked, p.Mismatches = c.checked, c.mismatches
	p.IOPS = float64(p.Commands) / p.Seconds
	p.MiBs = p.IOPS * float64(blockSize) / (1 << 20)
	us := func(p float64) float64 { return float64(h.Percentile(p)) / 1e3 }
	p.Latency = Latency{h.Mean() / 1e3, us(0.5), us(0.99), us(0.999), float64(h.max) / 1e3}
}

// write prints the report for people or for programs.
func (p *Report) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(p)
	}
	_, err := fmt.Fprintf(w, `%s: %d connections, depth %d, %d bytes, %d %% reads, %.1f s
  %.0f IOPS, %.1f MiB/s, %d errors, %d retries, %d lost, %d reconnects
  latency us: mean %.1f, p50 %.1f, p99 %.1f, p99.9 %.1f, max %.1f
  CPU of this process: %.2f us per command (%.2f busy)
`, p.Target, p.Connections, p.Depth, p.BlockSize, p.ReadShare, p.Seconds,
		p.IOPS, p.MiBs, p.Errors, p.Retries, p.Lost, p.Reconnects,
		p.Latency.Mean, p.Latency.P50, p.Latency.P99, p.Latency.P999, p.Latency.Max, p.CPUPerIO, p.BusyPerIO)
	if err == nil && p.Checked > 0 {
		_, err = fmt.Fprintf(w, "  verified: %d reads checked, %d mismatches\n", p.Checked, p.Mismatches)
	}
	return err
}

// add merges o into c.
func (c *counts) add(o *counts) {
	c.histogram.Merge(&o.histogram)
	c.reads += o.reads
	c.writes += o.writes
	c.errors += o.errors
	c.retries += o.retries
	c.lost += o.lost
	c.mismatches += o.mismatches
	c.checked += o.checked
	c.shown = append(c.shown, o.shown...)
	if o.errors > 0 {
		c.lastStatus, c.lastSense, c.lastReason = o.lastStatus, o.lastSense, o.lastReason
	}
}

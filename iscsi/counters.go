package iscsi

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Counters is what went on and what went wrong, over all reactors since the start (iscsi_get_counters).
type Counters struct {
	Events map[string]uint64 `json:"events"`
	Faults map[string]uint64 `json:"faults"` // of PDUs, by cause
	// Quarantine is no count but what is there now.
	Quarantine Quarantine `json:"quarantine"`
}

// Counters reads the counters without waking a reactor.
func (s *Server) Counters() Counters {
	sum := Counters{map[string]uint64{}, map[string]uint64{}, s.Quarantine()}
	for _, l := range s.locals {
		for i := range l.counters {
			sum.Events[counterNames[i]] += l.counters[i].Load()
		}
		for f := FaultNone + 1; f < FaultCount; f++ {
			sum.Faults[faultName(f)] += l.faults[f].Load()
		}
	}
	return sum
}

// faultName is a fault as a member of iscsi_get_counters.
func faultName(f Fault) string {
	return strings.ToLower(strings.NewReplacer(" ", "_", "=", "_").Replace(f.Error()))
}

// harmless are the events that are no cause for a line in the log.
var harmless = []string{
	counterNames[countAccepted], counterNames[countSessions], counterNames[countRedirected], counterNames[countStarved], counterNames[countAborted], counterNames[countRejects],
}

// LogInterval is how often what went wrong is summed up in the log: one line at most, whatever peers do.
const LogInterval = 10 * time.Second

// watch writes the log lines until the server ends. No reactor writes any.
func (s *Server) watch(ctx context.Context) {
	ticker := time.NewTicker(LogInterval)
	defer ticker.Stop()
	last := s.Counters()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			last = s.report(ctx, last)
		}
	}
}

// report logs what has gone wrong since last, and returns the counters as they are now.
func (s *Server) report(ctx context.Context, last Counters) Counters {
	now := s.Counters()
	var attrs []slog.Attr
	add := func(now, last map[string]uint64) {
		for name, n := range now {
			if n > last[name] && !slices.Contains(harmless, name) {
				attrs = append(attrs, slog.Uint64(name, n-last[name]))
			}
		}
	}
	add(now.Events, last.Events)
	add(now.Faults, last.Faults)
	slices.SortFunc(attrs, func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	if len(attrs) > 0 {
		s.log.LogAttrs(ctx, slog.LevelWarn, "initiators were refused or broke the protocol", attrs...)
	}
	return now
}

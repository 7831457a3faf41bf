package iscsi

import "sync/atomic"

// A device that does not answer keeps what it was given: nobody knows when it reads or writes the memory. So a task whose connection has
// ended stays with its buffers until the device has answered, its session keeps its place, and a login that reinstates it is put off.
// Memory is bounded all the same, since the session counts (max_sessions) and so do its bytes. After QuarantineAfter such tasks are
// called quarantined, and counted until they end.

// stuck is what devices keep of connections that have ended, on one reactor.
type stuck struct {
	tasks, bytes atomic.Int64 // written by the reactor, read by the control plane
}

// quarantine counts the tasks that devices keep (on the connection's reactor).
func (c *conn) quarantine() {
	s := &c.local.stuck
	for t := c.tasks; t != nil; t = t.next {
		if t.state == taskExecuting && !t.stuck {
			t.stuck = true
			s.tasks.Add(1)
			s.bytes.Add(t.held)
			c.local.count(countQuarantined)
		}
	}
}

// unstick takes a task that ends out of the quarantine.
func (t *task) unstick() {
	if !t.stuck {
		return
	}
	t.stuck = false
	t.local.stuck.tasks.Add(-1)
	t.local.stuck.bytes.Add(-t.held)
}

// Quarantine is what devices keep of connections that have ended.
type Quarantine struct {
	Tasks int64 `json:"tasks"`
	Bytes int64 `json:"bytes"` // of I/O buffers
}

// Quarantine sums it up without waking a reactor.
func (s *Server) Quarantine() (q Quarantine) {
	for _, l := range s.locals {
		q.Tasks += l.stuck.tasks.Load()
		q.Bytes += l.stuck.bytes.Load()
	}
	return q
}

package reactor

// Stats are a reactor's counters since its start (its own goroutine writes them; read them through Call).
type Stats struct {
	Passes     uint64
	Enters     uint64 // system calls that submit or fetch, without those that sleep
	Sleeps     uint64 // times the reactor went to sleep in its ring
	WakeUps    uint64 // sleeps that another goroutine's message ended
	BusyNanos  int64
	IdleNanos  int64
	StaleCQEs  uint64 // completions of an operation whose owner had gone
	QueueFulls uint64 // times the submission queue was full in the middle of a pass
	OpenOps    int    // slots of the completion table in use
	InFlight   int    // submissions whose last completion has not come
	BufsOut    int    // I/O buffers that have not been put back
	Backlog    int    // entries that the ring had no room for
}

// Stats is a copy of the counters, brought up to now (on r).
func (r *Reactor) Stats() Stats {
	s := r.stats
	s.OpenOps, s.BufsOut, s.Backlog = r.slots.open, r.bufs.Out(), len(r.backlog)
	if r.wake.op.IsOpen() { // Not somebody's leak.
		s.OpenOps--
		s.InFlight -= r.wake.op.InFlight()
	}
	elapsed := r.clock.Nanos() - r.stamp
	if r.wasBusy {
		s.BusyNanos += elapsed
	} else {
		s.IdleNanos += elapsed
	}
	return s
}

// account notes whether the last pass found work. The clock is read only when that has changed.
func (r *Reactor) account(busy bool) {
	if busy == r.wasBusy {
		return
	}
	now := r.Now()
	if r.wasBusy {
		r.stats.BusyNanos += now - r.stamp
	} else {
		r.stats.IdleNanos += now - r.stamp
	}
	r.wasBusy, r.stamp = busy, now
}

package engine

// The transfer log: writes that are not acknowledged yet or that a peer may still lose, by epochs.

// logAppend and logRemove keep the transfer log.
func (e *Engine) logAppend(o *op) {
	o.logged = true
	o.prev = e.logTail
	if e.logTail != nil {
		e.logTail.next = o
	} else {
		e.logHead = o
	}
	e.logTail = o
	e.logLen++
}

func (e *Engine) logRemove(o *op) {
	if o.prev != nil {
		o.prev.next = o.next
	} else {
		e.logHead = o.next
	}
	if o.next != nil {
		o.next.prev = o.prev
	} else {
		e.logTail = o.prev
	}
	o.prev, o.next, o.logged = nil, nil, false
	e.logLen--
}

// closeEpoch lets later writes go to a new epoch. The barrier goes out at once: what it confirms is what bounds the log.
func (e *Engine) closeEpoch() {
	if e.epochWrites == 0 {
		return
	}
	for i := range e.peers {
		if p := &e.peers[i]; p.epochCount > 0 {
			p.barriers = append(p.barriers, barrier{e.epoch, p.epochCount})
			e.send(p, &Msg{Type: MsgBarrier, Epoch: e.epoch, Count: p.epochCount})
			p.epochCount = 0
		}
	}
	e.epoch++
	e.epochWrites = 0
}

// barrier is an epoch that a peer has been asked to confirm.
type barrier struct{ epoch, count uint32 }

// onBarrierAck forgets the writes of an epoch that the peer has durably.
func (e *Engine) onBarrierAck(p *peer, m *Msg) {
	if len(p.barriers) == 0 || p.barriers[0] != (barrier{m.Epoch, m.Count}) {
		e.protocolError(p, "barrier acknowledgement %d/%d does not match", m.Epoch, m.Count)
		return
	}
	p.barriers = p.barriers[1:]
	for o := e.logHead; o != nil && o.epoch <= m.Epoch; {
		next := o.next
		if o.epoch == m.Epoch && o.barWait&p.bit() != 0 {
			o.barWait &^= p.bit()
			p.inFlight -= uint64(o.len)
			if !o.completed && o.ackWait&p.bit() == 0 {
				e.ackedBy(o, p)
			}
			e.tryComplete(o)
		}
		o = next
	}
	e.recheckFlushes()
}

// retire forgets a write that is acknowledged and that no peer can lose.
func (e *Engine) retire(o *op) {
	if !o.completed || o.barWait != 0 || o.legs != 0 || !o.localDone {
		return
	}
	if o.logged {
		e.logRemove(o)
	}
	e.freeOp(o)
}

// writing reports writes that are not acknowledged yet.
func (e *Engine) writing() bool {
	for o := e.logHead; o != nil; o = o.next {
		if !o.completed {
			return true
		}
	}
	return false
}

// recheck looks at all writes again, after something that held acknowledgements is over.
func (e *Engine) recheck() {
	for o := e.logHead; o != nil; {
		next := o.next
		if !o.completed {
			e.tryComplete(o)
		}
		o = next
	}
	e.recheckFlushes()
}

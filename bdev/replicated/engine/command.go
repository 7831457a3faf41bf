package engine

// command is the operator's command under way; there is one at a time.
type command struct {
	kind     Command
	id       uint64
	ev       Event
	step     func() // goes on with the command; called whenever anything has happened
	deadline int64
	asked    uint16 // peers whose answer is awaited
	answer   Err
	critical bool // generation or role are about to change: no handshake may start
	started  bool
}

const commandTimeout = int64(20e9)

// stopsPulls reports a command during which a target asks for nothing more.
func (c *command) stopsPulls() bool { return c.kind == CmdSecondary || c.kind == CmdPrimary }

// onCommand starts a command. Those that change nothing over time are answered at once.
func (e *Engine) onCommand(ev *Event) {
	e.cfg.Cover.command(ev.Cmd)
	if ev.Cmd == CmdSuspendIO || ev.Cmd == CmdResumeIO {
		e.suspendCommand(ev)
		return
	}
	if e.cmd.kind != 0 {
		e.emit(Action{Kind: ActReply, ID: ev.ID, Err: ErrBusy})
		return
	}
	e.cmd = command{kind: ev.Cmd, id: ev.ID, ev: *ev, deadline: e.now + commandTimeout}
	e.cmd.step = e.commandStep(ev.Cmd)
	if e.cmd.step == nil {
		e.reply(ErrRange)
	}
}

func (e *Engine) runCommand() {
	if e.cmd.kind == 0 && e.fencedOut {
		e.cmd = command{kind: CmdSecondary, deadline: e.now + commandTimeout, step: e.stepSecondary}
	}
	if e.cmd.kind == 0 {
		return
	}
	if e.now >= e.cmd.deadline && !e.cmd.critical {
		e.abandonCommand()
		return
	}
	e.cmd.step()
}

// abandonCommand gives up a command that has waited too long.
func (e *Engine) abandonCommand() {
	if e.cmd.kind == CmdSecondary {
		e.open = e.role == Primary
	}
	e.reply(ErrBusy)
}

func (e *Engine) reply(err Err) {
	c := e.cmd
	e.cmd = command{}
	e.moved = true
	if c.id == 0 {
		return // nobody asked: a fenced Primary steps down by itself
	}
	e.emit(Action{Kind: ActReply, ID: c.id, Err: err, OK: err == OK})
}

func (e *Engine) commandStep(c Command) func() {
	steps := map[Command]func(){
		CmdConnect: e.stepConnect, CmdDisconnect: e.stepDisconnect, CmdPrimary: e.stepPrimary,
		CmdSecondary: e.stepSecondary, CmdInvalidate: e.stepInvalidate, CmdInvalidatePeer: e.stepInvalidate,
		CmdOutdate: e.stepOutdate, CmdDetach: e.stepDetach, CmdVerify: e.stepVerify, CmdVerifyStop: e.stepVerifyStop,
		CmdPauseSync: e.stepPause, CmdResumeSync: e.stepPause, CmdResize: e.stepResize,
		CmdNewGeneration: e.stepNewGeneration, CmdTrackerReset: e.stepTrackerReset, CmdLegAdd: e.stepLegAdd,
		CmdLegRemove: e.stepLegRemove, CmdReadExclude: e.stepReadExclude, CmdFence: e.stepFence,
		CmdVerifyLegs: e.stepVerifyLegs,
	}
	return steps[c]
}

func (e *Engine) cmdPeer() *peer {
	if n := e.cmd.ev.Peer; n >= 0 && n < ReplicasMax && e.isPeer(n) {
		return &e.peers[n]
	}
	return nil
}

func (e *Engine) stepConnect() {
	p := e.cmdPeer()
	if p == nil || p.conn != StandAlone {
		e.reply(ErrState)
		return
	}
	p.discard = e.cmd.ev.Flag
	e.setConn(p, Unconnected)
	e.setConn(p, WFConnection)
	e.emit(Action{Kind: ActLinkStart, Peer: p.row})
	e.reply(OK)
}

func (e *Engine) stepDisconnect() {
	p := e.cmdPeer()
	if p == nil || p.conn == StandAlone {
		e.reply(ErrState)
		return
	}
	e.standAlone(p, "disconnected by the operator")
	e.reply(OK)
}

// asks puts a question to connected peers once, and reports whether all have answered.
func (e *Engine) asks(mask uint16, cmd Command) bool {
	if !e.cmd.started {
		e.cmd.started = true
		for i := range e.peers {
			if mask>>i&1 != 0 {
				e.cmd.asked |= e.peers[i].bit()
				e.send(&e.peers[i], &Msg{Type: MsgStateReq, Count: uint32(cmd), Fence: e.cmd.ev.Value, Block: e.cmd.id})
			}
		}
	}
	for i := range e.peers {
		if p := &e.peers[i]; e.cmd.asked&p.bit() != 0 && p.conn < Connected {
			e.cmd.asked &^= p.bit()
			e.cmd.answer = ErrLost
		}
	}
	return e.cmd.asked == 0
}

func (e *Engine) connectedPeers() (mask uint16) {
	for i := range e.peers {
		if p := &e.peers[i]; e.isPeer(i) && p.conn >= Connected {
			mask |= p.bit()
		}
	}
	return mask
}

// onStateReq answers a peer that asks whether it may change its state.
func (e *Engine) onStateReq(p *peer, m *Msg) {
	answer := Msg{Type: MsgStateReply, Block: m.Block, Count: uint32(e.mayPeer(p, Command(m.Count), m.Fence)), Fence: e.super.Fence}
	if Command(m.Count) == CmdPrimary && e.severalPeers() && e.hasDisk() {
		answer.UUID, answer.Doubt = e.super.Current, e.doubtOfLender()
	}
	if m.Fence == 0 || e.mutated(MutFenceVolatile) {
		e.send(p, &answer)
		return
	}
	link := p.link
	e.commit(func(bool) { // a fencing epoch is accepted when it is durable
		if p.link == link {
			e.send(p, &answer)
		}
	})
}

func (e *Engine) mayPeer(p *peer, cmd Command, fence uint64) Err {
	busy := e.cmd.kind == CmdPrimary || e.cmd.kind == CmdSecondary || e.cmd.kind == CmdResize || e.cmd.kind == CmdVerify ||
		e.cmd.kind == CmdInvalidate || e.cmd.kind == CmdInvalidatePeer
	switch cmd {
	case CmdPrimary:
		if e.role == Primary && !e.mutated(MutTwoPrimaries) {
			return ErrPeerPrimary
		}
		if fence == 0 && e.followsOther(p) {
			return ErrPeerPrimary
		}
		if fence != 0 && fence <= e.super.Fence {
			return ErrFenced
		}
		if busy {
			return ErrConcurrent
		}
		if fence != 0 {
			e.acceptFence(fence)
		}
	case CmdVerify:
		if busy || p.conn != Connected || e.disk != UpToDate || e.followsOther(p) {
			return ErrConcurrent
		}
		p.verify = verifyState{}
		e.setConn(p, VerifyT)
	case CmdInvalidate, CmdInvalidatePeer:
		if busy || e.followsOther(p) {
			return ErrConcurrent
		}
	default:
		if busy {
			return ErrConcurrent
		}
	}
	return OK
}

func (e *Engine) onStateReply(p *peer, m *Msg) {
	if e.cmd.asked&p.bit() == 0 || m.Block != e.cmd.id {
		return
	}
	e.cmd.asked &^= p.bit()
	if m.UUID != 0 {
		p.lends = lender{m.UUID, m.Doubt}
	}
	if err := Err(m.Count); err != OK {
		e.cmd.answer = err
	}
	if m.Fence > e.super.Fence {
		e.acceptFence(m.Fence)
	}
}

// stepPrimary promotes: nobody else is Primary, the data is good, the epoch is new, and all of that is durable (M6).
func (e *Engine) stepPrimary() {
	if e.cmd.critical || !e.settled() {
		return
	}
	if err := e.mayPromote(); err != OK {
		e.reply(err)
		return
	}
	if !e.asks(e.connectedPeers(), CmdPrimary) {
		return
	}
	if e.cmd.answer != OK {
		e.reply(e.cmd.answer)
		return
	}
	if !e.lendersAgree() {
		e.reply(ErrConcurrent)
		return
	}
	if e.pullsUnderWay() {
		return // from now on they take their ranges before they ask
	}
	for i := range e.peers {
		if p := &e.peers[i]; p.active > 0 && p.conn < SyncSource {
			return
		}
	}
	e.promote()
}

// settled reports that no handshake is under way.
func (e *Engine) settled() bool {
	for i := range e.peers {
		if p := &e.peers[i]; p.up && p.conn < Connected && !p.waits {
			return false
		}
	}
	return e.rotating == 0
}

func (e *Engine) mayPromote() Err {
	force, fence := e.cmd.ev.Flag, e.cmd.ev.Value
	if e.role == Primary {
		return ErrState
	}
	if fence != 0 && fence <= e.super.Fence && !e.cmd.started {
		return ErrFenced
	}
	for i := range e.peers {
		if p := &e.peers[i]; p.conn >= Connected && p.role == Primary && !e.mutated(MutTwoPrimaries) {
			return ErrPeerPrimary
		}
	}
	switch {
	case e.disk == UpToDate:
	case e.disk < Inconsistent && e.peerHasData(), e.readsFromSource():
	case e.disk >= Inconsistent && force && !e.anyTarget():
	case e.mutated(MutPromoteBadData):
	default:
		return ErrNoGoodData
	}
	return OK
}

// readsFromSource reports that this node is a target and its source is good: it reads there what it lacks.
func (e *Engine) readsFromSource() bool {
	for i := range e.peers {
		if p := &e.peers[i]; p.disk == UpToDate && (p.conn == SyncTarget || p.conn == PausedSyncT) && !p.sync.finishing {
			return true
		}
	}
	return false
}

func (e *Engine) anyTarget() bool {
	for i := range e.peers {
		if e.peers[i].isTarget() {
			return true
		}
	}
	return false
}

func (e *Engine) promote() {
	e.cmd.critical = true
	forced := e.disk != UpToDate && e.disk >= Inconsistent && !e.anyTarget()
	e.role, e.leftOut = Primary, 0
	if forced {
		e.forceGeneration()
	} else {
		e.promoteGeneration()
	}
	e.setCurrent(e.super.Current) // not before: the generation that a promotion ends has not seen this Primary
	e.exposed = e.exposedAtPromotion()
	e.super.Fence = max(e.super.Fence, e.cmd.ev.Value)
	if !e.mutated(MutNoPrimaryMark) {
		e.super.Flags |= SuperPrimary
	}
	e.cmd.started = true
	e.flushFormer()
	e.commit(func(ok bool) {
		if !ok {
			e.role = Secondary
			e.setCurrent(e.super.Current)
			e.reply(ErrIO)
			return
		}
		e.open = true
		e.sayState()
		e.reply(OK)
		if forced {
			for i := range e.peers {
				if p := &e.peers[i]; e.isPeer(i) {
					e.resetLink(p)
				}
			}
		}
	})
}

// promoting reports that this node is Primary, but has not been open for requests yet.
func (e *Engine) promoting() bool { return e.cmd.kind == CmdPrimary && e.cmd.critical }

// flushFormer makes durable what the last Primary wrote here: from now on others may take it over from this node. If it were lost
// here after that, who came first would have other data than who comes later. It has no switch, since no trouble shows it: as a rule
// the activity logs and the comparison of this node with both bring it to light.
func (e *Engine) flushFormer() {
	e.metaThen(func() {
		e.meta.pending++
		e.flushLegs(func(bool) { e.metaDone(0) })
	}, func(bool) {})
}

// exposedAtPromotion is the generation that this Primary's front end will see.
func (e *Engine) exposedAtPromotion() uint64 {
	switch {
	case e.hasDisk() && e.disk > Inconsistent:
		return e.super.Current
	case !e.hasDisk() && e.rotating > 0:
		return e.exposed
	}
	for i := range e.peers {
		if p := &e.peers[i]; p.conn >= Connected && p.disk == UpToDate {
			return p.gen
		}
	}
	return e.super.Current
}

// promoteGeneration starts a new generation if somebody is not here who should be.
func (e *Engine) promoteGeneration() {
	if !e.hasDisk() {
		e.rotate()
		return
	}
	for i := range e.peers {
		if p := &e.peers[i]; e.isPeer(i) && !p.mirrors() && (e.needsGeneration(i) || e.severalPeers()) {
			e.rotate()
			return
		}
	}
}

// forceGeneration declares this node's data good, whatever it is. A peer for which it has been collecting since an earlier generation
// may be of the one that ends here: it is found by the history.
func (e *Engine) forceGeneration() {
	e.clearSource()
	old := e.super.Current
	for i := range e.peers {
		switch row := &e.super.Rows[i]; {
		case !e.isPeer(i):
		case row.Bitmap == 0:
			row.Bitmap = old
		default:
			e.remember(&e.super.History, old)
			row.Flags &^= RowEnding
		}
	}
	e.setCurrent(e.newUUID())
	e.setDisk(UpToDate)
}

// stepSecondary demotes: everything is complete and durable everywhere, then the mark goes.
func (e *Engine) stepSecondary() {
	if e.cmd.critical {
		return
	}
	if e.role != Primary {
		e.reply(ErrState)
		return
	}
	e.open = false
	e.closeEpoch()
	if e.logLen > 0 && !e.mutated(MutDemoteEarly) || e.held.len()+e.parked.len()+len(e.flushes)+len(e.noSource) > 0 || len(e.al.waiting) > 0 ||
		e.rotating > 0 || e.repairs > 0 || !e.settled() || e.pullsUnderWay() {
		return
	}
	e.cmd.critical = true
	e.flushLegs(func(bool) {
		e.writePages(allPages, func(bool) {
			e.role = Secondary
			e.leaveFenced()
			e.super.Flags &^= SuperPrimary
			e.setCurrent(e.super.Current)
			e.commit(func(bool) {
				e.sayState()
				e.reply(OK)
			})
		})
	})
}

// leaveFenced ends the demotion of a fenced Primary.
func (e *Engine) leaveFenced() {
	loss := e.fencedLoss && e.hasDisk()
	fenced := e.fencedOut && e.severalPeers()
	if loss {
		e.setDisk(Inconsistent)
		e.leaveTargets()
	}
	e.commit(func(bool) {
		for i := range e.peers {
			if p := &e.peers[i]; loss || p.missed || fenced {
				e.resetLink(p)
			}
		}
	})
	e.fencedOut, e.fencedLoss = false, false
}

func (e *Engine) pullsUnderWay() bool {
	for i := range e.peers {
		if len(e.peers[i].sync.pulls) > 0 {
			return true
		}
	}
	return false
}

package engine

// peer is what the engine knows of the node behind one link. Rows that are no peers stay in StandAlone for ever.
type peer struct {
	row  int
	cfg  RowConfig
	conn Conn
	disk Disk
	role Role

	link          uint32 // counts connections: what belongs to an older one is void
	up            bool
	tie           bool // I accepted the second connection: conflicts are mine to resolve
	helloSent     bool
	sent          Hello
	hello         *Hello
	waits         bool               // compared, but nothing can follow from it before one side has changed; see several.go
	open          []openWrite        // of the peer as Primary, which other nodes may not have
	discard       bool               // the operator gave up this node's changes
	gen           uint64             // generation that the connected peer is known to have
	told          uint64             // the last one that it was lent and has yet to store; 0 is none
	inUse         []uint64           // former generations that its bitmaps collect since, of one that follows this Primary
	sourceHistory [HistoryLen]uint64 // of the source whose data this node takes over
	sourceDoubt   Doubt              // of the same
	doubtOrigin   Origin             // whose doubt towards the peer it is; see doubt.go
	missed        bool               // it could not store a write

	hold      int    // messages of the data stream wait while above zero
	inbox     []*Msg // they wait here
	active    int    // operations on behalf of the peer under way; a new connection waits for those of the old one
	unflushed bool   // its writes may be in the disks' caches only
	recv      uint32 // writes received since the last barrier
	writes    int    // of these, still on their way to disk
	gate      *Msg   // barrier that waits for the writes before it

	epochCount uint32 // writes sent in the current epoch
	barriers   []barrier
	inFlight   uint64 // bytes not confirmed by a barrier
	reads      []*op  // asked of the peer

	uuidWait int // answers to MsgUUIDs that acknowledgements wait for
	sync     syncState
	verify   verifyState
	wake     int64
}

func (p *peer) init(row int, cfg RowConfig) {
	p.row, p.cfg = row, cfg
	p.conn, p.disk, p.role = StandAlone, DUnknown, RoleUnknown
}

func (p *peer) bit() uint16 { return 1 << p.row }

// mirrors reports that writes go to the peer as they come. A peer that is Inconsistent gets them once both sides' bitmaps
// agree, so that the blocks that resync has copied stay equal.
func (p *peer) mirrors() bool {
	if p.missed || p.conn < Connected || p.conn >= Ahead {
		return false
	}
	return p.disk == UpToDate || (p.disk == Inconsistent && p.conn >= WFBitMapT)
}

// syncing reports a resync during which all writes are mirrored. In other states a write that makes blocks equal may be older
// than one that the peer was only told about.
func (p *peer) syncing() bool {
	switch p.conn {
	case SyncSource, SyncTarget, PausedSyncS, PausedSyncT:
		return true
	default:
		return false
	}
}

// isSource and isTarget say which side of a resync this node is, from the first bitmap on.
func (p *peer) isSource() bool {
	switch p.conn {
	case StartingSyncS, WFBitMapS, SyncSource, PausedSyncS, Ahead:
		return true
	default:
		return false
	}
}

func (p *peer) isTarget() bool { return targetState(p.conn) }

func targetState(c Conn) bool {
	switch c {
	case StartingSyncT, WFBitMapT, WFSyncUUID, SyncTarget, PausedSyncT, Behind:
		return true
	default:
		return false
	}
}

// send puts a message on the link. It is void when the link is down.
func (e *Engine) send(p *peer, m *Msg) {
	if p.up {
		e.emit(Action{Kind: ActSend, Peer: p.row, Msg: *m})
	}
}

// setConn changes the link state and lets the clamp table adjust both disk states.
func (e *Engine) setConn(p *peer, c Conn) {
	if p.conn != c {
		e.moved = true
		e.cfg.Cover.transition(p.conn, c)
	}
	p.conn = c
	mine, theirs := Clamp(c, e.disk, p.disk)
	if Invariants && e.disk == Inconsistent && mine > Inconsistent {
		panic("a link state makes data good that is not")
	}
	if e.severalPeers() && c == Connected && e.disk == Outdated && p.disk == Outdated {
		mine, theirs = Outdated, Outdated // the newer data is on a third node
	}
	p.disk = theirs
	e.setDisk(mine)
	if p.isTarget() {
		e.leaveOthers(p)
	}
}

// setDisk changes the state of the local data, remembers it, and tells the peers.
func (e *Engine) setDisk(d Disk) {
	if e.disk == d {
		return
	}
	e.cfg.Cover.disk(e.disk, d)
	e.disk = d
	if d > Inconsistent {
		e.clearSource()
	}
	if d >= Inconsistent {
		e.super.Flags &^= SuperConsistent | SuperUpToDate
		if d >= Outdated {
			e.super.Flags |= SuperConsistent
		}
		if d >= Consistent {
			e.super.Flags |= SuperUpToDate
			e.super.Flags &^= SuperLegMissing
		}
		e.commit(nil)
	}
	e.sayState()
}

// sayState tells all connected peers role and disk.
func (e *Engine) sayState() {
	for i := range e.peers {
		if p := &e.peers[i]; p.conn >= Connected {
			e.send(p, &Msg{Type: MsgState, State: e.stateFor(p)})
		}
	}
}

func (e *Engine) stateFor(p *peer) PeerState {
	return PeerState{Role: e.role, Disk: e.disk, Conn: p.conn, Hold: p.sync.pauseMine}
}

// onMessage takes one message. Those of the data stream keep their order even when one of them has to wait.
func (e *Engine) onMessage(p *peer, m *Msg) {
	if !p.up {
		return
	}
	if !m.Type.Meta() && (p.hold > 0 || len(p.inbox) > 0) {
		p.inbox = append(p.inbox, m)
		return
	}
	e.dispatch(p, m)
}

// release lets the data stream of a peer go on.
func (e *Engine) release(p *peer) {
	p.hold--
	link := p.link
	e.later(func() {
		for p.link == link && p.hold == 0 && len(p.inbox) > 0 {
			m := p.inbox[0]
			p.inbox = p.inbox[1:]
			e.dispatch(p, m)
		}
	})
}

// dispatchTable names the handler of each message, and the first link state in which it may come.
var dispatchTable [256]struct {
	handle func(*Engine, *peer, *Msg)
	from   Conn
}

func init() { // the handlers reach the table through dispatch
	set := func(t MsgType, from Conn, h func(*Engine, *peer, *Msg)) {
		dispatchTable[t].handle, dispatchTable[t].from = h, from
	}
	set(MsgHello, WFReportParams, (*Engine).onHello)
	set(MsgData, Connected, (*Engine).onData)
	set(MsgDataReply, Connected, (*Engine).onDataReply)
	set(MsgNegReply, Connected, (*Engine).onDataReply)
	set(MsgDataRequest, Connected, (*Engine).onDataRequest)
	set(MsgBarrier, Connected, (*Engine).onBarrier)
	set(MsgBarrierAck, Connected, (*Engine).onBarrierAck)
	set(MsgRecvAck, Connected, (*Engine).onWriteAck)
	set(MsgWriteAck, Connected, (*Engine).onWriteAck)
	set(MsgRSWriteAck, Connected, (*Engine).onRSWriteAck)
	set(MsgNegAck, Connected, (*Engine).onNegAck)
	set(MsgState, Connected, (*Engine).onState)
	set(MsgUUIDs, Connected, (*Engine).onUUIDs)
	set(MsgUUIDsAck, Connected, (*Engine).onUUIDsAck)
	set(MsgBitmap, Connected, (*Engine).onBitmap)
	set(MsgSyncUUID, Connected, (*Engine).onSyncUUID)
	set(MsgOutOfSync, Connected, (*Engine).onOutOfSync)
	set(MsgPeerOOS, Connected, (*Engine).onPeerOOS)
	set(MsgRSRequest, Connected, (*Engine).onRSRequest)
	set(MsgCsumRequest, Connected, (*Engine).onRSRequest)
	set(MsgRSReply, Connected, (*Engine).onRSReply)
	set(MsgRSInSync, Connected, (*Engine).onRSReply)
	set(MsgNegRSReply, Connected, (*Engine).onRSReply)
	set(MsgSyncDone, Connected, (*Engine).onSyncDone)
	set(MsgInvalidate, Connected, (*Engine).onInvalidate)
	set(MsgStartResync, Connected, (*Engine).onStartResync)
	set(MsgOVRequest, Connected, (*Engine).onOVRequest)
	set(MsgOVReply, Connected, (*Engine).onOVReply)
	set(MsgOVResult, Connected, (*Engine).onOVResult)
	set(MsgVerifyDone, Connected, (*Engine).onVerifyDone)
	set(MsgStateReq, Connected, (*Engine).onStateReq)
	set(MsgStateReply, Connected, (*Engine).onStateReply)
	set(MsgFenced, WFReportParams, (*Engine).onFenced)
	set(MsgSettled, Connected, (*Engine).onSettled)
	set(MsgInSync, Connected, (*Engine).onInSync)
	set(MsgInSyncAck, Connected, (*Engine).onInSyncAck)
}

func (e *Engine) dispatch(p *peer, m *Msg) {
	d := &dispatchTable[m.Type]
	if d.handle == nil {
		e.protocolError(p, "unknown message %#x", uint8(m.Type))
		return
	}
	if p.conn < d.from {
		if p.conn == WFReportParams && !m.Type.Meta() {
			// The peer has finished its handshake and is ahead of me by a message that I still wait with.
			p.inbox = append(p.inbox, m)
			return
		}
		e.protocolError(p, "message %#x in state %v", uint8(m.Type), p.conn)
		return
	}
	d.handle(e, p, m)
}

// protocolError drops a connection on which something impossible arrived; the host connects again.
func (e *Engine) protocolError(p *peer, format string, args ...any) {
	e.notify(p.row, "protocol error: "+format, args...)
	e.cfg.Cover.protocolError()
	e.resetLink(p)
}

// resetLink drops the connection; the host makes another.
func (e *Engine) resetLink(p *peer) {
	if p.up {
		e.emit(Action{Kind: ActLinkStop, Peer: p.row})
		e.linkLost(p, ProtocolError)
	}
}

// standAlone drops the connection and stays away until the operator says connect.
func (e *Engine) standAlone(p *peer, why string) {
	e.notify(p.row, "StandAlone: %s", why)
	e.emit(Action{Kind: ActLinkStop, Peer: p.row, Flag: true})
	e.linkLost(p, Disconnecting)
	e.setConn(p, StandAlone)
}

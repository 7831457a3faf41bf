package engine

// View is what an operator, a status call or a test may know of an engine.
type View struct {
	Role       Role
	Disk       Disk
	Open       bool // Primary, and taking requests
	Suspended  bool
	Size       uint64
	Current    uint64
	Fence      uint64
	InFlight   int    // requests of the front end and writes that a peer may still lose
	Quiet      bool   // nothing at all is under way
	Unsettled  bool   // has writes of a Primary that may not be on all replicas
	ReadErrors uint64 // of the legs, for the front end
	Repaired   uint64 // ranges that a leg could not read and that were written again
	Legs       [LegsMax]LegView
}

// LegView is one local disk.
type LegView struct {
	InSync, Written bool
	Dirty           uint64
}

// PeerView is one peer.
type PeerView struct {
	Conn    Conn
	Disk    Disk
	Role    Role
	Dirty   uint64
	Bitmap  uint64
	Crashed bool
}

// View returns the state of the volume.
func (e *Engine) View() View {
	v := View{
		Role: e.role, Disk: e.disk, Open: e.open && !e.fencedOut, Suspended: e.suspended, Size: e.super.Size,
		Current: e.super.Current, Fence: e.super.Fence, ReadErrors: e.readErrors, Repaired: e.repaired,
		InFlight: e.logLen + e.held.len() + e.parked.len() + len(e.flushes) + len(e.noSource),
	}
	for n := range e.cfg.Legs {
		s := e.legs[n].state
		v.Legs[n] = LegView{InSync: s == legUp, Written: s == legUp || s == legCatchUp}
		if b := e.bits[e.legRow(n)]; b != nil {
			v.Legs[n].Dirty = b.count
		}
	}
	for i := range e.peers {
		v.Unsettled = v.Unsettled || len(e.peers[i].open) > 0
	}
	v.Quiet = v.InFlight == 0 && len(e.ops) == len(e.freeOps) && e.meta.current == nil && e.cmd.kind == 0
	return v
}

// Peer returns what is known of the peer of a row.
func (e *Engine) Peer(row int) PeerView {
	p := &e.peers[row]
	v := PeerView{Conn: p.conn, Disk: p.disk, Role: p.role, Bitmap: e.super.Rows[row].Bitmap}
	v.Crashed = e.super.Rows[row].Flags&RowCrashed != 0
	if b := e.bits[row]; b != nil {
		v.Dirty = b.count
	}
	return v
}

// Dirty reports whether a block is marked for a row, and Changed lists what a tracker has collected.
func (e *Engine) Dirty(row int, block uint64) bool {
	return e.bits[row] != nil && block < e.bits[row].bits && e.bits[row].test(block)
}

// Metadata returns the superblock as it would be written now.
func (e *Engine) Metadata() Super { return e.super }

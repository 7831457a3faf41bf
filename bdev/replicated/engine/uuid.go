package engine

// uuidPrimary is bit 0 of a generation UUID: "was Primary". In the bitmap generation of a row it says that a Primary parted from the
// peer, so that this side is the older one of a split brain; without it, the promotion of another node did that. It takes no part in
// comparisons, and uuidMask hides it.
const (
	uuidPrimary uint64 = 1
	uuidMask           = ^uuidPrimary
)

// JustCreated is the current UUID of metadata that has never seen data.
const JustCreated uint64 = 4

// syncUUIDOffset is added to a bitmap UUID when a resync that it already names starts again.
const syncUUIDOffset uint64 = 1 << 48

// HistoryLen is the number of former generations that a volume remembers, as in DRBD 9. Every loss of a peer makes one and every resync
// another, and a node that has been away for longer than the others remember has to be made anew. They remember what a bitmap
// collects since, theirs or that of one who follows the same Primary, however old it is; see ancestors.go.
const HistoryLen = 32

// GI is the generation identifier of a volume as one peer sees it: the row of that peer with what all share.
type GI struct {
	Current uint64
	Bitmap  uint64 // generation since which the bitmap for this peer has been collecting; 0 is none
	History [HistoryLen]uint64
}

// Verdict is the outcome of a comparison: above zero this side is the source; 1 by bitmap, 2 in full.
type Verdict int

// Verdicts that are no direction.
const (
	NoSync         Verdict = 0
	SplitBrainAuto Verdict = 100  // split brain that automatic policies may resolve
	SplitBrain     Verdict = -100 // split brain, known by history only
	Unrelated      Verdict = -1000
)

// repair is what a rule does to the tuples before they are used.
type repair uint8

const (
	repairNone      repair = iota
	repairMineEnd          // rule 34: I missed the end of the resync, finish it now
	repairPeerEnd          // rule 35: the peer missed it; it does the same to its own tuple
	repairPeerStart        // rule 51: the peer's P_SYNC_UUID never arrived; it undoes it
	repairMineStart        // rule 71: my P_SYNC_UUID never arrived; undo it
)

// compareInput is what the table looks at.
type compareInput struct {
	mine, peer               GI // masked
	mineCrashed, peerCrashed bool
	mineOpen, peerOpen       bool // lost a Primary whose last writes may not be everywhere
	mineWeak, peerWeak       bool // crashed as a Secondary, and may have lost what the other has
	minePartial, peerPartial bool // in the middle of a resync from the other: nothing of its own is left
	minePrimary, peerPrimary bool
	tieBreaker               bool // I accepted the meta connection (RESOLVE_CONFLICTS)
	several                  bool // other nodes may have changed either side since
	survivors                bool // who did not crash has all that was acknowledged: several nodes, mode C
	collected                bool // one has changes for the other, and they do not follow the same Primary
	bothFollow               bool // both are UpToDate and get the writes of the same Primary
	historyLen               int  // 2 with DRBD 8.4, else HistoryLen
}

func (c *compareInput) mirrored() *compareInput {
	return &compareInput{
		mine: c.peer, peer: c.mine,
		mineCrashed: c.peerCrashed, peerCrashed: c.mineCrashed,
		mineOpen: c.peerOpen, peerOpen: c.mineOpen, mineWeak: c.peerWeak, peerWeak: c.mineWeak,
		minePartial: c.peerPartial, peerPartial: c.minePartial,
		minePrimary: c.peerPrimary, peerPrimary: c.minePrimary,
		tieBreaker: !c.tieBreaker, several: c.several, survivors: c.survivors, collected: c.collected, bothFollow: c.bothFollow,
		historyLen: c.historyLen,
	}
}

func (c *compareInput) sameCurrent() bool { return c.mine.Current == c.peer.Current }

func (c *compareInput) inPeerHistory(uuid uint64) bool {
	for _, h := range c.peer.History[:c.historyLen] {
		if h == uuid && h != 0 {
			return true
		}
	}
	return false
}

func (c *compareInput) historiesMeet() bool {
	if c.historyLen > 2 && (c.mine.Bitmap != 0 && c.inPeerHistory(c.mine.Bitmap) || c.peer.Bitmap != 0 && c.mirrored().inPeerHistory(c.peer.Bitmap)) {
		return true // the generation of the last resync came to the other by a third node, or in a resync of whose end this side has not heard
	}
	for _, h := range c.mine.History[:c.historyLen] {
		if h != 0 && c.inPeerHistory(h) {
			return true
		}
	}
	return false
}

// Rule is one row of the compare table. The first row whose condition holds decides.
type Rule struct {
	Number  int
	Says    string
	When    func(*compareInput) bool
	Verdict Verdict
	repair  repair
}

// fresh reports a tuple that has never seen data.
func fresh(g *GI) bool { return g.Current == JustCreated || g.Current == 0 }

func ruleFresh(c *compareInput) bool { return fresh(&c.mine) && c.peer.Current != JustCreated }

func ruleEndMissed(c *compareInput) bool {
	return ruleMineCollects(c) && c.mine.Bitmap == c.peer.History[0] && c.mine.History[0] == c.peer.History[1]
}

func ruleMineCollects(c *compareInput) bool {
	if c.several && (anyCrashed(c) || c.unsettled()) {
		return false // the bitmap may be there because of a third node: what happened to the Primary says more
	}
	if c.bothFollow {
		return false // each is equal to the Primary; what only one has marked beyond that (by verify) stays, for a comparison without one
	}
	return c.sameCurrent() && c.peer.Bitmap == 0 && c.mine.Bitmap != 0
}

// ruleBothCollect: both came to this generation by way of others. After the loss of a Primary these need not have been equal: two
// resyncs between four nodes may bring its last writes here, and take them back there.
func ruleBothCollect(c *compareInput) bool {
	return c.several && c.collected && c.sameCurrent() && c.mine.Bitmap != 0 && c.peer.Bitmap != 0 && !anyCrashed(c) && !c.unsettled()
}

// mineGoesFirst lets a Primary be the source, and else the one that does not break ties.
func (c *compareInput) mineGoesFirst() bool {
	if c.minePrimary != c.peerPrimary {
		return c.minePrimary
	}
	return !c.tieBreaker
}

func ruleBehindBitmap(c *compareInput) bool { return c.mine.Current == c.peer.Bitmap }

func ruleStartLost(c *compareInput) bool {
	return c.mine.Current == c.peer.History[0] && (c.peer.History[0]+syncUUIDOffset)&uuidMask == c.peer.Bitmap
}

// ruleSourceForgot: the source has itself taken over the data of a third node, and with that dropped the name of the resync that it
// has not brought to an end; or, of two nodes, it has been started without the leg that knew the name.
func ruleSourceForgot(c *compareInput) bool { return c.minePartial && !c.peerPartial }

func ruleBehindHistory(c *compareInput) bool { return c.inPeerHistory(c.mine.Current) }

func mirror(f func(*compareInput) bool) func(*compareInput) bool {
	return func(c *compareInput) bool { return f(c.mirrored()) }
}

func anyCrashed(c *compareInput) bool { return c.mineCrashed || c.peerCrashed }

// unsettled reports that after the loss of a Primary the two may differ, although their generation is the same.
func (c *compareInput) unsettled() bool { return c.mineOpen || c.peerOpen || c.mineWeak || c.peerWeak }

// bothMoved reports that within this generation both have taken over what others hold, and one may have other blocks than the other.
func (c *compareInput) bothMoved() bool {
	return c.several && c.mine.Bitmap != 0 && c.peer.Bitmap != 0 && (c.mine.Bitmap == c.mine.Current || c.peer.Bitmap == c.peer.Current)
}

// standing orders two nodes that may differ: one that crashed has less than one that did not, one that noticed the loss of the
// Primary may have more than one that had nothing under way.
func standing(open, weak, crashed bool) int {
	switch {
	case weak:
		return 0
	case crashed:
		return 1
	case open:
		return 3
	}
	return 2
}

func ruleMineStands(c *compareInput) bool {
	return c.sameCurrent() && standing(c.mineOpen, c.mineWeak, c.mineCrashed) > standing(c.peerOpen, c.peerWeak, c.peerCrashed)
}

// Rules is the table of DRBD's drbd_uuid_compare, in order. Rules 40 and 41 occupy several rows.
var Rules = []Rule{
	{10, "both just created", func(c *compareInput) bool {
		return c.mine.Current == JustCreated && c.peer.Current == JustCreated
	}, NoSync, repairNone},
	{20, "I have never seen data", ruleFresh, -2, repairNone},
	{30, "the peer has never seen data", mirror(ruleFresh), 2, repairNone},
	{34, "same data, I missed the end of the resync", ruleEndMissed, 1, repairMineEnd},
	{36, "same generation, only I collect changes", ruleMineCollects, 1, repairNone},
	{35, "same data, the peer missed the end of the resync", mirror(ruleEndMissed), -1, repairPeerEnd},
	{37, "same generation, only the peer collects changes", mirror(ruleMineCollects), -1, repairNone},
	{38, "same generation, both collect changes, I go first", func(c *compareInput) bool {
		return ruleBothCollect(c) && c.mineGoesFirst()
	}, 1, repairNone},
	{38, "same generation, both collect changes, the peer goes first", ruleBothCollect, -1, repairNone},
	{40, "same generation, nobody crashed", func(c *compareInput) bool {
		return c.sameCurrent() && !anyCrashed(c) && !c.unsettled() && !c.bothMoved()
	}, NoSync, repairNone},
	{41, "a Primary crashed, both are Primary", func(c *compareInput) bool {
		return c.sameCurrent() && c.minePrimary && c.peerPrimary
	}, SplitBrain, repairNone},
	{41, "a Primary crashed, I am Primary", func(c *compareInput) bool {
		return c.sameCurrent() && c.minePrimary
	}, 1, repairNone},
	{41, "a Primary crashed, the peer is Primary", func(c *compareInput) bool {
		return c.sameCurrent() && c.peerPrimary
	}, -1, repairNone},
	{40, "only I crashed as Primary", func(c *compareInput) bool {
		return c.sameCurrent() && c.mineCrashed && !c.peerCrashed && !c.survivors
	}, 1, repairNone},
	{40, "only the peer crashed as Primary", func(c *compareInput) bool {
		return c.sameCurrent() && c.peerCrashed && !c.mineCrashed && !c.survivors
	}, -1, repairNone},
	{40, "both crashed as Primary, I break the tie", func(c *compareInput) bool {
		return c.sameCurrent() && c.mineCrashed && c.tieBreaker && !c.survivors
	}, -1, repairNone},
	{40, "both crashed as Primary, the peer breaks the tie", func(c *compareInput) bool {
		return c.sameCurrent() && c.mineCrashed && !c.survivors
	}, 1, repairNone},
	{42, "a Primary was lost, I have more of its last writes", ruleMineStands, 1, repairNone},
	{42, "a Primary was lost, the peer has more of its last writes", mirror(ruleMineStands), -1, repairNone},
	{42, "a Primary was lost, I break the tie", func(c *compareInput) bool {
		return c.sameCurrent() && c.tieBreaker
	}, -1, repairNone},
	{42, "a Primary was lost, the peer breaks the tie", (*compareInput).sameCurrent, 1, repairNone},
	{50, "my generation is the one the peer collects changes since", ruleBehindBitmap, -1, repairNone},
	{51, "the peer's start of resync did not reach me", ruleStartLost, -1, repairPeerStart},
	{60, "my generation is in the peer's history", ruleBehindHistory, -2, repairNone},
	{70, "the peer's generation is the one I collect changes since", mirror(ruleBehindBitmap), 1, repairNone},
	{71, "my start of resync did not reach the peer", mirror(ruleStartLost), 1, repairMineStart},
	{80, "the peer's generation is in my history", mirror(ruleBehindHistory), 2, repairNone},
	{81, "I am in the middle of a resync that the peer does not know any more", ruleSourceForgot, -2, repairNone},
	{82, "the peer is in the middle of a resync that I do not know any more", mirror(ruleSourceForgot), 2, repairNone},
	{90, "both went on from the same generation", func(c *compareInput) bool {
		return c.mine.Bitmap == c.peer.Bitmap && c.mine.Bitmap != 0
	}, SplitBrainAuto, repairNone},
	{100, "histories meet further back", (*compareInput).historiesMeet, SplitBrain, repairNone},
	{0, "unrelated data", func(*compareInput) bool { return true }, Unrelated, repairNone},
}

// compare runs the table and returns the row that decided.
func compare(c *compareInput) *Rule {
	in := *c
	in.mine.mask()
	in.peer.mask()
	for i := range Rules {
		if Rules[i].When(&in) {
			return &Rules[i]
		}
	}
	panic("the last rule always holds")
}

func (g *GI) mask() {
	g.Current &= uuidMask
	g.Bitmap &= uuidMask
	for i := range g.History {
		g.History[i] &= uuidMask
	}
}

// pushHistory remembers a former generation; zero and repetitions are not kept. One that has been remembered before moves to the
// front: between several nodes the same ones come again and again, and would push out those that a node long away still has. The
// first two stay what DRBD has there.
func pushHistory(h *[HistoryLen]uint64, uuid uint64, used func(uint64) bool) {
	if uuid == 0 || h[0]&uuidMask == uuid&uuidMask {
		return
	}
	at := leastNeeded(h, uuid, used)
	copy(h[1:], h[:at])
	h[0] = uuid
}

// keepHistory remembers a former generation behind the first two, if it is not there yet.
func keepHistory(h *[HistoryLen]uint64, uuid uint64, used func(uint64) bool) {
	if at := leastNeeded(h, uuid, used); uuid != 0 && h[0]&uuidMask != uuid&uuidMask && h[at]&uuidMask != uuid&uuidMask && at > 1 {
		moveBehindFirst(h, uuid, at)
	}
}

// leastNeeded is the place in a history that a generation takes: where it is already or nothing is yet, else that of the oldest
// that is not in use. The name of a resync goes before any generation that data was written in: only a target in the middle of that
// resync has it, and the source uses it, or has forgotten it and copies everything (rule 81).
func leastNeeded(h *[HistoryLen]uint64, uuid uint64, used func(uint64) bool) int {
	for at := 1; at < HistoryLen; at++ {
		if h[at] == 0 || h[at]&uuidMask == uuid&uuidMask {
			return at
		}
	}
	for _, namesOnly := range []bool{true, false} {
		for at := HistoryLen - 1; at > 1; at-- {
			if !used(h[at]) && (!namesOnly || namesResync(h, h[at])) {
				return at
			}
		}
	}
	return HistoryLen - 1
}

// namesResync reports a generation that takes another of the history further; see startSource.
func namesResync(h *[HistoryLen]uint64, uuid uint64) bool {
	for _, x := range h {
		if x != 0 && (x+syncUUIDOffset)&uuidMask == uuid&uuidMask {
			return true
		}
	}
	return false
}

// sameOrigin reports that two generations are the same but for how often a resync has taken one of them further; see startSource.
func sameOrigin(a, b uint64) bool {
	const origin = (syncUUIDOffset - 1) & uuidMask
	return a&origin == b&origin
}

// popHistory removes and returns the youngest former generation.
func popHistory(h *[HistoryLen]uint64) uint64 {
	uuid := h[0]
	copy(h[:HistoryLen-1], h[1:])
	h[HistoryLen-1] = 0
	return uuid
}

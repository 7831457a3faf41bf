package engine

import "testing"

const (
	tC, tB, tH0, tH1       = uint64(0x1000), uint64(0x2000), uint64(0x3000), uint64(0x4000)
	tX, tX1, tX2, tX3      = uint64(0x9000), uint64(0xa000), uint64(0xb000), uint64(0xc000)
	tOff                   = syncUUIDOffset
	crashedMine, crashPeer = 1, 2
	primaryMine, primPeer  = 4, 8
	tie                    = 16
	openMine, openPeer     = 32, 64
	weakMine, weakPeer     = 128, 256
	survivors, collected   = 512, 1024
	partMine, partPeer     = 2048, 4096
	follow                 = 8192
)

func gi(c, b, h0, h1 uint64) GI {
	g := GI{Current: c, Bitmap: b}
	g.History[0], g.History[1] = h0, h1
	return g
}

func verdict(mine, peer GI, flags int) (Verdict, int) {
	r := compare(&compareInput{
		mine: mine, peer: peer, historyLen: 2, tieBreaker: flags&tie != 0,
		mineCrashed: flags&crashedMine != 0, peerCrashed: flags&crashPeer != 0,
		minePrimary: flags&primaryMine != 0, peerPrimary: flags&primPeer != 0,
		several: flags&(survivors|collected) != 0, survivors: flags&survivors != 0, collected: flags&collected != 0,
		minePartial: flags&partMine != 0, peerPartial: flags&partPeer != 0,
		bothFollow: flags&follow != 0,
		mineOpen:   flags&openMine != 0, peerOpen: flags&openPeer != 0,
		mineWeak: flags&weakMine != 0, peerWeak: flags&weakPeer != 0,
	})
	return r.Verdict, r.Number
}

// TestCompareRows has at least one case for every row of the table.
func TestCompareRows(t *testing.T) {
	fresh := gi(JustCreated, 0, 0, 0)
	plain, collecting := gi(tC, 0, tH0, tH1), gi(tC, tB, tH0, tH1)
	cases := []struct {
		name       string
		mine, peer GI
		flags      int
		want       Verdict
		rule       int
	}{
		{"both just created", fresh, fresh, 0, 0, 10},
		{"I am just created", fresh, plain, 0, -2, 20},
		{"I am zero", gi(0, 0, 0, 0), plain, 0, -2, 20},
		{"peer just created", plain, fresh, 0, 2, 30},
		{"peer zero", plain, gi(0, 0, 0, 0), 0, 2, 30},
		{"I missed the end", gi(tC, tB, tH0, tH1), gi(tC, 0, tB, tH0), 0, 1, 34},
		{"only I collect", collecting, gi(tC, 0, tH0, tH1), 0, 1, 36},
		{"only I collect, and both follow a Primary", collecting, gi(tC, 0, tH0, tH1), survivors | follow, 0, 40},
		{"only the peer collects, and both follow a Primary", gi(tC, 0, tH0, tH1), collecting, survivors | follow, 0, 40},
		{"peer missed the end", gi(tC, 0, tB, tH0), gi(tC, tB, tH0, tH1), 0, -1, 35},
		{"only the peer collects", plain, gi(tC, tX, tH0, tH1), 0, -1, 37},
		{"equal and clean", plain, plain, 0, 0, 40},
		{"equal and clean, both collect", collecting, gi(tC, tX, tH0, tH1), 0, 0, 40},
		{"both collect, I am Primary", collecting, gi(tC, tX, tH0, tH1), collected | primaryMine, 1, 38},
		{"both collect, the peer is Primary", collecting, gi(tC, tX, tH0, tH1), collected | primPeer | tie, -1, 38},
		{"both collect, I break the tie", collecting, gi(tC, tX, tH0, tH1), collected | tie, -1, 38},
		{"both collect, the peer breaks the tie", collecting, gi(tC, tX, tH0, tH1), collected, 1, 38},
		{"both collect, a Primary was lost", collecting, gi(tC, tX, tH0, tH1), collected | openMine, 1, 42},
		{"was-Primary bit is ignored", gi(tC|1, 0, tH0, tH1), plain, 0, 0, 40},
		{"crashed, both Primary", plain, plain, crashedMine | primaryMine | primPeer, SplitBrain, 41},
		{"crashed, I am Primary", plain, plain, crashPeer | primaryMine, 1, 41},
		{"crashed, peer is Primary", plain, plain, crashedMine | primPeer, -1, 41},
		{"I crashed", plain, plain, crashedMine, 1, 40},
		{"peer crashed", plain, plain, crashPeer, -1, 40},
		{"both crashed, I break the tie", plain, plain, crashedMine | crashPeer | tie, -1, 40},
		{"both crashed, peer breaks the tie", plain, plain, crashedMine | crashPeer, 1, 40},
		{"only I had writes under way", plain, plain, openMine, 1, 42},
		{"only the peer had writes under way", plain, plain, openPeer, -1, 42},
		{"I crashed as Secondary", plain, plain, weakMine, -1, 42},
		{"the peer crashed as Secondary, writes under way or not", plain, plain, weakPeer | openPeer, 1, 42},
		{"both had writes under way, I break the tie", plain, plain, openMine | openPeer | tie, -1, 42},
		{"both crashed as Secondary, the peer breaks the tie", plain, plain, weakMine | weakPeer, 1, 42},
		{"of several both collect since an older generation", collecting, gi(tC, tX, tH0, tH1), survivors, 0, 40},
		{"of several both have moved within it, I break the tie", gi(tC, tC, tH0, tH1), gi(tC, tC, tX, tH0), survivors | tie, -1, 42},
		{"of several one has moved within it", gi(tC, tC, tH0, tH1), gi(tC, tX, tH0, tH1), survivors, 1, 42},
		{"of two a bitmap that names the generation says nothing", gi(tC, tC, tH0, tH1), gi(tC, tC, tH0, tH1), 0, 0, 40},
		{"the Primary's own crash goes before", plain, plain, crashedMine | openPeer, 1, 40},
		{"with mode C a survivor goes before the crashed Primary", plain, plain, crashPeer | survivors, 1, 42},
		{"a crashed Primary goes before a crashed Secondary", plain, plain, crashPeer | weakMine | survivors, -1, 42},
		{"writes under way, another generation", plain, gi(tX, tC, tH0, tH1), openMine, -1, 50},
		{"my current is the peer's bitmap", plain, gi(tX, tC, tH0, tH1), 0, -1, 50},
		{"the same with bit 0 in both", gi(tC|1, 0, tH0, tH1), gi(tX|1, tC|1, tH0, tH1), 0, -1, 50},
		{"peer's start was lost", plain, gi(tX, tC+tOff, tC, tH0), 0, -1, 51},
		{"my current in the peer's history, recent", plain, gi(tX, tX1, tC, tH0), 0, -2, 60},
		{"my current in the peer's history, old", plain, gi(tX, tX1, tX2, tC), 0, -2, 60},
		{"the peer's current is my bitmap", collecting, gi(tB, 0, tH0, tH1), 0, 1, 70},
		{"my start was lost", gi(tX, tC+tOff, tC, tH0), gi(tC, 0, tH0, tH1), 0, 1, 71},
		{"the peer's current in my history", collecting, gi(tH0, 0, tH1, 0), 0, 2, 80},
		{"the peer's current in my history, old", collecting, gi(tH1, 0, tX, 0), 0, 2, 80},
		{"my resync is forgotten", gi(tX, 0, 0, 0), plain, partMine, -2, 81},
		{"the peer's resync is forgotten", plain, gi(tX, 0, 0, 0), partPeer, 2, 82},
		{"both are in the middle of a resync", gi(tX, 0, 0, 0), gi(tX1, 0, 0, 0), partMine | partPeer, Unrelated, 0},
		{"both went on", collecting, gi(tX, tB, tH0, tH1), 0, SplitBrainAuto, 90},
		{"histories meet", collecting, gi(tX, tX1, tH1, tX2), 0, SplitBrain, 100},
		{"nothing in common", collecting, gi(tX, tX1, tX2, tX3), 0, Unrelated, 0},
	}
	hit := map[int]bool{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v, rule := verdict(c.mine, c.peer, c.flags)
			if v != c.want || rule != c.rule {
				t.Errorf("verdict %d by rule %d, want %d by rule %d", v, rule, c.want, c.rule)
			}
			hit[rule] = true
		})
	}
	for i := range Rules {
		if !hit[Rules[i].Number] {
			t.Errorf("no case for rule %d, %s", Rules[i].Number, Rules[i].Says)
		}
	}
}

// TestCompareIsMirrored: both sides of every pair of tuples come to opposite directions, or to the same refusal.
func TestCompareIsMirrored(t *testing.T) {
	var tuples []GI
	values := []uint64{0, JustCreated, tC, tB, tH0, tC + tOff}
	for _, c := range values {
		for _, b := range []uint64{0, tC, tB, tC + tOff} {
			for _, h := range []uint64{0, tC, tB, tH0} {
				tuples = append(tuples, gi(c, b, h, tH1))
			}
		}
	}
	for _, a := range tuples {
		for _, b := range tuples {
			if a.Current == 0 && b.Current == 0 {
				continue // metadata never has that
			}
			if past(&a, b.Current) && past(&b, a.Current) {
				continue // nobody descends from his descendant
			}
			for x := range 64 {
				flags, both := x&31, x>>5*collected
				v, rule := verdict(a, b, flags|both)
				w, _ := verdict(b, a, flags&1<<1|flags>>1&1|flags&4<<1|flags>>1&4|^flags&16|both)
				if v != -w && !(v == w && (v == SplitBrain || v == SplitBrainAuto || v == Unrelated)) {
					t.Fatalf("%x against %x flags %x: %d by rule %d, mirrored %d", a, b, flags|both, v, rule, w)
				}
			}
		}
	}
}

func TestClamp(t *testing.T) {
	cases := []struct {
		conn                           Conn
		mine, peer, wantMine, wantPeer Disk
	}{
		{WFBitMapT, UpToDate, UpToDate, Outdated, UpToDate},
		{WFBitMapT, Inconsistent, Outdated, Inconsistent, UpToDate},
		{WFSyncUUID, Consistent, UpToDate, Outdated, UpToDate},
		{SyncTarget, Outdated, UpToDate, Inconsistent, UpToDate},
		{SyncSource, Consistent, UpToDate, UpToDate, Inconsistent},
		{WFBitMapS, UpToDate, UpToDate, UpToDate, Consistent},
		{PausedSyncT, UpToDate, UpToDate, Outdated, UpToDate},
		{Ahead, UpToDate, UpToDate, UpToDate, Consistent},
		{Behind, UpToDate, UpToDate, Outdated, UpToDate},
		{VerifyS, UpToDate, Consistent, UpToDate, UpToDate},
		{StartingSyncT, UpToDate, UpToDate, Outdated, UpToDate},
		{StartingSyncS, UpToDate, UpToDate, UpToDate, Consistent},
		{Connected, Consistent, Outdated, UpToDate, UpToDate},
		{Connected, Outdated, Diskless, Outdated, Diskless},
		{Connected, Inconsistent, UpToDate, Inconsistent, UpToDate},
		{SyncSource, UpToDate, Diskless, UpToDate, Diskless},
		{WFConnection, Outdated, DUnknown, Outdated, DUnknown},
	}
	for _, c := range cases {
		if m, p := Clamp(c.conn, c.mine, c.peer); m != c.wantMine || p != c.wantPeer {
			t.Errorf("%v %v/%v: %v/%v, want %v/%v", c.conn, c.mine, c.peer, m, p, c.wantMine, c.wantPeer)
		}
	}
}

func TestClampIsStable(t *testing.T) {
	for c := range connMax {
		for m := range UpToDate + 1 {
			for p := range UpToDate + 1 {
				a, b := Clamp(c, m, p)
				if x, y := Clamp(c, a, b); x != a || y != b {
					t.Errorf("%v %v/%v: %v/%v, and once more %v/%v", c, m, p, a, b, x, y)
				}
			}
		}
	}
}

func past(g *GI, uuid uint64) bool {
	return uuid == g.Bitmap || uuid == g.History[0] || uuid == g.History[1]
}

// TestHistoryKeepsDifferentGenerations: what comes again moves to the front, and pushes nothing out; what is in use stays.
func TestHistoryKeepsDifferentGenerations(t *testing.T) {
	var h [HistoryLen]uint64
	used := func(uuid uint64) bool { return uuid == tX }
	push := func(uuid uint64) { pushHistory(&h, uuid, used) }
	push(tX)
	for range HistoryLen {
		push(tC)
		push(tB | 1)
		push(tC | 1)
		push(tB)
	}
	if want := [HistoryLen]uint64{tB, tC | 1, tX}; h != want {
		t.Errorf("%x, not %x", h, want)
	}
	for i := range uint64(HistoryLen) {
		push(tX1 + i<<1)
	}
	if h[0] != tX1+(HistoryLen-1)<<1 || h[HistoryLen-2] != tX1+2 || h[HistoryLen-1] != tX {
		t.Errorf("%x", h)
	}
	used = func(uint64) bool { return true }
	if push(tX2); h[0] != tX2 || h[HistoryLen-1] != tX1+2 {
		t.Errorf("%x: the oldest goes when all are in use", h)
	}
}

// TestHistoryForgetsResyncsFirst: the name of a resync goes before an older generation of data, and what is only kept stays behind
// the two that the rules compare.
func TestHistoryForgetsResyncsFirst(t *testing.T) {
	var h [HistoryLen]uint64
	none := func(uint64) bool { return false }
	pushHistory(&h, tX, none)
	pushHistory(&h, tB, none)
	pushHistory(&h, tB+syncUUIDOffset, none)
	for i := range uint64(HistoryLen - 2) {
		pushHistory(&h, tX1+i<<1, none)
	}
	if h[HistoryLen-1] != tX || h[HistoryLen-2] != tB {
		t.Errorf("%x: the name of the resync was to go", h)
	}
	young := [2]uint64{h[0], h[1]}
	keepHistory(&h, tC, none)
	if [2]uint64{h[0], h[1]} != young || h[2] != tC || h[HistoryLen-1] != tB {
		t.Errorf("%x: %x was to be in the third place, for the oldest", h, tC)
	}
	before := h
	if keepHistory(&h, tC|1, none); h != before {
		t.Errorf("%x, not %x: it was there", h, before)
	}
}

// TestTargetOfAForgottenResync: a source has been started without the leg that alone was told of the resync. The target is known by
// where the name of that comes from, and gets everything once the data here has been declared good; a stranger, and one with good
// data, are not.
func TestTargetOfAForgottenResync(t *testing.T) {
	const origin = JustCreated | 1
	for _, c := range []struct {
		name    string
		current uint64
		disk    Disk
		missing bool
		want    string
		conn    Conn
	}{
		{"its start", (origin + tOff) & uuidMask, Inconsistent, false, "uuid compare: 2 by rule 82", WFBitMapS},
		{"its second start", (origin + 2*tOff) & uuidMask, Inconsistent, false, "uuid compare: 2 by rule 82", WFBitMapS},
		{"the leg is still missing", (origin + tOff) & uuidMask, Inconsistent, true, "uuid compare: 2 by rule 82", StandAlone},
		{"good data", (origin + tOff) & uuidMask, UpToDate, false, "uuid compare: -1000 by rule 0", StandAlone},
		{"a stranger", tX, Inconsistent, false, "uuid compare: -1000 by rule 0", StandAlone},
	} {
		e := withPeers(t, 1)
		if c.missing {
			e.super.Flags |= SuperLegMissing
		}
		p := &e.peers[0]
		e.super.Rows[0].Bitmap = origin
		p.up, p.conn = true, WFReportParams
		e.describe(p, &p.sent)
		h := p.sent
		h.State.Disk, h.GI = c.disk, GI{Current: c.current}
		p.hello = &h
		e.out = nil
		e.handshake(p)
		said := ""
		for _, a := range e.out {
			if a.Kind == ActNotify && said == "" {
				said = a.Text
			}
		}
		if said != c.want || p.conn != c.conn {
			t.Errorf("%s: %q and %v", c.name, said, p.conn)
		}
		if full := e.bits[0].count == e.bits[0].bits; full != (c.conn == WFBitMapS) {
			t.Errorf("%s: everything is marked: %v", c.name, full)
		}
	}
}

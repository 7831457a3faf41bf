package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/meta"
)

var update = flag.Bool("update", false, "rewrite the transcripts")

// TestTranscripts plays the scripts in testdata. A script is a list of commands, each followed by "----" and by what
// happened; the nodes are a and b, blocks have numbers, and a block's content is the number of the write that put it there.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range scriptedRules {
		if !slices.Contains(files, filepath.Join("testdata", file)) {
			t.Errorf("%s is missing, the only one to reach some rule", file)
		}
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, cover := play(string(b))
			for row, file := range scriptedRules {
				if file == filepath.Base(name) && cover.Rules[row] == 0 {
					t.Errorf("not reached: rule %d (row %d): %s", engine.Rules[row].Number, row, engine.Rules[row].Says)
				}
			}
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(b) {
				t.Errorf("%s\ngives now\n%s", b, got)
			}
		})
	}
}

// player runs one script.
type player struct {
	s    *Sim
	out  strings.Builder
	last map[string]string
}

// play runs a script and returns it with the answers, and what its last world has reached.
func play(script string) (transcript string, cover *engine.Coverage) {
	p := &player{last: map[string]string{}}
	var whole strings.Builder
	skipping := false
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		switch {
		case line == "----":
			skipping = true
		case line == "":
			skipping = false
		case skipping:
		case strings.HasPrefix(line, "#"):
			whole.WriteString(line + "\n\n")
		default:
			p.out.Reset()
			p.run(strings.Fields(line))
			fmt.Fprintf(&whole, "%s\n----\n%s\n", line, p.out.String())
		}
	}
	return whole.String(), &p.s.Cover
}

func (p *player) say(format string, args ...any) { fmt.Fprintf(&p.out, format+"\n", args...) }

func name(n *node) string { return string(rune('a' + n.index)) }

func (p *player) node(name string) *node { return p.s.nodes[name[0]-'a'] }

// newWorld makes quiet nodes, two unless nodes= says otherwise; options are mode=, legs=, min-acks=, ahead, csums, zero-primaries=, one-primary=, rr= and ahead.
func (p *player) newWorld(options []string) {
	s := New(1, engine.MutationSet{})
	pr := profile{
		nodes: 2, legs: oneLeg, blocks: 16, spare: 16, extentBlocks: 8, alSlots: 2, alPages: 4, bitShift: 12, mode: engine.ModeC, minAcks: 1, depth: 4,
		diskJitter: 1, netBase: 100e3, netJitter: 1, tracker: true,
	}
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "mode":
			pr.mode = engine.Mode(strings.Index("ABC", value) + 1)
		case "nodes":
			pr.nodes, _ = strconv.Atoi(value)
		case "legs":
			count, _ := strconv.Atoi(value)
			pr.legs = [nodesMax]int{count, count, count, count}
		case "min-acks":
			pr.minAcks, _ = strconv.Atoi(value)
		case "ahead":
			pr.pullAhead = true
		case "csums":
			pr.csums = true
		case "0pri", "1pri", "2pri":
			pr.afterSB[key[0]-'0'] = policyNamed(value)
		case "rr":
			pr.rrConflict = policyNamed(value)
		}
	}
	*s = *New(1, engine.MutationSet{})
	s.rng = rand.New(rand.NewPCG(1, 1)) // whatever New has drawn
	s.heap, s.nodes, s.wires, s.prof, s.now = nil, nil, nil, pr, 0
	s.calm = true
	s.build()
	s.onNotify = p.notified
	s.onStep = p.step
	s.onComplete = func(n *node, a *engine.Action) { p.completed(n, a) }
	p.s = s
	for _, n := range s.nodes {
		n.blank(0)
		s.format(n)
		s.start(n)
	}
}

// step tells of every change of a link or disk state.
func (p *player) step(n *node) {
	if n.eng == nil {
		return
	}
	if len(p.s.nodes) == 2 {
		p.sayIfNew("step"+name(n), fmt.Sprintf("%s: %v %v", name(n), n.eng.Peer(0).Conn, n.eng.View().Disk))
		return
	}
	for _, o := range p.s.nodes {
		if o != n {
			p.sayIfNew("step"+name(n)+name(o), fmt.Sprintf("%s to %s: %v", name(n), name(o), n.eng.Peer(rowOf(n.index, o.index)).Conn))
		}
	}
	p.sayIfNew("step"+name(n), fmt.Sprintf("%s: %v", name(n), n.eng.View().Disk))
}

func (p *player) sayIfNew(key, text string) {
	if p.last[key] != text {
		p.last[key] = text
		p.say("%s", text)
	}
}

func (p *player) notified(n *node, row int, text string) {
	if len(p.s.nodes) > 2 && row >= 0 && row < len(p.s.nodes)-1 {
		p.say("%s to %s: %s", name(n), name(p.s.nodes[nodeOf(n.index, row)]), text)
		return
	}
	p.say("%s: %s", name(n), text)
}

func policyNamed(text string) engine.Policy {
	for q := range engine.Violently + 1 {
		if q.String() == text {
			return q
		}
	}
	panic("no such policy: " + text)
}

func (p *player) completed(n *node, a *engine.Action) {
	if !a.OK {
		p.say("%s: request %d fails", name(n), a.ID)
		return
	}
	if d, ok := a.Data.(*payload); ok {
		p.say("%s: read %d is %v", name(n), a.ID, d.vers)
		return
	}
	var who []string
	if a.Mask&engine.HostBit != 0 {
		who = append(who, name(n))
	}
	for j, o := range p.s.nodes {
		if j != n.index && a.Mask>>rowOf(n.index, j)&1 != 0 {
			who = append(who, name(o))
		}
	}
	p.say("%s: request %d is acknowledged, on %s", name(n), a.ID, strings.Join(who, " and "))
}

var operatorWords = map[string]engine.Command{
	"connect": engine.CmdConnect, "disconnect": engine.CmdDisconnect, "primary": engine.CmdPrimary,
	"secondary": engine.CmdSecondary, "invalidate": engine.CmdInvalidate, "invalidate-remote": engine.CmdInvalidatePeer,
	"outdate": engine.CmdOutdate, "detach": engine.CmdDetach, "verify": engine.CmdVerify, "pause": engine.CmdPauseSync,
	"resume": engine.CmdResumeSync, "resize": engine.CmdResize, "skip-sync": engine.CmdNewGeneration,
	"suspend-io": engine.CmdSuspendIO, "resume-io": engine.CmdResumeIO, "fence": engine.CmdFence,
	"verify-legs": engine.CmdVerifyLegs, "reset-tracker": engine.CmdTrackerReset,
}

func (p *player) run(f []string) {
	s := p.s
	switch f[0] {
	case "world":
		p.newWorld(f[1:])
		s = p.s
	case "wait":
	case "write", "read", "flush":
		p.request(f)
	case "cut":
		for _, w := range p.wires(f[1:]) {
			s.cutWire(w, 3)
			if c := w.conn; c != nil {
				s.closeSide(c, 0, true)
			}
		}
	case "heal":
		for _, w := range p.wires(f[1:]) {
			s.healWire(w)
		}
	case "slow": // a c: what a says reaches c late
		s.wire(p.node(f[1]).index, p.node(f[2]).index).stretch(p.node(f[1]).index, s.now+6e9)
	case "pass": // milliseconds
		ms, _ := strconv.Atoi(f[1])
		s.runFor(int64(ms) * 1e6)
		p.states()
		return
	case "crash":
		s.crash(p.node(f[1]), len(f) > 2 && f[2] == "power")
	case "start":
		s.start(p.node(f[1]))
	case "unplug":
		leg, _ := strconv.Atoi(f[2])
		p.node(f[1]).disks[leg].gone = true
	case "plug":
		leg, _ := strconv.Atoi(f[2])
		p.node(f[1]).disks[leg].gone = false
	case "add-leg": // a 1
		leg, _ := strconv.Atoi(f[2])
		s.addLeg(p.node(f[1]), leg)
	case "replace": // a 1: another disk is in the place of leg 1
		leg, _ := strconv.Atoi(f[2])
		n := p.node(f[1])
		n.disks[leg].gone = true
		s.command(n, engine.Event{Cmd: engine.CmdLegRemove, Leg: leg}, func(err engine.Err) { p.say("%s: remove: %v", f[1], err) })
		s.runFor(1e9)
		n.disks[leg] = s.newDisk(n)
		s.createLeg(n, leg, true)
	case "unreadable", "worn": // a 0 3: block 3 of leg 0 of node a
		c := p.cell(f)
		c.unreadable, c.worn = true, f[0] == "worn"
	case "rot": // a 0 3: block 3 of leg 0 of node a changes behind everybody's back
		b, _ := strconv.Atoi(f[3])
		c := p.cell(f)
		c.cur = s.rotten(b, c.cur)
		c.dur = c.cur
	case "torn", "rot-log", "rot-bitmap":
		p.damage(f)
	case "changed": // a: the blocks that its tracker has collected
		p.say("%s: changed %v", f[1], p.changed(p.node(f[1])))
	default:
		p.operator(f)
	}
	if f[len(f)-1] == "&" {
		return // the next command comes at once
	}
	s.runFor(6e9)
	p.states()
}

// wires are the paths between two nodes, or all of one.
func (p *player) wires(f []string) (list []*wire) {
	n := p.node(f[0])
	for _, w := range p.s.wires {
		if (w.a == n.index || w.b == n.index) && (len(f) < 2 || f[1] == "&" || w == p.s.wire(n.index, p.node(f[1]).index)) {
			list = append(list, w)
		}
	}
	return list
}

// damage changes metadata of a leg: "torn a 0 B" leaves of superblock B the first sector of a newer one, "rot-log a 0" and
// "rot-bitmap a 0" spoil the whole activity log and all bitmaps.
func (p *player) damage(f []string) {
	n := p.node(f[1])
	leg, _ := strconv.Atoi(f[2])
	d := n.disks[leg]
	pages, slots := d.md.pages(), p.s.slots(n)
	lo, hi := 0, slots
	switch f[0] {
	case "torn":
		lo = pages - 1 - strings.Index("AB", f[3])
		hi = lo + 1
	case "rot-log":
		lo, hi = slots, pages-2
	}
	for page := lo; page < hi; page++ {
		d.md.bytes[page*meta.PageSize+16]++ // the sequence number of each kind of page
	}
}

func (p *player) changed(n *node) (list []int) {
	for b := range p.s.prof.blocks {
		if n.eng.Dirty(trackerRow, uint64(b)) {
			list = append(list, b)
		}
	}
	return list
}

func (p *player) cell(f []string) *cell {
	leg, _ := strconv.Atoi(f[2])
	b, _ := strconv.Atoi(f[3])
	return &p.node(f[1]).disks[leg].cells[b]
}

func (p *player) request(f []string) {
	s, n := p.s, p.node(f[1])
	s.model.nextReq++
	ev := engine.Event{ID: s.model.nextReq}
	lo, count := 0, 1
	if len(f) > 2 {
		lo, _ = strconv.Atoi(f[2])
	}
	if len(f) > 3 {
		count, _ = strconv.Atoi(f[3])
	}
	ev.Off, ev.Len = uint64(lo)*blockSize, uint32(count)*blockSize
	switch f[0] {
	case "write":
		ev.Kind = engine.EvWrite
		q := &payload{}
		for range count {
			q.vers = append(q.vers, version(ev.ID))
		}
		ev.Data = q
	case "read":
		ev.Kind = engine.EvRead
	default:
		ev.Kind, ev.Len = engine.EvFlush, 0
	}
	s.step(n, &ev)
}

func (p *player) operator(f []string) {
	n := p.node(f[1])
	ev := engine.Event{Cmd: operatorWords[f[0]], Peer: 0}
	if ev.Cmd == engine.CmdTrackerReset {
		ev.Peer = trackerRow
	}
	for _, o := range f[2:] {
		switch {
		case len(o) == 1 && o[0] >= 'a' && int(o[0]-'a') < len(p.s.nodes):
			ev.Peer = rowOf(n.index, p.node(o).index)
		case o == "force" || o == "discard" || o == "clean":
			ev.Flag = true
		case o == "repair-from-local":
			ev.Value = uint64(engine.RepairFromLocal)
		case o == "repair-from-peer":
			ev.Value = uint64(engine.RepairFromPeer)
		case o == "repair-by-majority":
			ev.Value = uint64(engine.RepairByMajority)
		case strings.HasPrefix(o, "repair-from-leg-"):
			ev.Value, ev.Leg = uint64(engine.RepairFromLeg), int(o[len(o)-1]-'0')
		default:
			v, _ := strconv.ParseUint(o, 10, 64)
			ev.Value, ev.Leg = v, int(v)
			if f[0] == "resize" {
				ev.Value *= blockSize
			}
		}
	}
	p.s.command(n, ev, func(err engine.Err) { p.say("%s: %s: %v", name(n), f[0], err) })
}

// states prints what has changed.
func (p *player) states() {
	for _, n := range p.s.nodes {
		text := "down"
		if n.eng != nil {
			v := n.eng.View()
			text = fmt.Sprintf("%v/%v", v.Role, v.Disk)
			for _, o := range p.s.nodes {
				if o == n {
					continue
				}
				who := "peer"
				if len(p.s.nodes) > 2 {
					who = name(o)
				}
				q := n.eng.Peer(rowOf(n.index, o.index))
				text += fmt.Sprintf(", %s %v/%v, dirty %d", who, q.Conn, q.Disk, q.Dirty)
			}
			for i := range n.disks {
				if len(n.disks) > 1 {
					text += fmt.Sprintf(", leg %d in sync %v", i, v.Legs[i].InSync)
				}
			}
		}
		if p.last[name(n)] != text {
			p.last[name(n)] = text
			p.say("%s is %s", name(n), text)
		}
	}
}

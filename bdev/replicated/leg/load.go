package leg

import (
	"errors"
	"slices"

	"pollux/bdev/replicated/engine"
	"pollux/bdev/replicated/meta"
)

// ErrNoLeg says that no leg can be trusted: none is here, all of them missed writes, or two have gone separate ways.
var ErrNoLeg = errors.New("no leg can be trusted to have the newest data")

// Load is what an engine starts from.
func (s *Set) Load() (*engine.Loaded, error) {
	supers := make([]*engine.Super, len(s.Legs))
	for i, l := range s.Legs {
		if l != nil {
			supers[i] = l.super()
		}
	}
	best, up, stale, missing, ok := engine.ChooseLeg(supers, s.cfg.LegRow)
	if !ok {
		return nil, ErrNoLeg
	}
	md := &engine.Loaded{Super: *supers[best], Up: up, Stale: stale, Missing: missing}
	for i, l := range s.Legs {
		if l != nil {
			s.checkName(md, best, i)
		}
	}
	for i := range s.known {
		s.known[i] = s.Legs[best].store.Super.Peers[s.cfg.LegRow+i].Node
	}
	s.know(func(int) bool { return true })
	for _, l := range s.Legs {
		if l != nil {
			s.name(l)
		}
	}
	s.loadLog(md, best)
	s.loadBitmaps(md, best)
	return md, nil
}

// checkName finds a leg that the leg to start from has never seen: everything has to be copied to it. If that one takes it to
// be in sync, a leg is missing.
func (s *Set) checkName(md *engine.Loaded, best, i int) {
	row := s.cfg.LegRow + i
	if s.Legs[i].store.Super.Node == s.Legs[best].store.Super.Peers[row].Node {
		return
	}
	md.Missing = md.Missing || md.Super.Rows[row].Flags&engine.RowStale == 0
	md.Up, md.Stale = md.Up&^(1<<i), md.Stale|1<<i
	md.Super.Rows[row].Flags |= engine.RowFullSync
}

// others calls f with the legs that are in sync with the best one.
func (s *Set) others(md *engine.Loaded, best int, f func(*Leg)) {
	for i, l := range s.Legs {
		if i != best && md.Up>>i&1 != 0 && !engine.Switched(s.cfg, engine.MutOneLegMetadata) {
			f(l)
		}
	}
}

// loadLog takes what is hot. A slot in which the legs differ counts as free, and its extents as hot for the crash alone: who writes
// there needs a transaction, because after the next crash a leg that lacks it may be the only one that is in sync.
func (s *Set) loadLog(md *engine.Loaded, best int) {
	table, all := s.Legs[best].store.Hot()
	md.HotAll = all
	same := slices.Clone(table)
	tables := [][]uint32{table}
	s.others(md, best, func(l *Leg) {
		table, all := l.store.Hot()
		md.HotAll = md.HotAll || all
		for slot := range same {
			if slot >= len(table) || table[slot] != same[slot] {
				same[slot] = meta.ExtentFree
			}
		}
		tables = append(tables, table)
	})
	hot := map[uint32]bool{meta.ExtentFree: true}
	for slot, x := range same {
		if x != meta.ExtentFree {
			md.Hot = append(md.Hot, engine.ALUpdate{Slot: uint16(slot), Extent: x})
			hot[x] = true
		}
	}
	for _, x := range slices.Concat(tables...) {
		if !hot[x] {
			md.HotToo = append(md.HotToo, x)
			hot[x] = true
		}
	}
	if engine.Switched(s.cfg, engine.MutTrustBadLog) {
		md.HotAll = false
	}
}

func (s *Set) loadBitmaps(md *engine.Loaded, best int) {
	for row := range md.Bitmaps {
		if s.cfg.Rows[row].Kind == engine.KindNone {
			continue
		}
		words, bad, ok := s.Legs[best].bitmap(s.cfg, row)
		s.others(md, best, func(l *Leg) {
			more, alsoBad, there := l.bitmap(s.cfg, row)
			bad = bad || alsoBad || !slices.Equal(words, more)
			words, ok = merge(words, more), ok && there
		})
		if ok {
			md.Bitmaps[row] = words
		}
		if bad {
			md.Rewrite |= 1 << row
		}
	}
}

// bitmap reads the bitmap of a row; bad tells of damaged pages, ok is false if the row has no bitmap on this leg.
func (l *Leg) bitmap(cfg *engine.Config, row int) (words []uint64, bad, ok bool) {
	slot := l.store.Super.Peers[row].Slot
	if slot < 0 {
		return nil, false, false
	}
	words, pages := l.store.ReadBitmap(int(slot))
	if pages > 0 && engine.Switched(cfg, engine.MutTrustBadPage) {
		clear(words)
	}
	return words, pages > 0, true
}

// merge is the sum of two bitmaps.
func merge(a, b []uint64) []uint64 {
	if len(a) < len(b) {
		a, b = b, a
	}
	for i, w := range b {
		a[i] |= w
	}
	return a
}

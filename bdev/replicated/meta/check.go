package meta

import (
	"fmt"
	"io"
	"strings"
)

// Problem is one thing that check found. What costs only a resync is a warning.
type Problem struct {
	Fatal bool
	Text  string
}

// Check reads every page of the metadata and says what is wrong with it.
func (s *Store) Check() (problems []Problem) {
	for n, name := range []string{"A", "B"} {
		if s.copies[n] != nil {
			problems = append(problems, Problem{false, fmt.Sprintf("superblock %s: %v; the other one is used", name, s.copies[n])})
		}
	}
	if s.hotAll {
		problems = append(problems, Problem{false, "the activity log is damaged: after a crash everything is resynced"})
	}
	for slot := range s.Layout.Slots {
		if _, bad := s.ReadBitmap(slot); bad > 0 {
			problems = append(problems, Problem{false, fmt.Sprintf("bitmap slot %d: %d damaged pages count as all ones", slot, bad)})
		}
	}
	return problems
}

var superFlagNames = []string{"consistent", "up-to-date", "primary", "clean", "full-sync", "leg-missing"}

func flagNames(v uint32, names []string) string {
	var list []string
	for i, n := range names {
		if v>>i&1 != 0 {
			list = append(list, n)
		}
	}
	return strings.Join(list, ",")
}

// Dump prints metadata for a person; with all, every hot extent and every dirty bit too.
func Dump(w io.Writer, s *Store, all bool) {
	sb := &s.Super
	fmt.Fprintf(w, "format GREP v%d.%d, superblock %s, sequence %d\n", versionMajor, versionMinor, []string{"A", "B"}[s.copy], sb.Seq)
	fmt.Fprintf(w, "volume %x, disk %x, node %d\n", sb.Set, sb.Node, sb.NodeID)
	fmt.Fprintf(w, "size %d of %d bytes, block %d, one bit for %d bytes, external %v\n", sb.Size, sb.Capacity, sb.Block, 1<<sb.BMShift, sb.External)
	fmt.Fprintf(w, "flags %s, fencing epoch %d\n", flagNames(sb.Flags, superFlagNames), sb.Fence)
	fmt.Fprintf(w, "current %016X\n", sb.Current)
	for i, h := range sb.History {
		if h != 0 {
			fmt.Fprintf(w, "history[%d] %016X\n", i, h)
		}
	}
	fmt.Fprintf(w, "legs %016X\n", sb.LegGen)
	for i := range sb.Peers {
		p := &sb.Peers[i]
		if p.Kind == 0 && p.Bitmap == 0 {
			continue
		}
		fmt.Fprintf(w, "replica[%d] kind %d node %x bitmap %016X slot %d flags %#x", i, p.Kind, p.Node, p.Bitmap, p.Slot, p.Flags)
		if p.Slot >= 0 && int(p.Slot) < s.Layout.Slots {
			words, bad := s.ReadBitmap(int(p.Slot))
			fmt.Fprintf(w, " dirty %d of %d bits, %d bad pages", onesCount(words), (sb.Size+1<<sb.BMShift-1)>>sb.BMShift, bad)
		}
		fmt.Fprintln(w)
	}
	hot := 0
	for _, x := range s.table {
		if x != ExtentFree {
			hot++
		}
	}
	fmt.Fprintf(w, "activity log: transaction %d, %d of %d slots hot, trusted %v\n", s.last, hot, len(s.table), !s.hotAll)
	if all {
		s.dumpBits(w)
	}
}

// dumpBits prints what is hot and what is dirty, slot by slot.
func (s *Store) dumpBits(w io.Writer) {
	for _, x := range s.table {
		if x != ExtentFree {
			fmt.Fprintf(w, "hot extent %d\n", x)
		}
	}
	for slot := range s.Layout.Slots {
		words, _ := s.ReadBitmap(slot)
		printRuns(w, fmt.Sprintf("slot %d dirty bits", slot), words)
	}
}

package scsi

import "slices"

// attentionsMax is the number of different unit attention conditions that can be established; each waits at most once.
const attentionsMax = 9

// attentions are the unit attention conditions that wait for a nexus on a LUN (SAM-5 5.14), in the order in which they are
// reported. They belong to the nexus's reactor.
type attentions struct {
	list [attentionsMax]Sense
	n    int
}

// isReset reports whether s is one of the conditions that precede a reservation conflict (SAM-5 5.3.3).
func isReset(s Sense) bool { return s.ASC == 0x29 }

// add establishes s, once. A reset is reported before everything else, and only the latest one.
func (a *attentions) add(s Sense) {
	if a.holds(s) {
		return
	}
	if isReset(s) && a.n > 0 && isReset(a.list[0]) {
		a.list[0] = s
		return
	}
	if a.n == attentionsMax {
		panic("scsi: more unit attention conditions than there are kinds")
	}
	at := a.n
	if isReset(s) {
		at = 0
		copy(a.list[1:], a.list[:a.n])
	}
	a.list[at] = s
	a.n++
}

func (a *attentions) holds(s Sense) bool {
	return slices.Contains(a.list[:a.n], s)
}

// first is the condition to report next.
func (a *attentions) first() (Sense, bool) { return a.list[0], a.n > 0 }

// take clears the first condition.
func (a *attentions) take() {
	copy(a.list[:], a.list[1:a.n])
	a.n--
}

// drop clears s, if it waits.
func (a *attentions) drop(s Sense) {
	for i, o := range a.list[:a.n] {
		if o == s {
			copy(a.list[i:], a.list[i+1:a.n])
			a.n--
			return
		}
	}
}

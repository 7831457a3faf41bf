package reactor

import "slices"

// Poller is called once per pass. Poll does a bounded batch and says how much it did. Arm, if not nil, is asked before the
// reactor sleeps: it arranges a wake-up through the ring (an eventfd, say) and returns false if there is work already.
type Poller struct {
	Name string
	Poll func() int
	Arm  func() bool

	runs, busy uint64 // times called, and times it had something to do
}

// AddPoller has p polled from the next pass on (on r).
func (r *Reactor) AddPoller(p *Poller) {
	if slices.Contains(r.pollers, p) || slices.Contains(r.pollersNew, p) {
		panic("reactor: poller " + p.Name + " added twice")
	}
	r.pollersNew = append(r.pollersNew, p)
}

// RemovePoller ends the polling of p; it is not called any more, not even in this pass (on r).
func (r *Reactor) RemovePoller(p *Poller) {
	if i := slices.Index(r.pollers, p); i >= 0 {
		r.pollers[i] = nil // The list may be being walked; the next pass closes the gap.
		r.pollersGap = true
		return
	}
	r.pollersNew = slices.DeleteFunc(r.pollersNew, func(q *Poller) bool { return q == p })
}

// runPollers brings the list up to date and calls everything on it.
func (r *Reactor) runPollers() int {
	if r.pollersGap || len(r.pollersNew) > 0 {
		r.pollers = slices.DeleteFunc(r.pollers, func(p *Poller) bool { return p == nil })
		r.pollers = append(r.pollers, r.pollersNew...)
		r.pollersNew, r.pollersGap = nil, false
	}
	work := 0
	for _, p := range r.pollers {
		if p != nil {
			work += p.run()
		}
	}
	return work
}

func (p *Poller) run() int {
	p.runs++
	n := p.Poll()
	if n > 0 {
		p.busy++
	}
	return n
}

// armPollers asks every poller whether the reactor may sleep.
func (r *Reactor) armPollers() bool {
	for _, p := range r.pollers {
		if p != nil && p.Arm != nil && !p.Arm() {
			return false
		}
	}
	return len(r.pollersNew) == 0
}

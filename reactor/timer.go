package reactor

import "time"

// Timer calls its function once, on its reactor, when its time has come. It is embedded in its owner and bound once.
type Timer struct {
	r   *Reactor
	fn  func()
	at  int64  // Clock nanoseconds
	seq uint64 // among timers of one instant, the one started first runs first
	pos int    // place in the reactor's heap plus 1; 0 when not armed
}

// Bind gives the timer its reactor and function; Start arms it (again), Stop disarms it, Active tells (all on r).
func (t *Timer) Bind(r *Reactor, fn func()) { t.r, t.fn = r, fn }

// Start arms the timer to run d from now. An armed timer is moved.
func (t *Timer) Start(d time.Duration) {
	t.Stop()
	t.r.timerSeq++
	t.at, t.seq = t.r.Now()+max(0, int64(d)), t.r.timerSeq
	t.r.timers.push(t)
}

// Stop disarms the timer; its function will not be called.
func (t *Timer) Stop() {
	if t.pos != 0 {
		t.r.timers.remove(t.pos - 1)
	}
}

// Active reports whether the timer is armed.
func (t *Timer) Active() bool { return t.pos != 0 }

// before is the order in which timers run.
func (t *Timer) before(u *Timer) bool { return t.at < u.at || t.at == u.at && t.seq < u.seq }

// runTimers runs what is due. A timer that its own function starts again with no delay waits for the next pass.
func (r *Reactor) runTimers() int {
	if len(r.timers) == 0 {
		return 0
	}
	now, last, n := r.Now(), r.timerSeq, 0
	for len(r.timers) > 0 && r.timers[0].at <= now && r.timers[0].seq <= last && n < TimerBatch {
		t := r.timers[0]
		r.timers.remove(0)
		t.fn()
		n++
	}
	return n
}

// timerHeap is a binary heap whose elements know their place, so that stopping one is cheap.
type timerHeap []*Timer

func (h *timerHeap) push(t *Timer) {
	*h = append(*h, t)
	t.pos = len(*h)
	h.up(len(*h) - 1)
}

func (h *timerHeap) remove(i int) {
	old, last := *h, len(*h)-1
	old[i].pos = 0
	if i != last {
		old[i] = old[last]
		old[i].pos = i + 1
	}
	old[last] = nil
	*h = old[:last]
	if i != last {
		h.up(i)
		h.down(i)
	}
}

func (h timerHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h timerHeap) up(i int) {
	for i > 0 && h[i].before(h[(i-1)/2]) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h timerHeap) down(i int) {
	for {
		least := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < len(h) && h[c].before(h[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

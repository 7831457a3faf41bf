package scsi

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"pollux/bdev"
	"pollux/reactor"
)

// RemovalTimeout is how long the removal of a LUN waits for the block device to answer what it was given. Then the caller is told, and
// the removal goes on by itself: nobody sees the LUN any more, and the block device stays open until it has answered.
const RemovalTimeout = 10 * time.Second

// ErrUnanswered says that a block device has not answered in time, so that what was asked for is not done yet.
var ErrUnanswered = bdev.ErrUnanswered

// removal is a LUN on its way out. It is begun by the control plane and belongs to the LUN's home reactor then.
//
//	begin   no further changes, no nexus finds the LUN, its tasks are aborted      in one step, from the control plane
//	ended   every reactor's tasks have ended, and so has the change under way
//	shut    the channels close, then the desc; whoever waits is told
type removal struct {
	lun     *LUN
	left    int // of what this step waits for
	shut    bool
	over    bool
	there   []reactor.Message // to each reactor: close your channel
	back    []reactor.Message // from each reactor, twice
	waiters []func()
}

// RemoveLUN takes a LUN away: its tasks end, and when RemoveLUN returns without error nothing of it can reach the block device any more.
// With ErrUnanswered the LUN is no longer seen, and the rest is waited for in the background.
func (d *Device) RemoveLUN(number int) error {
	v, err := d.beginRemoval(func(l *LUN) bool { return l.number == number })
	if err == nil {
		err = v.await()
	}
	if err != nil {
		return fmt.Errorf("scsi device %s: lun %d: %w", d.name, number, err)
	}
	return nil
}

// beginRemoval takes the LUN out of the table and from all nexuses.
func (d *Device) beginRemoval(is func(*LUN) bool) (*removal, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	luns := d.table()
	i := slices.IndexFunc(luns, is)
	if i < 0 {
		return nil, ErrNotFound
	}
	v := newRemoval(luns[i])
	d.setTable(slices.Delete(luns, i, i+1))
	d.enter(v)
	return v, v.begin()
}

func newRemoval(l *LUN) *removal {
	reactors := l.device.group.Reactors()
	v := &removal{lun: l, there: make([]reactor.Message, len(reactors)), back: make([]reactor.Message, len(reactors))}
	for id := range reactors {
		v.back[id].Bind(v.ended)
		v.there[id].Bind(func() { l.paths[id].channel.Close(func() { l.home.Send(&v.back[id]) }) })
	}
	return v
}

// begin starts everything that has to end.
func (v *removal) begin() error {
	l := v.lun
	v.left = 1 + len(v.back)
	if err := l.home.Call(func() { l.closeChanges(v.ended) }); err != nil {
		return err
	}
	for id, r := range l.device.group.Reactors() {
		err := r.Call(func() { l.device.outposts[id].hide(l.paths[id], func() { l.home.Send(&v.back[id]) }) })
		if err != nil {
			return err
		}
	}
	return nil
}

// hide takes the LUN behind p away from the nexuses on this reactor, and ends its tasks (on the reactor). The path keeps its units until
// then: a fence that comes meanwhile waits for their tasks as well.
func (o *outpost) hide(p *path, done func()) {
	o.paths = slices.DeleteFunc(o.paths, func(x *path) bool { return x == p })
	left := 1
	ended := func() {
		left--
		if left == 0 {
			p.units = nil
			done()
		}
	}
	for _, u := range p.units {
		u.nexus.orphan(u)
		left++
		u.abortAll(abortRemoved, nil)
		u.endDrained(nil, ended)
	}
	o.lunsChanged()
	ended()
}

// ended counts what has ended (on home).
func (v *removal) ended() {
	v.left--
	switch {
	case v.left > 0:
	case !v.shut:
		v.shut = true
		v.left = len(v.there)
		for id, r := range v.lun.device.group.Reactors() {
			r.Send(&v.there[id])
		}
	default:
		v.finish()
	}
}

// finish closes the block device, and tells those who wait. It takes mutexes that are held for an instant; this is rare.
func (v *removal) finish() {
	v.over = true
	v.lun.closePTPL()
	v.lun.desc.Close()
	v.lun.device.left(v)
	for _, tell := range v.waiters {
		tell()
	}
	v.waiters = nil
}

// await waits until the removal is over, or RemovalTimeout. Control plane.
func (v *removal) await() error {
	home, ended := v.lun.home, false
	err := home.Do(func(done func()) {
		if v.over {
			ended = true
			done()
			return
		}
		var timer reactor.Timer
		at := len(v.waiters)
		timer.Bind(home, func() {
			v.waiters[at] = func() {}
			done()
		})
		timer.Start(RemovalTimeout)
		v.waiters = append(v.waiters, func() {
			timer.Stop()
			ended = true
			done()
		})
	})
	if err != nil || ended {
		return err
	}
	n, err := v.lun.unanswered()
	return errors.Join(err, fmt.Errorf("bdev %s keeps %d requests: %w after %v; the LUN is hidden, and goes when they are answered", v.lun.desc.Device().Name(), n, ErrUnanswered, RemovalTimeout))
}

// unanswered is how many tasks the block device has.
func (l *LUN) unanswered() (n int, err error) {
	err = l.device.group.Each(func(r *reactor.Reactor) {
		for _, u := range l.paths[r.ID()].units {
			for t := u.first; t != nil; t = t.next {
				if t.inDevice {
					n++
				}
			}
		}
	})
	return n, err
}

// onTheirWay are the removals that are not over.
func (d *Device) onTheirWay() []*removal {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.leaving)
}

// enter notes a removal that has begun.
func (d *Device) enter(v *removal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaving = append(d.leaving, v)
}

// left strikes out a removal that is over.
func (d *Device) left(v *removal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaving = slices.DeleteFunc(d.leaving, func(o *removal) bool { return o == v })
}

// Unanswered is how many tasks each block device of the device has, by the block device's name; those that have none are left out.
func (d *Device) Unanswered() (map[string]int, error) {
	luns := d.table()
	for _, v := range d.onTheirWay() {
		luns = append(luns, v.lun)
	}
	all := map[string]int{}
	for _, l := range luns {
		n, err := l.unanswered()
		if err != nil {
			return nil, err
		}
		if n > 0 {
			all[l.desc.Device().Name()] += n
		}
	}
	return all, nil
}

package engine

import "math/bits"

// metaQueue performs metadata writes one after another, so that what a later one contains includes the earlier.
type metaQueue struct {
	jobs    []*metaJob
	current *metaJob
	pending int
	failed  uint16
	alBusy  bool
}

// metaJob emits its writes when its turn comes; done is called when all are durable on at least one leg.
type metaJob struct {
	start  func()
	done   []func(ok bool)
	commit bool
}

// commit writes the superblock as it is when the write starts, and then calls done.
func (e *Engine) commit(done func(ok bool)) {
	q := &e.meta
	if n := len(q.jobs); n > 0 && q.jobs[n-1].commit {
		if done != nil {
			q.jobs[n-1].done = append(q.jobs[n-1].done, done)
		}
		return
	}
	job := &metaJob{commit: true, start: e.emitSuper}
	if done != nil {
		job.done = append(job.done, done)
	}
	q.jobs = append(q.jobs, job)
}

func (e *Engine) emitSuper() {
	if e.attachedLegs() != 0 {
		e.super.Seq++
		s := e.super
		e.emitMeta(Action{Kind: ActMetaSuper, Super: &s})
	}
}

// emitMeta is a write of the current job to all legs. The last of them may have gone since the job was queued: then there is
// nobody to answer, and nothing to wait for.
func (e *Engine) emitMeta(a Action) {
	if a.Mask = e.attachedLegs(); a.Mask != 0 {
		e.meta.pending++
		e.emit(a)
	}
}

// metaThen queues a job of another kind.
func (e *Engine) metaThen(start func(), done func(ok bool)) {
	e.meta.jobs = append(e.meta.jobs, &metaJob{start: start, done: []func(bool){done}})
}

func (e *Engine) runMeta() {
	q := &e.meta
	for q.current == nil && len(q.jobs) > 0 {
		q.current = q.jobs[0]
		q.jobs = q.jobs[1:]
		q.failed = 0
		q.current.start()
		if q.pending == 0 {
			e.finishMeta()
		}
	}
}

// metaDone ends one write of the current job.
func (e *Engine) metaDone(failed uint16) {
	q := &e.meta
	if q.current == nil || q.pending == 0 {
		panic("metadata write ended that was not under way")
	}
	q.failed |= failed
	if q.pending--; q.pending == 0 {
		e.finishMeta()
	}
}

func (e *Engine) finishMeta() {
	q := &e.meta
	job := q.current
	q.current = nil
	had := e.attachedLegs()
	bad := q.failed & had
	q.failed = 0
	if bad != 0 {
		for n := range e.cfg.Legs {
			if bad>>n&1 != 0 {
				e.legFailed(n)
			}
		}
		if e.attachedLegs() != 0 {
			// The legs that are left must know, before anybody relies on this job, that the others are behind.
			e.commit(func(ok bool) { job.finish(ok) })
			return
		}
	}
	job.finish(had == 0 || e.attachedLegs() != 0)
}

func (j *metaJob) finish(ok bool) {
	for _, f := range j.done {
		f(ok)
	}
}

// flushLegs flushes all attached legs and then calls done.
func (e *Engine) flushLegs(done func(ok bool)) {
	o := e.newOp(opSync)
	o.then = done
	e.legFlush(o)
}

// pageRef names one page of one row's bitmap.
type pageRef struct {
	row, page int
	words     []uint64
}

// writePages makes bitmap pages durable (M2) and then calls done. A page on which bits were cleared may only go out after
// the data that these stood for: the legs are flushed, and bits cleared since then stay set in what is written (M4).
func (e *Engine) writePages(pick func(row, page int) bool, done func(ok bool)) {
	e.metaThen(func() {
		refs, flush := e.pickPages(pick)
		if len(refs) == 0 {
			return
		}
		if !flush || e.mutated(MutEagerBitClear) || e.attachedLegs() == 0 {
			e.emitPages(refs)
			return
		}
		e.meta.pending++
		e.flushLegs(func(bool) {
			e.emitPages(refs)
			e.metaDone(0)
		})
	}, done)
}

func (e *Engine) pickPages(pick func(row, page int) bool) (refs []pageRef, flush bool) {
	for row, b := range e.bits {
		if b == nil {
			continue
		}
		for page := range b.added {
			if (b.added[page] || b.removed[page]) && pick(row, page) {
				refs = append(refs, pageRef{row, page, append([]uint64(nil), b.page(page)...)})
				flush = flush || b.removed[page]
				b.added[page], b.removed[page] = false, false
			}
		}
	}
	return refs, flush
}

func (e *Engine) emitPages(refs []pageRef) {
	for _, r := range refs {
		b := e.bits[r.row]
		if e.attachedLegs() == 0 || r.page >= len(b.added) {
			continue
		}
		now := b.page(r.page)
		if e.mutated(MutForgetClearedBits) {
			clear(r.words)
		}
		for i := range now {
			if i < len(r.words) && r.words[i]&^now[i] != 0 {
				b.removed[r.page] = true
			}
			if i < len(r.words) {
				r.words[i] |= now[i]
			} else {
				r.words = append(r.words, now[i])
			}
		}
		b.added[r.page] = false
		e.emitMeta(Action{Kind: ActMetaBitmap, Peer: r.row, Page: r.page, Words: r.words})
	}
}

// kickAL starts a transaction for those who wait for extents.
func (e *Engine) kickAL() {
	if e.meta.alBusy {
		return
	}
	e.grantExtents()
	if len(e.al.waiting) == 0 || !e.al.plan(e.extents) {
		return
	}
	e.meta.alBusy = true
	if !e.mutated(MutForgetEvictedOpen) {
		e.markEvictedOpen()
	}
	if len(e.al.evicted) == 0 || e.mutated(MutNoBitmapBeforeAL) {
		e.writeAL()
		return
	}
	e.writePages(e.evictedPage, func(bool) { e.writeAL() })
}

// evictedPage reports a page that has bits of an extent about to leave the activity log.
func (e *Engine) evictedPage(row, page int) bool {
	b := e.bits[row]
	if !b.added[page] {
		return false
	}
	lo, hi := uint64(page)*b.pageBits, (uint64(page)+1)*b.pageBits
	for _, x := range e.al.evicted {
		first := uint64(x) << e.cfg.ExtentShift >> e.cfg.BlockShift
		last := (uint64(x)+1)<<e.cfg.ExtentShift>>e.cfg.BlockShift - 1
		if first < hi && last >= lo {
			return true
		}
	}
	return false
}

// writeAL writes the transaction. If extents leave, all legs are flushed before any leg forgets them (M1): a leg whose own log has
// lost them has still got those of the others.
func (e *Engine) writeAL() {
	e.metaThen(func() {
		if len(e.al.evicted) == 0 || e.mutated(MutNoFlushBeforeEvict) {
			e.emitAL(e.al.pending)
			return
		}
		e.meta.pending++
		e.flushBeforeEvict(func(bool) {
			e.emitAL(e.al.pending)
			e.metaDone(0)
		})
	}, func(bool) {
		e.al.commit()
		e.meta.alBusy = false
		e.grantExtents()
		e.kickAL()
	})
}

// flushBeforeEvict flushes all legs, unless a switch lets one stand for all.
func (e *Engine) flushBeforeEvict(done func(ok bool)) {
	if mask := e.attachedLegs(); mask != 0 && e.mutated(MutFlushOneLeg) {
		o := e.newOp(opSync)
		o.then = done
		e.legIO(o, bits.TrailingZeros16(mask), ActLegFlush)
		return
	}
	e.flushLegs(done)
}

func (e *Engine) emitAL(updates []ALUpdate) {
	e.emitMeta(Action{Kind: ActMetaAL, AL: append([]ALUpdate(nil), updates...)})
}

// grantExtents lets go on, in order, those whose extents are hot.
func (e *Engine) grantExtents() {
	al := e.al
	for len(al.waiting) > 0 {
		o := al.waiting[0]
		lo, hi := e.extents(o)
		if !al.get(lo, hi) {
			return
		}
		al.waiting = al.waiting[1:]
		o.inAL = true
		e.proceed(o)
	}
}

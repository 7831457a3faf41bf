package sock_test

import (
	"bytes"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/reactor/reactortest"
	"pollux/reactor/sock"
	"pollux/reactor/uring"
)

// talker is a handler that a test looks into. It sends output from pool buffers and counts what becomes of them.
type talker struct {
	sock.Conn
	t      *testing.T
	r      *reactor.Reactor
	in     []byte
	output []byte // to be sent; piece by piece, each with a header of one byte (its length) before it
	lent   int    // buffers that OnSent has not brought back
	fills  int
	ends   []sock.Reason
	closed bool // Close was called: no method but Closed may come any more
	single bool // one piece per send
	onRecv func()
}

func newTalker(t *testing.T, r *reactor.Reactor, fd int) *talker {
	k := &talker{t: t, r: r}
	k.Open(r, fd, k)
	return k
}

func (k *talker) alive(method string) {
	if k.closed || len(k.ends) > 0 {
		k.t.Errorf("%s after the end", method)
	}
}

func (k *talker) Received(b []byte) {
	k.alive("Received")
	k.in = append(k.in, b...)
	if k.onRecv != nil {
		k.onRecv()
	}
}

func (k *talker) Fill() {
	k.alive("Fill")
	k.fills++
	for len(k.output) > 0 && k.Room(1, 1) {
		buf, ok := k.r.Buffers().Get(200)
		if !ok {
			k.t.Fatal("out of buffers")
		}
		n := copy(buf.Bytes()[:min(len(k.output), 200)], k.output)
		k.output = k.output[n:]
		k.Header(1)[0] = byte(n)
		k.Attach(buf.Bytes()[:n])
		k.lent++
		m := &reactor.Message{}
		m.Bind(func() { k.giveBack(buf) })
		k.OnSent(m)
		if k.single {
			if len(k.output) > 0 {
				k.Dirty()
			}
			return
		}
	}
}

func (k *talker) giveBack(buf iobuf.Buf) {
	if len(k.ends) > 0 {
		k.t.Error("OnSent message after Closed")
	}
	clear(buf.Bytes()) // Who still sends it would be found out.
	k.r.Buffers().Put(buf)
	k.lent--
}

func (k *talker) Closed(reason sock.Reason) {
	if k.lent != 0 {
		k.t.Errorf("Closed with %d buffers lent to the connection", k.lent)
	}
	k.ends = append(k.ends, reason)
}

func (k *talker) say(b []byte) {
	k.output = append(k.output, b...)
	k.Dirty()
}

// unframe takes the length bytes out again.
func unframe(t *testing.T, b []byte) (out []byte) {
	t.Helper()
	for len(b) > 0 {
		n := int(b[0])
		if n >= len(b) {
			return append(out, b[1:]...)
		}
		out = append(out, b[1:1+n]...)
		b = b[1+n:]
	}
	return out
}

// over asserts that nothing of any connection is left in w.
func over(t *testing.T, w *reactortest.World) {
	t.Helper()
	if n := w.OpenDescriptors(); n != 0 {
		t.Errorf("%d descriptors open", n)
	}
	if n := w.InFlight(); n != 0 {
		t.Errorf("%d operations in flight", n)
	}
	nothingLeft(t, w.Group)
}

func pattern(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// masks are the ways to receive.
var masks = []uring.Features{
	0, uring.FeatureBufferRingInc, uring.FeatureBufferRing, uring.FeatureRecvMultishot,
	uring.FeatureRecvMultishot | uring.FeatureBufferRingInc, uring.FeatureRecvMultishot | uring.FeatureBufferRing,
}

// Whatever the kernel's mood, bytes arrive whole and in order both ways, and every way to end leaves nothing behind.
func TestStreamsAndEndsBySeed(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 60
	}
	for seed := range reactortest.Seeds(seeds) {
		oneLife(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// oneLife runs a connection with everything chosen by seed.
func oneLife(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	w := reactortest.NewWithout(t, 1, masks[rng.IntN(len(masks))])
	defer w.Close()
	w.Seed(seed)
	fd, far := w.Connect()
	far.SetWindow(1 + rng.IntN(5000))
	k := newTalker(t, w.Reactors[0], fd)
	if k.single = rng.IntN(2) == 0; k.single {
		k.SendNow()
	}
	toTarget, toPeer := pattern(seed, rng.IntN(60_000)), pattern(seed+1, rng.IntN(60_000))
	sentIn, sentOut := 0, 0
	var got []byte
	steps := rng.IntN(400)
	for range steps {
		switch rng.IntN(6) {
		case 0:
			n := min(len(toTarget)-sentIn, rng.IntN(9000))
			far.Write(toTarget[sentIn : sentIn+n])
			sentIn += n
		case 1:
			n := min(len(toPeer)-sentOut, rng.IntN(9000))
			k.say(toPeer[sentOut : sentOut+n])
			sentOut += n
		case 2:
			got = append(got, far.ReadAtMost(rng.IntN(9000))...)
		case 3:
			k.Pause()
		case 4:
			k.Resume()
		default:
			w.Step(0)
		}
	}
	if !bytes.HasPrefix(toTarget, k.in) || !bytes.HasPrefix(toPeer, unframe(t, got)) {
		t.Error("bytes differ")
	}
	end(w, rng, k, far, func() int {
		b := far.Read()
		got = append(got, b...)
		return len(b)
	}, func() {
		if !bytes.Equal(unframe(t, got), toPeer[:sentOut]) {
			t.Errorf("%d bytes of output came, want %d", len(unframe(t, got)), sentOut)
		}
		if !bytes.Equal(k.in, toTarget[:sentIn]) {
			t.Errorf("%d bytes of input came, want %d", len(k.in), sentIn)
		}
	})
}

// end ends the connection in one of eight ways, and checks what must hold then. complete asserts that everything sent before
// has arrived.
func end(w *reactortest.World, rng *rand.Rand, k *talker, far *reactortest.Peer, drain func() int, complete func()) {
	var want sock.Reason
	way := rng.IntN(8)
	wander := func() {
		for range rng.IntN(20) {
			w.Step(0)
		}
	}
	if way < 5 {
		k.Resume()
	}
	switch way {
	case 0:
		k.Close()
		k.Close()
		k.closed = true
	case 1:
		far.Close()
		want = sock.ReasonEOF
	case 2:
		far.Reset()
		want = sock.ReasonReset
	case 3: // Everything flows to its end, and then we close.
		flow(w, far, drain)
		complete()
		k.CloseAfterSend()
		flow(w, far, drain)
		if !far.Ended() {
			k.t.Error("the peer was not told that the stream has ended")
		}
		far.Close()
	case 4: // The peer stops reading while there is output.
		flow(w, far, drain)
		far.SetWindow(0)
		k.say(make([]byte, 10))
		w.Advance(2 * sock.SendTimeout)
		want = sock.ReasonTimeout
	case 5: // Half closed with output on its way, and then we lose patience.
		k.CloseAfterSend()
		wander()
		far.Write([]byte("more"))
		wander()
		k.Close()
		k.closed = true
	case 6: // Moving away, and closed before that is done, or the descriptor is moved and closed elsewhere.
		moved := -1
		k.Detach(func(fd int, _ []byte) { moved = fd })
		wander()
		k.Close()
		flow(w, far, drain)
		if moved >= 0 {
			if len(k.ends) != 0 {
				k.t.Error("moved and closed both")
			}
			k = newTalker(k.t, k.r, moved)
			k.Close()
		}
	case 7: // Moving away from a peer that goes away, too.
		moved := -1
		k.Detach(func(fd int, _ []byte) { moved = fd })
		wander()
		far.Reset()
		w.Run()
		if moved < 0 || len(k.ends) != 0 {
			k.t.Fatalf("not moved: %d, ends %v", moved, k.ends)
		}
		k = newTalker(k.t, k.r, moved)
		want = sock.ReasonReset
	}
	w.Run()
	far.Read()
	if len(k.ends) != 1 || (k.ends[0] != want && (way != 1 || k.ends[0] != sock.ReasonReset)) {
		k.t.Errorf("way %d: Closed was called with %v, want %v", way, k.ends, want)
	}
	over(k.t, w)
}

// flow lets the world run, with a peer that reads, until nothing moves.
func flow(w *reactortest.World, far *reactortest.Peer, drain func() int) {
	far.SetWindow(100_000)
	for more := true; more; {
		w.Run()
		more = drain() > 0
	}
}

func TestDirtyManyTimesIsOneSend(t *testing.T) {
	w := reactortest.New(t, 1)
	fd, far := w.Connect()
	k := newTalker(t, w.Reactors[0], fd)
	for range 32 {
		k.say(make([]byte, 100))
	}
	w.Run()
	if s := sock.StatsOf(w.Reactors[0]); s.Sends != 1 || k.fills != 1 {
		t.Errorf("%d sends, %d fills, want one of each", s.Sends, k.fills)
	}
	if n := len(unframe(t, far.Read())); n != 3200 {
		t.Errorf("%d bytes arrived", n)
	}
	k.Close()
	w.Run()
	over(t, w)
}

// In one pass NowMax sends leave past the ring, and the next one through it; the rest goes on when that has ended. A socket that
// takes no more has what is left sent through the ring.
func TestSendsPastTheRing(t *testing.T) {
	for _, window := range []int{1 << 20, 1000} {
		w := reactortest.New(t, 1)
		fd, far := w.Connect()
		far.SetWindow(window)
		k := newTalker(t, w.Reactors[0], fd)
		k.single = true
		k.SendNow()
		const pieces = sock.NowMax + 10
		out := pattern(1, 200*pieces)
		k.say(out)
		w.Step(0)
		atOnce := min(sock.NowMax, window/201)
		if s := sock.StatsOf(w.Reactors[0]); k.fills != atOnce+1 || s.BytesSent < uint64(atOnce*201) {
			t.Errorf("window %d: %d fills, %d bytes in the first pass, want %d sends and one in the ring", window, k.fills, s.BytesSent, atOnce)
		}
		var got []byte
		for range pieces {
			w.Run()
			got = append(got, far.Read()...)
		}
		if !bytes.Equal(unframe(t, got), out) || k.fills != pieces || k.lent != 0 {
			t.Errorf("window %d: %d fills, %d buffers lent, bytes right: %v", window, k.fills, k.lent, bytes.Equal(unframe(t, got), out))
		}
		k.Close()
		w.Run()
		over(t, w)
	}
}

func TestFillIsAskedAgainForWhatHadNoRoom(t *testing.T) {
	w := reactortest.New(t, 1)
	fd, far := w.Connect()
	k := newTalker(t, w.Reactors[0], fd)
	out := pattern(1, 200*sock.IovecsMax) // twice what fits, as every piece takes a header and an iovec
	k.say(out)
	w.Run()
	if s := sock.StatsOf(w.Reactors[0]); s.Sends < 2 || k.fills < 2 {
		t.Errorf("%d sends, %d fills", s.Sends, k.fills)
	}
	if !bytes.Equal(unframe(t, far.Read()), out) {
		t.Error("bytes differ")
	}
	k.Close()
	w.Run()
	over(t, w)
}

// headers sends two neighbouring headers and one apart.
type headers struct{ talker }

func (h *headers) Fill() {
	if !h.Room(3, 1) {
		h.t.Error("no room in an empty send")
	}
	h.Header(1)[0] = 'a'
	h.Header(1)[0] = 'b'
	h.Attach(nil)
	buf, _ := h.r.Buffers().Get(1)
	h.Attach(append(buf.Bytes()[:0], 'c'))
	h.Header(1)[0] = 'd'
	m := &reactor.Message{}
	m.Bind(func() { h.r.Buffers().Put(buf) })
	h.OnSent(m)
}

func TestHeadersAndPayloadsLeaveInOrder(t *testing.T) {
	w := reactortest.New(t, 1)
	fd, far := w.Connect()
	h := &headers{talker{t: t, r: w.Reactors[0]}}
	h.Open(w.Reactors[0], fd, h)
	h.Dirty()
	w.Run()
	if got := string(far.Read()); got != "abcd" {
		t.Errorf("got %q", got)
	}
	h.Close()
	w.Run()
	over(t, w)
}

func TestPausedBytesComeAfterResume(t *testing.T) {
	w := reactortest.New(t, 1)
	fd, far := w.Connect()
	k := newTalker(t, w.Reactors[0], fd)
	k.onRecv = k.Pause
	far.Write([]byte("first"))
	w.Run()
	far.Write([]byte("second"))
	w.Run()
	if string(k.in) != "first" {
		t.Fatalf("received %q while paused", k.in)
	}
	if n := w.InFlight(); n != 0 {
		t.Fatalf("%d receives in flight while paused: the peer's window stays open", n)
	}
	k.onRecv = nil
	k.Resume()
	if string(k.in) != "first" {
		t.Fatal("Received was called inside Resume")
	}
	w.Run()
	if string(k.in) != "firstsecond" {
		t.Fatalf("received %q", k.in)
	}
	k.Close()
	w.Run()
	over(t, w)
}

func TestCloseAfterSendGivesUpOnAPeerThatStaysOpen(t *testing.T) {
	w := reactortest.New(t, 1)
	fd, far := w.Connect()
	k := newTalker(t, w.Reactors[0], fd)
	k.say([]byte("bye"))
	k.CloseAfterSend()
	w.Run()
	far.Write([]byte("more"))
	w.Run()
	if got := string(unframe(t, far.Read())); got != "bye" || !far.Ended() || len(k.in) != 0 || len(k.ends) != 0 {
		t.Fatalf("peer got %q, ended %v; received %q, ends %v", got, far.Ended(), k.in, k.ends)
	}
	w.Advance(sock.DrainTimeout)
	if len(k.ends) != 1 || k.ends[0] != sock.ReasonLocal {
		t.Fatalf("ends %v", k.ends)
	}
	over(t, w)
}

// A peer that says goodbye and half closes at once still gets its answer.
func TestLastOutputReachesAPeerThatHasHalfClosed(t *testing.T) {
	for seed := range reactortest.Seeds(50) {
		w := reactortest.New(t, 1)
		w.Seed(seed)
		fd, far := w.Connect()
		far.SetWindow(100)
		k := newTalker(t, w.Reactors[0], fd)
		k.onRecv = func() {
			k.say(pattern(seed, 2000))
			k.CloseAfterSend()
			far.CloseWrite()
		}
		far.Write([]byte("goodbye"))
		w.Run()
		var got []byte
		flow(w, far, func() int {
			b := far.Read()
			got = append(got, b...)
			return len(b)
		})
		if !bytes.Equal(unframe(t, got), pattern(seed, 2000)) {
			t.Fatalf("seed %d: %d bytes of the answer came", seed, len(got))
		}
		if len(k.ends) != 1 || k.ends[0] != sock.ReasonLocal {
			t.Fatalf("seed %d: ends %v", seed, k.ends)
		}
		over(t, w)
		w.Close()
	}
}

func TestDetachMovesBytesAndDescriptor(t *testing.T) {
	for seed := range reactortest.Seeds(200) {
		w := reactortest.New(t, 2)
		w.Seed(seed)
		fd, far := w.Connect()
		a := newTalker(t, w.Reactors[0], fd)
		var b *talker
		a.onRecv = func() {
			a.onRecv = nil
			a.Detach(func(fd int, rest []byte) {
				kept := bytes.Clone(rest)
				var m reactor.Message
				m.Bind(func() {
					b = newTalker(t, w.Reactors[1], fd)
					b.in = kept
				})
				w.Reactors[1].Send(&m)
			})
		}
		out := pattern(seed, 20_000)
		far.Write(out[:5000])
		for range seed % 50 {
			w.Run()
		}
		far.Write(out[5000:])
		w.Run()
		if b == nil || !bytes.Equal(append(a.in, b.in...), out) {
			t.Fatalf("seed %d: bytes were lost in the move", seed)
		}
		b.say([]byte("here"))
		w.Run()
		if got := string(unframe(t, far.Read())); got != "here" {
			t.Fatalf("seed %d: the peer got %q", seed, got)
		}
		far.Close()
		w.Run()
		if len(a.ends) != 0 || len(b.ends) != 1 {
			t.Fatalf("seed %d: ends %v and %v", seed, a.ends, b.ends)
		}
		over(t, w)
		w.Close()
	}
}

func TestErrorsOfTheSocketEndTheConnection(t *testing.T) {
	for _, op := range []uint8{uring.OpRecv, uring.OpSendmsg} {
		w := reactortest.New(t, 1)
		fd, far := w.Connect()
		k := newTalker(t, w.Reactors[0], fd)
		w.Run()
		w.Fail(func(o uint8, _ int) syscall.Errno {
			if o == op {
				return syscall.EIO
			}
			return 0
		})
		far.Write([]byte("x"))
		k.say([]byte("y"))
		w.Run()
		if len(k.ends) != 1 || k.ends[0] != sock.ReasonReset {
			t.Errorf("operation %d: ends %v", op, k.ends)
		}
		over(t, w)
	}
}

func TestTransientErrorsAreTriedAgain(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOBUFS, syscall.EINTR, syscall.EAGAIN} {
		w := reactortest.New(t, 1)
		fd, far := w.Connect()
		k := newTalker(t, w.Reactors[0], fd)
		fails := 5
		w.Fail(func(op uint8, _ int) syscall.Errno {
			if op != uring.OpRecv && op != uring.OpSendmsg || fails == 0 {
				return 0
			}
			fails--
			return errno
		})
		far.Write([]byte("in"))
		k.say([]byte("out"))
		w.Run()
		if string(k.in) != "in" || string(unframe(t, far.Read())) != "out" || len(k.ends) != 0 {
			t.Errorf("%v: received %q, ends %v", errno, k.in, k.ends)
		}
		far.Close()
		w.Run()
		over(t, w)
	}
}

// TestExhaustedReceiveRingStarvesNobody: many connections receive more at once than the reactor's buffers take. Each gets all its bytes in the
// end, in order, and none ends.
func TestExhaustedReceiveRingStarvesNobody(t *testing.T) {
	const conns, bytesEach = 100, 128 << 10
	w := reactortest.New(t, 1)
	var talkers []*talker
	var peers []*reactortest.Peer
	for range conns {
		fd, far := w.Connect()
		talkers, peers = append(talkers, newTalker(t, w.Reactors[0], fd)), append(peers, far)
	}
	w.Run()
	for round := range 2 {
		for i, far := range peers {
			far.Write(pattern(uint64(round*conns+i), bytesEach))
		}
		w.Run()
		for i, k := range talkers {
			if len(k.ends) > 0 || !bytes.Equal(k.in, pattern(uint64(round*conns+i), bytesEach)) {
				t.Fatalf("round %d: connection %d has %d bytes, ends %v", round, i, len(k.in), k.ends)
			}
			k.in = k.in[:0]
		}
	}
	if w.Exhausted() == 0 {
		t.Error("the buffers were never exhausted, so nothing was shown")
	}
	for _, far := range peers {
		far.Close()
	}
	w.Run()
	over(t, w)
}

func TestHotPathsAllocateNothing(t *testing.T) {
	w := reactortest.New(t, 1)
	r := w.Reactors[0]
	var message, deferred, flushed reactor.Message
	var timer reactor.Timer
	timer.Bind(r, func() {})
	message.Bind(func() {
		r.Defer(&deferred)
		r.AtPassEnd(&flushed)
		timer.Start(time.Second)
	})
	deferred.Bind(func() {})
	flushed.Bind(func() {})
	pass := func() { r.Send(&message); r.Step() }
	pass()
	if n := testing.AllocsPerRun(100, pass); n != 0 {
		t.Errorf("a pass with messages and a timer: %v allocations", n)
	}
	buffers := func() {
		b, _ := r.Buffers().Get(4096)
		r.Buffers().Put(b)
	}
	buffers()
	if n := testing.AllocsPerRun(100, buffers); n != 0 {
		t.Errorf("a buffer: %v allocations", n)
	}
}

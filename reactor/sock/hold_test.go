package sock_test

import (
	"testing"
	"time"

	"pollux/reactor/reactortest"
	"pollux/reactor/sock"
)

// answering is a talker that says a byte for each byte it hears, and holds its output back.
func answering(t *testing.T) (*reactortest.World, *talker, *reactortest.Peer) {
	w := reactortest.New(t, 1)
	fd, far := w.Connect()
	k := newTalker(t, w.Reactors[0], fd)
	k.HoldOutput()
	heard := 0
	k.onRecv = func() {
		for ; heard < len(k.in); heard++ {
			k.say(k.in[heard : heard+1])
		}
	}
	return w, k, far
}

// A peer that sends its requests one by one, and many before it has an answer, gets several answers in one send.
func TestBusyConnectionAnswersSeveralAtOnce(t *testing.T) {
	w, k, far := answering(t)
	const requests, apart = 1000, 3 * time.Microsecond
	before := sock.StatsOf(w.Reactors[0]).Sends
	for range requests {
		far.Write([]byte{1})
		w.Run()
		w.Advance(apart)
	}
	w.Advance(sock.HoldMax)
	if got := unframe(t, far.Read()); len(got) != requests {
		t.Fatalf("%d answers came, want %d", len(got), requests)
	}
	sends := sock.StatsOf(w.Reactors[0]).Sends - before
	if most := uint64(requests / (sock.HoldCount - 3)); sends > most {
		t.Errorf("%d sends for %d requests, want %d at most", sends, requests, most)
	}
	k.Close()
	w.Run()
	over(t, w)
}

// A peer that waits for each answer is almost never made to wait longer.
func TestHoldingIsGivenUpWhereItIsInVain(t *testing.T) {
	w, k, far := answering(t)
	const requests, roundTrip = 1000, 5 * time.Microsecond
	late := 0
	for range requests {
		far.Write([]byte{1})
		w.Run()
		if len(far.Read()) == 0 {
			late++
			w.Advance(sock.HoldMax)
			if len(far.Read()) == 0 {
				t.Fatal("an answer was held back for longer than HoldMax")
			}
		}
		w.Advance(roundTrip)
	}
	const attempts = 7 // 16 + 32 + ... + 1024 sends lie between them
	if late > attempts {
		t.Errorf("%d of %d answers were held back, want %d at most", late, requests, attempts)
	}
	k.Close()
	w.Run()
	over(t, w)
}

// Two requests in flight are answered one by one: holding them back would make the two ends take turns.
func TestShallowPeersAreAnsweredAtOnce(t *testing.T) {
	w, k, far := answering(t)
	const rounds, inFlight = 1000, 2
	late := 0
	for range rounds {
		for range inFlight {
			far.Write([]byte{1})
			w.Run()
		}
		if len(unframe(t, far.Read())) < inFlight {
			late++
			w.Advance(sock.HoldMax)
			far.Read()
		}
		w.Advance(5 * time.Microsecond)
	}
	const attempts = 9 // 16 + 32 + ... + 1024 sends lie between them
	if late > attempts {
		t.Errorf("in %d of %d rounds an answer was held back, want %d at most", late, rounds, attempts)
	}
	k.Close()
	w.Run()
	over(t, w)
}

// What is held back is lost with the connection, and nothing is left.
func TestConnectionEndsWhileItHoldsBack(t *testing.T) {
	for name, end := range map[string]func(k *talker, far *reactortest.Peer){
		"Close": func(k *talker, _ *reactortest.Peer) { k.closed = true; k.Close() },
		"reset": func(_ *talker, far *reactortest.Peer) { far.Reset() },
		"EOF":   func(_ *talker, far *reactortest.Peer) { far.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			w, k, far := answering(t)
			for range 2 {
				far.Write([]byte{1})
				w.Run()
			}
			end(k, far)
			w.Run()
			w.Advance(sock.HoldMax)
			over(t, w)
		})
	}
}

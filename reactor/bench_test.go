package reactor

import "testing"

// running is a reactor whose passes a benchmark makes, from a call on its own thread.
func running(b *testing.B) *Reactor {
	b.Helper()
	g, err := Start(Config{Cores: []int{-1}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(g.Stop)
	return g.Reactors()[0]
}

// BenchmarkIdlePass is what a pass costs that finds nothing: the reaction time of a polling reactor.
func BenchmarkIdlePass(b *testing.B) {
	r := running(b)
	b.ReportAllocs()
	_ = r.Call(func() {
		for b.Loop() {
			r.pass()
		}
	})
}

// BenchmarkMessage is a message from a reactor to itself, with the pass that runs it.
func BenchmarkMessage(b *testing.B) {
	r := running(b)
	var m Message
	m.Bind(func() {})
	b.ReportAllocs()
	_ = r.Call(func() {
		for b.Loop() {
			r.Send(&m)
			r.pass()
		}
	})
}

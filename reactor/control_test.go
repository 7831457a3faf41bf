package reactor

import (
	"errors"
	"testing"
)

// TestDoEndsWithTheReactor: who waits for something that will not come is told when the reactor has ended.
func TestDoEndsWithTheReactor(t *testing.T) {
	g, err := Start(Config{Cores: []int{-1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	r := g.Reactors()[0]
	begun, result := make(chan func()), make(chan error)
	go func() { result <- r.Do(func(done func()) { go func() { begun <- done }() }) }()
	done := <-begun
	g.Stop()
	if err := <-result; !errors.Is(err, ErrStopped) {
		t.Errorf("Do returns %v", err)
	}
	done() // Too late, and harmless.
	if err := r.Do(func(done func()) { done() }); !errors.Is(err, ErrStopped) {
		t.Errorf("Do on a reactor that has ended returns %v", err)
	}
}

// TestDoThatEndsBesideTheReactor: an end that came is not lost because the reactor has ended too.
func TestDoThatEndsBesideTheReactor(t *testing.T) {
	ended := make(chan struct{})
	close(ended)
	c := &call{done: make(chan struct{})}
	c.end()
	for range 100 { // select picks by chance
		if err := c.waitFor(ended); err != nil {
			t.Fatal(err)
		}
	}
}

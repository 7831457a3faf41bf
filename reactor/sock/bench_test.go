package sock_test

import (
	"fmt"
	"io"
	"testing"

	"pollux/reactor"
	"pollux/reactor/uring"
)

// BenchmarkEcho is one connection with a number of 48-byte requests in flight, answered by a reactor on the loopback device. It
// shows what coalescing is worth, and what the software ring costs.
func BenchmarkEcho(b *testing.B) {
	const request = 48
	for _, kernel := range []struct {
		name    string
		without uring.Features
	}{{"io_uring", 0}, {"software", uring.FeatureURing}} {
		for _, depth := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/depth=%d", kernel.name, depth), func(b *testing.B) {
				_, addr, _ := echoServer(b, reactor.Config{Cores: []int{-1}, Without: kernel.without})
				c := dial(b, addr)
				buf := make([]byte, request*depth)
				b.ReportAllocs()
				b.SetBytes(int64(len(buf)))
				for b.Loop() {
					if _, err := c.Write(buf); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(c, buf); err != nil {
						b.Fatal(err)
					}
				}
				_ = c.Close()
			})
		}
	}
}

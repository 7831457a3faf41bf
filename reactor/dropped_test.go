package reactor

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pollux/reactor/uring"
)

// refusing is a kernel that answers every enter with an error.
type refusing struct {
	uring.Kernel
	errno syscall.Errno
}

func (k refusing) Enter(*uring.Ring, uint32, bool, time.Duration) (int, syscall.Errno) {
	return 0, k.errno
}

// What a kernel refuses is submitted again later; completions that it has lost end the process, since their operations
// would be waited for without end.
func TestDroppedCompletionsAreNotWaitedFor(t *testing.T) {
	for errno, ends := range map[syscall.Errno]bool{
		unix.EAGAIN: false, unix.EBUSY: false, unix.EINTR: false, unix.ETIME: false, unix.EBADR: true,
	} {
		for name, enter := range map[string]func(*Reactor){
			"submit": func(r *Reactor) { r.enter() },
			"wait":   func(r *Reactor) { r.ringWait(time.Nanosecond) },
		} {
			r := &Reactor{ring: uring.NewRing(refusing{errno: errno}, 4, 4)}
			r.ring.SQE()
			said := said(func() { enter(r) })
			if ends != strings.Contains(said, "dropped completions") || r.ring.Prepared() != 1 {
				t.Errorf("%s, %v: %q, %d entries are prepared", name, errno, said, r.ring.Prepared())
			}
		}
	}
}

// said is what fn panics with.
func said(fn func()) (text string) {
	defer func() { text, _ = recover().(string) }()
	fn()
	return ""
}

package reactortest

import (
	"net/netip"
	"syscall"
	"time"

	"pollux/reactor/uring"
)

// kernel is a kernel that knows no descriptor.
type kernel struct{}

// Enter fails whatever was submitted.
func (k *kernel) Enter(q *uring.Ring, submit uint32, _ bool, _ time.Duration) (int, syscall.Errno) {
	for range submit {
		q.Post(uring.CQE{UserData: q.Take().UserData, Res: -int32(syscall.EBADF)})
	}
	return int(submit), 0
}

func (k *kernel) RegisterBuffers(*uring.BufRing) syscall.Errno { return syscall.EINVAL }
func (k *kernel) Features() uring.Features                     { return uring.FeatureURing }
func (k *kernel) Adopt(int) (local, remote netip.AddrPort)     { return }
func (k *kernel) Name() string                                 { return "simulated" }
func (k *kernel) Close()                                       {}

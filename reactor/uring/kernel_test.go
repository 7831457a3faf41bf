package uring

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onEach runs a test against every kernel that answers a ring here, on a thread of its own as a ring demands.
func onEach(t *testing.T, test func(t *testing.T, q *Ring)) {
	cfg := Config{SQEntries: 16, CQEntries: 32}
	plain := cfg
	plain.Without = FeatureDeferTaskrun | FeatureNoSQArray | FeatureBufferRingInc
	kernels := []struct {
		name string
		open func(Config) (*Ring, error)
		cfg  Config
	}{
		{"io_uring", Open, cfg},
		{"io_uring with fewer features", Open, plain},
		{"software", OpenSoft, cfg},
		{"software with fewer features", OpenSoft, plain},
	}
	for _, k := range kernels {
		t.Run(k.name, func(t *testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				runtime.LockOSThread() // A ring belongs to one thread; it ends with the goroutine.
				q, err := k.open(k.cfg)
				if err != nil {
					t.Error(err) // Skipping would hide it where it matters.
					return
				}
				defer q.Close()
				test(t, q)
			}()
			<-done
		})
	}
}

// next waits for one completion.
func next(t *testing.T, q *Ring) CQE {
	for range 1000 {
		if q.Ready() > 0 {
			c := q.CQE(0)
			q.Seen(1)
			return c
		}
		if _, errno := q.Wait(10 * time.Second); errno != 0 && errno != unix.EINTR && errno != unix.ETIME {
			t.Errorf("wait: %v", errno)
		}
	}
	t.Error("no completion")
	runtime.Goexit()
	return CQE{}
}

// wants asserts the result of the next completion.
func wants(t *testing.T, q *Ring, userData uint64, res int32) CQE {
	t.Helper()
	c := next(t, q)
	if c.UserData != userData || c.Res != res {
		t.Errorf("completion %+v, want user data %d, result %d", c, userData, res)
	}
	return c
}

func submit(q *Ring, userData uint64) *SQE {
	e := q.SQE()
	e.UserData = userData
	return e
}

// page is memory for the kernel.
func page(t *testing.T, n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	if err != nil {
		t.Error(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return b
}

func TestFileOperations(t *testing.T) {
	onEach(t, func(t *testing.T, q *Ring) {
		f, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = f.Close() }()
		fd := int(f.Fd())
		mem := page(t, 8192)
		copy(mem, "hello")
		submit(q, 1).Write(fd, mem[:5], 3)
		wants(t, q, 1, 5)
		submit(q, 2).Read(fd, mem[100:200], 0)
		wants(t, q, 2, 8)
		if got := mem[100:108]; !bytes.Equal(got, []byte("\x00\x00\x00hello")) {
			t.Errorf("read %q", got)
		}
		iov := IovecsAt(mem[4096:])[:2]
		iov[0].Set(mem[:2])
		iov[1].Set(mem[3:5])
		submit(q, 3).Writev(fd, iov, 0, 0)
		wants(t, q, 3, 4)
		iov[0].Set(mem[300:303])
		iov[1].Set(mem[400:500])
		submit(q, 4).Readv(fd, iov, 0, 0)
		wants(t, q, 4, 8)
		if got := string(mem[300:303]) + string(mem[400:405]); got != "heloello" {
			t.Errorf("read %q", got)
		}
		submit(q, 5).Fsync(fd, true)
		wants(t, q, 5, 0)
		submit(q, 6).Fallocate(fd, 0, 0, 10_000)
		wants(t, q, 6, 0)
		if info, err := f.Stat(); err != nil || info.Size() != 10_000 {
			t.Errorf("after fallocate: %v, %v", info.Size(), err)
		}
		submit(q, 7).Read(-1, mem[:10], 0)
		wants(t, q, 7, -int32(unix.EBADF))
		submit(q, 8).Write(fd, mem[:10], -5)
		wants(t, q, 8, -int32(unix.EINVAL))
	})
}

// pair is two connected sockets.
func pair(t *testing.T) (a, b int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		runtime.Goexit()
	}
	return fds[0], fds[1]
}

func TestReceiveIntoProvidedBuffers(t *testing.T) {
	onEach(t, func(t *testing.T, q *Ring) {
		const size, count = 4096, 2
		a, b := pair(t)
		inc := q.Kernel().Features().Has(FeatureBufferRingInc)
		bufs, err := q.NewBufRing(3, page(t, size*count), count, inc)
		if err != nil {
			t.Error(err)
			return
		}
		submit(q, 1).RecvSelect(a, 3, true)
		var out, in []byte
		for i := range 50 { // More than the buffers hold, so that each comes back several times.
			piece := bytes.Repeat([]byte{byte(i)}, 1000)
			out = append(out, piece...)
			if n, err := unix.Write(b, piece); n != len(piece) || err != nil {
				t.Errorf("write: %d, %v", n, err)
			}
			for len(in) < len(out) {
				c := next(t, q)
				if c.Res <= 0 || c.Flags&CQEBuffer == 0 || c.Flags&CQEMore == 0 {
					t.Errorf("completion %+v", c)
					return
				}
				in = append(in, bufs.Bytes(c.Res, c.Flags)...)
				bufs.Recycle(c.Res, c.Flags)
				bufs.Publish()
			}
		}
		if !bytes.Equal(in, out) {
			t.Error("bytes differ")
		}
		_ = unix.Close(b)
		if c := wants(t, q, 1, 0); c.Flags&CQEMore != 0 {
			t.Errorf("the end of the stream is not the last completion: %+v", c)
		}
		submit(q, 2).Close(a)
		wants(t, q, 2, 0)
	})
}

func TestReceiveWithoutBufferEndsWithENOBUFS(t *testing.T) {
	onEach(t, func(t *testing.T, q *Ring) {
		a, b := pair(t)
		bufs, err := q.NewBufRing(3, page(t, 4096), 1, false)
		if err != nil {
			t.Error(err)
			return
		}
		submit(q, 1).RecvSelect(a, 3, true)
		_, _ = unix.Write(b, make([]byte, 100))
		c := wants(t, q, 1, 100)
		_, _ = unix.Write(b, make([]byte, 50))
		if c := wants(t, q, 1, -int32(unix.ENOBUFS)); c.Flags&CQEMore != 0 {
			t.Errorf("goes on without buffers: %+v", c)
		}
		bufs.Recycle(c.Res, c.Flags)
		bufs.Publish()
		submit(q, 2).RecvSelect(a, 3, false)
		if c := wants(t, q, 2, 50); c.Flags&CQEMore != 0 {
			t.Errorf("one receive goes on: %+v", c)
		}
		_, _ = unix.Close(a), unix.Close(b)
	})
}

func TestCancelByUserData(t *testing.T) {
	onEach(t, func(t *testing.T, q *Ring) {
		a, b := pair(t)
		mem := page(t, 4096)
		submit(q, 1).Recv(a, mem)
		submit(q, 1).PollAdd(a, unix.POLLIN)
		submit(q, 2).Recv(b, mem[100:])
		_, _ = q.Enter()
		submit(q, 9).CancelByUserData(1)
		results := map[uint64][]int32{}
		for range 3 {
			c := next(t, q)
			results[c.UserData] = append(results[c.UserData], c.Res)
		}
		gone := -int32(unix.ECANCELED)
		if r := results[1]; len(r) != 2 || r[0] != gone || r[1] != gone {
			t.Errorf("cancelled operations: %v", r)
		}
		if r := results[9]; len(r) != 1 || r[0] != 2 {
			t.Errorf("cancellation: %v, want two found", r)
		}
		submit(q, 9).CancelByUserData(1)
		wants(t, q, 9, 0)
		submit(q, 3).Shutdown(b, unix.SHUT_RDWR)
		for range 2 {
			if c := next(t, q); c.Res != 0 {
				t.Errorf("%+v", c)
			}
		}
		_, _ = unix.Close(a), unix.Close(b)
	})
}

func TestSendmsg(t *testing.T) {
	onEach(t, func(t *testing.T, q *Ring) {
		a, b := pair(t)
		mem := page(t, 4096)
		copy(mem[2048:], "headdata")
		m, iov := MsghdrAt(mem), IovecsAt(mem[64:])[:2]
		iov[0].Set(mem[2048:2052])
		iov[1].Set(mem[2052:2056])
		m.SetIov(iov)
		submit(q, 1).Sendmsg(a, m, unix.MSG_NOSIGNAL|unix.MSG_WAITALL)
		wants(t, q, 1, 8)
		got := make([]byte, 100)
		if n, err := unix.Read(b, got); err != nil || string(got[:n]) != "headdata" {
			t.Errorf("got %q, %v", got[:n], err)
		}
		_ = unix.Close(b)
		submit(q, 2).Sendmsg(a, m, unix.MSG_NOSIGNAL|unix.MSG_WAITALL)
		wants(t, q, 2, -int32(unix.EPIPE))
		_ = unix.Close(a)
	})
}

func TestEventEndsAWait(t *testing.T) {
	onEach(t, func(t *testing.T, q *Ring) {
		event, err := OpenEvent()
		if err != nil {
			t.Error(err)
			return
		}
		defer event.Close()
		for range 3 {
			submit(q, 1).PollAdd(event.Fd(), unix.POLLIN)
			go event.Signal()
			wants(t, q, 1, unix.POLLIN)
			event.Reset()
		}
	})
}

func TestWaitEndsAtItsTimeout(t *testing.T) {
	onEach(t, func(t *testing.T, q *Ring) {
		const timeout = 3 * time.Millisecond
		began := time.Now()
		for time.Since(began) < timeout { // Signals of the Go runtime may interrupt it.
			_, _ = q.Wait(timeout)
		}
		if q.Ready() != 0 {
			t.Error("a completion from nowhere")
		}
	})
}

func TestMaskedFeaturesAreGone(t *testing.T) {
	onEach(t, func(t *testing.T, q *Ring) {
		f := q.Kernel().Features()
		if q.Kernel().Name() == "software" && f.Has(FeatureURing) {
			t.Error("the software ring claims to be the kernel's")
		}
		t.Logf("%s: %s", q.Kernel().Name(), f)
	})
	if _, err := Open(Config{SQEntries: 8, CQEntries: 8, Without: FeatureURing}); err == nil {
		t.Error("io_uring opened although it is masked off")
	}
}

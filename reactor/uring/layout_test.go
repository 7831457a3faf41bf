package uring

import (
	"testing"
	"unsafe"
)

// What the kernel reads has the kernel's layout (include/uapi/linux/io_uring.h).
func TestLayout(t *testing.T) {
	var (
		sqe   SQE
		cqe   CQE
		par   params
		arg   geteventsArg
		buf   bufEntry
		reg   bufReg
		msg   Msghdr
		probe probeReply
	)
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"sqe", unsafe.Sizeof(sqe), 64},
		{"sqe.fd", unsafe.Offsetof(sqe.Fd), 4},
		{"sqe.off", unsafe.Offsetof(sqe.Off), 8},
		{"sqe.addr", unsafe.Offsetof(sqe.Addr), 16},
		{"sqe.len", unsafe.Offsetof(sqe.Len), 24},
		{"sqe.op_flags", unsafe.Offsetof(sqe.OpFlags), 28},
		{"sqe.user_data", unsafe.Offsetof(sqe.UserData), 32},
		{"sqe.buf_index", unsafe.Offsetof(sqe.BufIndex), 40},
		{"sqe.file_index", unsafe.Offsetof(sqe.FileIdx), 44},
		{"sqe.addr3", unsafe.Offsetof(sqe.Addr3), 48},
		{"cqe", unsafe.Sizeof(cqe), 16},
		{"cqe.res", unsafe.Offsetof(cqe.Res), 8},
		{"cqe.flags", unsafe.Offsetof(cqe.Flags), 12},
		{"params", unsafe.Sizeof(par), 120},
		{"params.features", unsafe.Offsetof(par.features), 20},
		{"params.sq_off", unsafe.Offsetof(par.sqOff), 40},
		{"params.cq_off", unsafe.Offsetof(par.cqOff), 80},
		{"params.sq_off.array", unsafe.Offsetof(par.sqOff.array), 24},
		{"params.cq_off.cqes", unsafe.Offsetof(par.cqOff.cqes), 20},
		{"getevents_arg", unsafe.Sizeof(arg), 24},
		{"getevents_arg.ts", unsafe.Offsetof(arg.ts), 16},
		{"timespec", unsafe.Sizeof(timespec{}), 16},
		{"buf", unsafe.Sizeof(buf), 16},
		{"buf.bid", unsafe.Offsetof(buf.bid), 12},
		{"buf.tail", unsafe.Offsetof(buf.tail), 14},
		{"buf_reg", unsafe.Sizeof(reg), 40},
		{"buf_reg.bgid", unsafe.Offsetof(reg.bgid), 12},
		{"msghdr", unsafe.Sizeof(msg), 56},
		{"msghdr.iov", unsafe.Offsetof(msg.Iov), 16},
		{"msghdr.flags", unsafe.Offsetof(msg.Flags), 48},
		{"iovec", unsafe.Sizeof(Iovec{}), 16},
		{"rsrc_register", unsafe.Sizeof(rsrcRegister{}), 32},
		{"rsrc_update2", unsafe.Sizeof(rsrcUpdate{}), 32},
		{"probe", unsafe.Sizeof(probe), 16 + 8*probeOps},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.name, c.got, c.want)
		}
	}
}

func TestFeaturesByName(t *testing.T) {
	for bit := Features(1); bit < featureEnd; bit <<= 1 {
		got, err := ParseFeatures(bit.String())
		if err != nil || got != bit {
			t.Errorf("%s: got %v, %v", bit, got, err)
		}
		if bit.Cause() == "" {
			t.Errorf("%s: no cause", bit)
		}
	}
	if got, err := ParseFeatures(FeaturesAll.String()); err != nil || got != FeaturesAll {
		t.Errorf("all: got %v, %v", got, err)
	}
	if got, err := ParseFeatures(""); err != nil || got != 0 {
		t.Errorf("none: got %v, %v", got, err)
	}
	if _, err := ParseFeatures("sqpoll"); err == nil {
		t.Error("an unknown name is no error")
	}
}

func TestCompletionsThatFindTheQueueFullAreKept(t *testing.T) {
	q := NewRing(nil, 2, 2)
	for i := range uint64(5) {
		q.Post(CQE{UserData: i})
	}
	if !q.NeedsEnter() {
		t.Error("the submitter is not told of the overflow")
	}
	for want := uint64(0); want < 5; {
		n := q.Ready()
		if n == 0 {
			t.Fatalf("completion %d was lost", want)
		}
		for i := range n {
			if got := q.CQE(i).UserData; got != want {
				t.Fatalf("got completion %d, want %d", got, want)
			}
			want++
		}
		q.Seen(n)
		q.Flush()
	}
	if q.NeedsEnter() {
		t.Error("overflow is still told of")
	}
}

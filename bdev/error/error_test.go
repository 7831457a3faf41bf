package error

import (
	"testing"

	"pollux/bdev"
	"pollux/bdev/bdevtest"
)

func over(e *bdevtest.Env, blockSize uint32, blocks uint64) (*Module, string) {
	(&bdevtest.Disk{Native: bdevtest.Everything(), Later: true}).Register(e, "base", blockSize, blocks)
	m := New(e.Registry)
	name, err := m.Create("base", [16]byte{})
	if err != nil {
		e.T.Fatal(err)
	}
	return m, name
}

func TestContract(t *testing.T) {
	for name, change := range map[string]func(m *Module, name string) error{
		"nothing": func(*Module, string) error { return nil },
		"no resources": func(m *Module, name string) error {
			return m.Inject(name, bdev.OpWrite, Injection{Kind: NoMemory, Num: 100})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bdevtest.Run(t, bdevtest.Suite{Make: func(e *bdevtest.Env, blockSize uint32, blocks uint64) string {
				m, name := over(e, blockSize, blocks)
				if err := change(m, name); err != nil {
					e.T.Fatal(err)
				}
				return name
			}})
		})
	}
}

func TestInjections(t *testing.T) {
	e := bdevtest.NewEnv(t, 2)
	m, name := over(e, 512, 64)
	clients := [2]*bdevtest.Client{e.Open(0, name, bdev.OpenOptions{Write: true}), e.Open(1, name, bdev.OpenOptions{Write: true})}
	data := [][]byte{e.Memory(1024), e.Memory(1024)}
	inject := func(op bdev.Op, i Injection) {
		t.Helper()
		if err := m.Inject(name, op, i); err != nil {
			t.Fatal(err)
		}
	}
	read := bdev.Request{Op: bdev.OpRead, Blocks: 4, Data: data}
	write := bdev.Request{Op: bdev.OpWrite, Blocks: 4, Data: data}

	inject(bdev.OpRead, Injection{Kind: Failure, Num: 2})
	e.Want(clients[0].Do(read), bdev.StatusMediumError)
	e.Want(clients[1].Do(read), bdev.StatusMediumError)
	e.Want(clients[1].Do(read), bdev.StatusOK)
	e.Want(clients[0].Do(write), bdev.StatusOK)

	inject(bdev.OpFlush, Injection{Kind: Failure, Num: 1})
	e.Want(clients[0].Do(bdev.Request{Op: bdev.OpFlush}), bdev.StatusMediumError)

	inject(bdev.OpRead, Injection{Kind: Corrupt, Num: 1, Offset: 1030, Value: 0x81})
	e.Want(clients[0].Do(read), bdev.StatusOK)
	if data[1][6] != 0x81 {
		t.Fatalf("byte 1030 is %#x", data[1][6])
	}
	data[1][6] = 0
	inject(bdev.OpWrite, Injection{Kind: Corrupt, Num: 1, Value: 0x55})
	e.Want(clients[0].Do(write), bdev.StatusOK)
	if data[0][0] != 0 {
		t.Fatal("the writer's own data is changed")
	}
	if e.Want(clients[1].Do(read), bdev.StatusOK); data[0][0] != 0x55 {
		t.Fatalf("byte 0 on the medium is %#x", data[0][0])
	}

	inject(bdev.OpRead, Injection{Kind: Failure, Num: 10, QueueDepth: 1})
	first, second := clients[0].Start(read), clients[0].Start(read)
	e.Wait(first, second)
	e.Want(first, bdev.StatusOK)
	e.Want(second, bdev.StatusMediumError)
	if err := m.Clear(name); err != nil {
		t.Fatal(err)
	}
}

func TestPending(t *testing.T) {
	e := bdevtest.NewEnv(t, 2)
	m, name := over(e, 512, 64)
	c := e.Open(1, name, bdev.OpenOptions{Write: true})
	read := bdev.Request{Op: bdev.OpRead, Blocks: 1, Data: [][]byte{e.Memory(512)}}
	hang := func() *bdevtest.Op {
		t.Helper()
		if err := m.Inject(name, bdev.OpRead, Injection{Kind: Pending, Num: 1}); err != nil {
			t.Fatal(err)
		}
		o := c.Start(read)
		e.World.Run()
		if o.Ended != 0 {
			t.Fatal("a request that is to hang has ended")
		}
		return o
	}
	o := hang()
	if err := m.Resume(name); err != nil {
		t.Fatal(err)
	}
	e.Wait(o)
	e.Want(o, bdev.StatusOK)
	o = hang()
	e.Want(c.Do(bdev.Request{Op: bdev.OpAbort, Target: &o.Request}), bdev.StatusOK)
	e.Want(o, bdev.StatusAborted)
	o = hang()
	e.Want(c.Do(bdev.Request{Op: bdev.OpReset}), bdev.StatusOK)
	e.Want(o, bdev.StatusAborted)
	o = hang()
	if err := m.Delete(name); err != nil {
		t.Fatal(err)
	}
	e.Want(o, bdev.StatusOK)
}

package iscsi

import (
	"pollux/reactor"
	"pollux/reactor/iobuf"
	"pollux/scsi"
)

// taskState says who has a task.
type taskState uint8

const (
	taskFree      taskState = iota // in its reactor's free list
	taskGathering                  // waits for data-out, or for memory
	taskExecuting                  // belongs to package scsi
	taskReplying                   // in its connection's output queue
	taskSending                    // its memory is being sent
)

// task is one SCSI command from its header to the last byte of its answer: one object for all layers. Data plane: it belongs to a
// reactor's free list, and on loan to one connection of that reactor.
type task struct {
	scsi.Task
	local *local
	conn  *conn
	id    uint32 // index in local.tasks.all, part of the transfer tags
	state taskState

	itt       uint32
	started   int64 // when its header came
	immediate bool  // takes no CmdSN
	prepared  bool  // package scsi knows it and does not have it

	next, prev *task  // live tasks of the connection; next alone in the free list
	output     output // place in the connection's output queue
	waiting    bool   // for memory
	waitNext   *task  // behind it, of the same connection

	gather gather
	reply  reply

	bufs   [DataPiecesMax]iobuf.Buf
	pieces [DataPiecesMax][]byte
	nbufs  int
	held   int64 // bytes accounted for
	stuck  bool  // quarantined
	extra  bool  // to local.extra, not to the connection's share

	sent reactor.Message // the memory of the answer has left
}

// taskPool is a reactor's tasks. It grows by slabs up to what its sessions use at once, and never shrinks.
type taskPool struct {
	all  []*task
	free *task
}

func (l *local) getTask(c *conn) *task {
	if l.tasks.free == nil {
		l.growTasks()
	}
	t := l.tasks.free
	l.tasks.free = t.next
	t.conn = c
	c.addTask(t)
	return t
}

// growTasks is the one place where tasks are allocated.
func (l *local) growTasks() {
	slab := make([]task, taskSlab)
	first := uint32(len(l.tasks.all))
	for i := range slab {
		l.tasks.all = append(l.tasks.all, &slab[i])
	}
	for i := taskSlab - 1; i >= 0; i-- { // the lowest id comes out of the list first
		t := &slab[i]
		t.local, t.id = l, first+uint32(i)
		t.output.task = t
		t.Finished = func(*scsi.Task) { t.finished() }
		t.sent.Bind(t.leave)
		t.next, l.tasks.free = l.tasks.free, t
	}
}

// leave ends the task: its memory and the task itself go back. The connection may end with it.
func (t *task) leave() {
	if t.state == taskSending && Mutated(MutateKeepTask) {
		return
	}
	c := t.conn
	t.unstick()
	t.putMemory()
	c.removeTask(t)
	t.state, t.conn, t.prev = taskFree, nil, nil
	t.next, t.local.tasks.free = t.local.tasks.free, t
	c.settle()
}

// copyIn stores p at offset of the task's memory; what lies beyond is dropped.
func (t *task) copyIn(offset uint32, p []byte) {
	for i := int(offset / iobuf.MaxSize); i < t.nbufs && len(p) > 0; i++ {
		at := int(offset) - i*iobuf.MaxSize
		if at >= len(t.pieces[i]) {
			return
		}
		n := copy(t.pieces[i][at:], p)
		p, offset = p[n:], offset+uint32(n)
	}
}

// attach queues n bytes from offset of the task's memory to be sent, and returns their digest if there is to be one.
func (t *task) attach(offset, n uint32, digest bool) Digest {
	var d Digest
	for n > 0 {
		i, at := offset/iobuf.MaxSize, offset%iobuf.MaxSize
		part := t.pieces[i][at:]
		part = part[:min(n, uint32(len(part)))]
		if digest {
			d = d.Add(part)
		}
		t.conn.sock.Attach(part)
		n, offset = n-uint32(len(part)), offset+uint32(len(part))
	}
	return d
}

// piecesOf is how many pieces n bytes from offset touch.
func piecesOf(offset, n uint32) int {
	return int((offset+n+iobuf.MaxSize-1)/iobuf.MaxSize - offset/iobuf.MaxSize)
}

package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stream is SPDK's dialect as a server's jsonrpc2.ObjectStream. It answers
// by itself what is no request at all, takes batches apart and puts their
// replies together, and gives the Conn each request under a number of its
// own: ids, parameters and results pass by the Conn, in request, since the
// Conn would change or refuse some of them.
type stream struct {
	conn         *net.UnixConn
	frames       *frameReader
	writeTimeout time.Duration
	queue        []*request    // of a batch, not yet given to the Conn; reader only
	ended        chan struct{} // closed when ReadObject has failed: no request follows

	mu       sync.Mutex
	number   uint64 // of the last request
	open     map[uint64]*request
	draining bool // the client has closed its sending side
	closed   bool

	writing sync.Mutex
}

func newStream(conn *net.UnixConn, l Limits) *stream {
	return &stream{
		conn: conn, frames: newFrameReader(conn, l.RequestSize), writeTimeout: l.WriteTimeout,
		ended: make(chan struct{}), open: map[uint64]*request{},
	}
}

// ReadObject gives the Conn, in v, the number and the method of the next
// request. When the client will send no more, it returns io.EOF after all
// requests have been answered or the client has gone.
func (s *stream) ReadObject(v any) error {
	r, err := s.nextRequest()
	if err != nil {
		if errors.Is(err, io.EOF) {
			s.drain()
		}
		close(s.ended)
		return err
	}
	header := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%s}`, s.admit(r), quote(r.method))
	return json.Unmarshal([]byte(header), v)
}

func (s *stream) nextRequest() (*request, error) {
	for len(s.queue) == 0 {
		raw, err := s.frames.next()
		if err != nil {
			return nil, err
		}
		v, err := parseValue(raw, tokensMax)
		if err != nil {
			return nil, err
		}
		if err := s.sort(v); err != nil {
			return nil, err
		}
	}
	if s.isClosed() {
		return nil, net.ErrClosed
	}
	r := s.queue[0]
	s.queue = s.queue[1:]
	return r, nil
}

// sort puts the requests of a frame on the queue and answers what is none.
func (s *stream) sort(v value) error {
	if v.kind == kindArray {
		return s.sortBatch(v.elems)
	}
	r, id, invalid := parseRequest(v)
	if invalid != nil {
		return s.write(errorReply(id, invalid))
	}
	s.queue = append(s.queue, r)
	return nil
}

func (s *stream) sortBatch(elems []value) error {
	if len(elems) == 0 {
		return s.write(errorReply(jsonNull, invalidRequest("the batch is empty")))
	}
	b := &batch{}
	for _, elem := range elems {
		r, id, invalid := parseRequest(elem)
		if invalid != nil {
			b.replies = append(b.replies, errorReply(id, invalid))
			continue
		}
		r.batch = b
		b.open++
		s.queue = append(s.queue, r)
	}
	if b.open == 0 {
		return s.write(b.array())
	}
	return nil
}

// admit gives a request its number.
func (s *stream) admit(r *request) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	s.open[s.number] = r
	return s.number
}

// request returns an open request by its number.
func (s *stream) request(number uint64) *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[number]
}

// WriteObject is called by the Conn with the response to a request, which
// bears its number; what goes out is the reply kept in the request.
func (s *stream) WriteObject(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var response struct {
		ID json.Number `json:"id"`
	}
	if err := json.Unmarshal(raw, &response); err != nil {
		return err
	}
	number, err := strconv.ParseUint(response.ID.String(), 10, 64)
	if err != nil {
		return err
	}
	err = s.write(s.take(number))
	s.finish(number)
	return err
}

// take returns what is to be sent now that a request has been answered.
func (s *stream) take(number uint64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.open[number]
	if r == nil {
		panic(fmt.Sprintf("rpc: request %d is answered twice", number))
	}
	if r.batch == nil {
		return r.reply
	}
	if r.reply != nil {
		r.batch.replies = append(r.batch.replies, r.reply)
	}
	if r.batch.open--; r.batch.open > 0 {
		return nil
	}
	return r.batch.array()
}

// finish forgets a request. The last one of a client that sends no more ends
// the wait in drain.
func (s *stream) finish(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, number)
	if s.draining && len(s.open) == 0 {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// write sends one reply. A client that does not read it in time is
// disconnected, so that it cannot hold up the server for ever.
func (s *stream) write(reply []byte) error {
	if reply == nil {
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.writeTimeout))
	if _, err := s.conn.Write(append(reply, '\n')); err != nil {
		_ = s.Close()
		return err
	}
	return nil
}

// drain returns when all requests have been answered or the client has
// closed its receiving side too. The first is signalled by a read deadline,
// the second by POLLHUP, which Linux gives when both directions are shut.
func (s *stream) drain() {
	s.mu.Lock()
	s.draining = true
	idle := len(s.open) == 0
	s.mu.Unlock()
	if idle {
		return
	}
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool { return hungUp(int32(fd)) })
}

func hungUp(fd int32) bool {
	fds := []unix.PollFd{{Fd: fd}}
	for {
		_, err := unix.Poll(fds, 0)
		if !errors.Is(err, syscall.EINTR) {
			return err != nil || fds[0].Revents != 0
		}
	}
}

// Close ends the connection at once.
func (s *stream) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.conn.Close()
}

func (s *stream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

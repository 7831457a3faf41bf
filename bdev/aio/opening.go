package aio

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"pollux/bdev"
)

const (
	// OpenTimeout is how long a create waits for the kernel to open the file and to say what it is. Where a disk or a server hangs it may
	// never do that, and nothing calls it back. A lock that a killed process has left is waited for within it (lockMax).
	OpenTimeout = 10 * time.Second
	// openingsMax is how many files may be on their way at once. Each has a thread of the process until the kernel has answered, whether
	// somebody still waits for it or not.
	openingsMax = 256
)

// errEnding is why nothing is waited for any more when the target begins to end.
var errEnding = fmt.Errorf("the target is ending: %w", syscall.ECANCELED)

// opening is a file on its way to be a device. It has a goroutine of its own, which opens the file and makes it a device, or closes it when
// the create has been given up by then.
//
//	begun     the name is taken: nobody else creates a device with it
//	answered  the kernel has; the file becomes a device                      the create waits for that
//	late      the create was given up: the name is free, the file is not     it is closed when the kernel answers
type opening struct {
	name, path string
	answered   bool // under the mutex of openings, as late
	late       bool
	ended      chan error // has room for one
}

// openings are those of a module. Control plane.
type openings struct {
	mu  sync.Mutex
	all []*opening
}

// begin enters a file. Errors: EEXIST while the name is being created; bdev.ErrUnanswered for a file whose create was given up and which the
// kernel has not opened yet; EAGAIN.
func (s *openings) begin(name, path string) (*opening, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &opening{name: name, path: filepath.Clean(path), ended: make(chan error, 1)}
	for _, other := range s.all {
		switch {
		case !other.late && other.name == p.name:
			return nil, fmt.Errorf("bdev %s: it is being created, and %s is being opened: %w", name, other.path, syscall.EEXIST)
		case other.late && other.path == p.path:
			return nil, fmt.Errorf("bdev %s: open %s: %w since bdev %s was to be created of it: the disk or its server hangs: "+
				"see to it, then create the bdev", name, path, bdev.ErrUnanswered, other.name)
		}
	}
	if len(s.all) >= openingsMax {
		return nil, fmt.Errorf("bdev %s: %d files are being opened, and the kernel has not answered: try again when it has: %w",
			name, openingsMax, syscall.EAGAIN)
	}
	s.all = append(s.all, p)
	return p, nil
}

// answer is called when the kernel has answered, and reports whether somebody waits for that.
func (s *openings) answer(p *opening) (inTime bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.answered = !p.late
	return p.answered
}

// giveUp reports whether it came before the kernel's answer: then nothing will come of it.
func (s *openings) giveUp(p *opening) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.late = !p.answered
	return p.late
}

// end strikes the file off the list.
func (s *openings) end(p *opening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(o *opening) bool { return o == p })
}

// open opens the file of o and makes it a device if that is still wanted.
func (m *Module) open(p *opening, o Options) {
	f, err := m.openFile(o.Filename, o.BlockSize, o.ReadOnly)
	if m.openings.answer(p) {
		err = m.settle(o, f, err)
		m.openings.end(p)
		p.ended <- err
		return
	}
	if err == nil {
		err = f.close()
	}
	m.openings.end(p)
	m.registry.Log().Info("kernel has answered too late: file is closed and becomes no device", "bdev", o.Name, "file", o.Filename, "error", err)
}

// settle makes a device of what opening has answered.
func (m *Module) settle(o Options, f *file, err error) error {
	if err != nil {
		return fmt.Errorf("bdev %s: %w", o.Name, err)
	}
	if !f.direct {
		m.registry.Log().Info("file is used through the page cache, by threads", "bdev", o.Name, "file", o.Filename,
			"cause", "no O_DIRECT for these blocks here")
	}
	if err := m.register(o, f); err != nil {
		m.closeInTime(f)
		return err
	}
	return nil
}

// closeInTime closes a file of which nothing has become, and waits for that no longer than for opening it.
func (m *Module) closeInTime(f *file) {
	ctx, cancel := within(m.life, m.openTimeout)
	defer cancel()
	_, _ = inTime(ctx, func() (struct{}, error) { return struct{}{}, f.close() })
}

// awaitOpen waits for the end of a create, no longer than the kernel has time to open the file.
func (m *Module) awaitOpen(p *opening) error {
	ctx, cancel := within(m.life, m.openTimeout)
	defer cancel()
	select {
	case err := <-p.ended:
		return err
	case <-ctx.Done():
	}
	if !m.openings.giveUp(p) {
		return <-p.ended
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, bdev.ErrUnanswered) {
		cause = fmt.Errorf("%w: the disk or its server hangs; no bdev is made, and the file is closed if it is opened after all: "+
			"see to the disk or the server, then create the bdev again", cause)
	}
	return fmt.Errorf("bdev %s: open %s: %w", p.name, p.path, cause)
}

// within is the time that a wait for the kernel may take: atMost, and no longer than life.
func within(life context.Context, atMost time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(life, atMost, fmt.Errorf("%w after %v", bdev.ErrUnanswered, atMost))
}

// inTime is what ask answers, or why ctx has ended if that comes first; then nobody hears what ask answers.
func inTime[T any](ctx context.Context, ask func() (T, error)) (answer T, err error) {
	type answered struct {
		T   T
		err error
	}
	ended := make(chan answered, 1)
	go func() {
		answer, err := ask()
		ended <- answered{answer, err}
	}()
	select {
	case a := <-ended:
		return a.T, a.err
	case <-ctx.Done():
		return answer, context.Cause(ctx)
	}
}

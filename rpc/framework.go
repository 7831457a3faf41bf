package rpc

import (
	"context"
	"sync"
)

// framework is the server's state: Startup, then, when the subsystems have
// been started, Runtime for good.
type framework struct {
	mu      sync.Mutex
	state   State
	busy    bool          // the subsystems are being started
	running chan struct{} // closed in Runtime
}

func newFramework() framework {
	return framework{state: Startup, running: make(chan struct{})}
}

var (
	errNotStartup = &Error{CodeInvalidState, "Method may only be called before framework is initialized. " +
		"Use --wait-for-rpc command line parameter and then issue this RPC before the framework_start_init RPC."}
	errNotRuntime = &Error{CodeInvalidState, "Method may only be called after framework is initialized using framework_start_init RPC."}
)

// check tells whether a method may be called now. While the subsystems are
// being started only those methods may that are for both states.
func (f *framework) check(m *Method) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case m.states == Startup|Runtime:
		return nil
	case m.states == Startup && (f.busy || f.state == Runtime):
		return errNotStartup
	case m.states == Runtime && f.state == Startup:
		return errNotRuntime
	}
	return nil
}

// begin claims the start of the subsystems for one caller.
func (f *framework) begin() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy || f.state == Runtime {
		return errNotStartup
	}
	f.busy = true
	return nil
}

func (f *framework) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy = false
	if err == nil {
		f.state = Runtime
		close(f.running)
	}
}

// State returns Startup or Runtime.
func (s *Server) State() State {
	s.framework.mu.Lock()
	defer s.framework.mu.Unlock()
	return s.framework.state
}

// StartInit starts the subsystems by Options.Init and enters Runtime, as
// framework_start_init does. It fails, and the state stays, when Init fails
// or the subsystems have been started already.
func (s *Server) StartInit(ctx context.Context) error {
	if err := s.framework.begin(); err != nil {
		return err
	}
	var err error
	if s.options.Init != nil {
		err = s.options.Init(ctx)
	}
	s.framework.end(err)
	if err != nil {
		return Errorf(CodeInternal, "framework_initialization failed: %v", err)
	}
	return nil
}

// WaitInit returns when the state is Runtime or ctx ends.
func (s *Server) WaitInit(ctx context.Context) error {
	select {
	case <-s.framework.running:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) registerFramework() {
	Handle(s, Startup, "framework_start_init", func(ctx context.Context, _ None) (None, error) {
		return None{}, s.StartInit(ctx)
	}, "start_subsystem_init").
		Help("Start the subsystems and enter the runtime state.")
	Handle(s, Startup|Runtime, "framework_wait_init", func(ctx context.Context, _ None) (None, error) {
		return None{}, s.WaitInit(ctx)
	}, "wait_subsystem_init").Waits().
		Help("Answer when the subsystems have been started.")
}

package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// Options are what a Server is made with; the zero value is usable.
type Options struct {
	// Log gets the server's own lines. The default is slog.Default().
	Log *slog.Logger
	// Logging is what the log_* methods control; without it they are absent.
	Logging *Logging
	// Product and Version go into spdk_get_version: "Pollux", "0.1.0".
	Product, Version string
	// Init is what framework_start_init calls: it starts the subsystems. An
	// error of it leaves the server in Startup.
	Init func(ctx context.Context) error
	// Allowed, unless empty, are the only methods that a client may call
	// (--rpcs-allowed). Calls within the process are not restricted.
	Allowed []string
	// Limits bound what clients can take up.
	Limits Limits
}

// Server holds methods and serves them on Unix sockets. It has no state
// outside of itself: two servers in one process do not know one another.
type Server struct {
	log     *slog.Logger
	options Options
	limits  Limits

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu         sync.RWMutex
	methods    map[string]*Method // by name and by alias
	deprecated map[string]bool    // aliases that have been logged
	subsystems []subsystem
	listeners  []*listener
	conns      map[*conn]bool
	closed     bool

	framework framework
	slots     chan struct{} // one for each open connection
	work      sync.WaitGroup
}

// New returns a server in the state Startup with the methods that every
// server has. It listens when Listen is called.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		log: o.Log, options: o, limits: o.Limits.withDefaults(),
		ctx: ctx, cancel: cancel,
		methods: map[string]*Method{}, deprecated: map[string]bool{}, conns: map[*conn]bool{},
		framework: newFramework(),
	}
	s.slots = make(chan struct{}, s.limits.Connections)
	s.registerBuiltin()
	s.registerFramework()
	s.registerConfig()
	if o.Logging != nil {
		s.registerLog(o.Logging)
	}
	return s
}

func (s *Server) register(m *Method) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range append([]string{m.name}, m.aliases...) {
		if s.methods[name] != nil {
			panic(fmt.Sprintf("rpc: method %s is registered twice", name))
		}
		s.methods[name] = m
	}
}

// lookup finds a method and notes the use of an alias.
func (s *Server) lookup(name string) (*Method, error) {
	s.mu.RLock()
	m := s.methods[name]
	s.mu.RUnlock()
	if m == nil {
		return nil, Errorf(CodeMethodNotFound, "Method not found: %s", name)
	}
	if name != m.name {
		s.logAlias(name, m.name)
	}
	return m, nil
}

func (s *Server) logAlias(alias, name string) {
	s.mu.Lock()
	logged := s.deprecated[alias]
	s.deprecated[alias] = true
	s.mu.Unlock()
	if !logged {
		s.log.Warn("RPC method name is deprecated", "alias", alias, "method", name)
	}
}

// allowed reports whether clients may call the method.
func (s *Server) allowed(name string) bool {
	return len(s.options.Allowed) == 0 || slices.Contains(s.options.Allowed, name)
}

// checkAllowed finds in Options.Allowed what is not the name of a method.
func (s *Server) checkAllowed() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, name := range s.options.Allowed {
		switch m := s.methods[name]; {
		case m == nil:
			return fmt.Errorf("--rpcs-allowed: there is no method %s", name)
		case m.name != name:
			return fmt.Errorf("--rpcs-allowed: %s is an older name of %s; give that", name, m.name)
		}
	}
	return nil
}

// Call calls a method within the process, with the checks and the decoding
// that a client's call gets. Params are anything that encodes as an object,
// or nil. It is how configurations are loaded and how tests talk to a server
// without a socket.
func (s *Server) Call(ctx context.Context, method string, params any) (json.RawMessage, error) {
	var raw json.RawMessage
	if params != nil {
		var err error
		if raw, err = json.Marshal(params); err != nil {
			return nil, fmt.Errorf("%s: parameters: %w", method, err)
		}
	}
	m, err := s.lookup(method)
	if err != nil {
		return nil, err
	}
	return s.run(ctx, m, raw)
}

// run checks the state, calls the method and encodes its result.
func (s *Server) run(ctx context.Context, m *Method, params json.RawMessage) (json.RawMessage, error) {
	if err := s.framework.check(m); err != nil {
		return nil, err
	}
	result, err := m.call(ctx, params)
	if err != nil {
		return nil, AsError(err)
	}
	raw, err := encode(result)
	if err != nil {
		return nil, Errorf(CodeInternal, "%s: result: %v", m.name, err)
	}
	if len(raw) > replySizeMax {
		return nil, Errorf(CodeInternal, "%s: the result has %d bytes, more than %d", m.name, len(raw), replySizeMax)
	}
	return raw, nil
}

// Listen serves clients on a Unix socket at path, mode 0600. Beside it stands
// PATH.lock, which is locked as long as the server lives, so that a socket
// left behind is told from one in use. Listen returns when the socket is
// ready; the clients are served until Close.
func (s *Server) Listen(path string) error {
	if err := s.checkAllowed(); err != nil {
		return err
	}
	l, err := listen(path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(net.ErrClosed, l.close())
	}
	s.listeners = append(s.listeners, l)
	s.work.Go(func() { s.accept(l) })
	return nil
}

// Close stops listening, removes socket and lock file, ends the context of
// waiting methods, and returns when all calls in progress have ended and
// their replies are written or their clients have gone. A method must not
// call it. The error is that a file could not be removed.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	listeners := s.listeners
	s.listeners = nil
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()

	s.cancel()
	var err error
	for _, l := range listeners {
		err = errors.Join(err, l.close())
	}
	for _, c := range conns {
		c.stopReading()
	}
	late := time.AfterFunc(closeTimeout, func() {
		for _, c := range conns {
			_ = c.stream.Close()
		}
	})
	defer late.Stop()
	s.work.Wait()
	return err
}

package iscsi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pollux/reactor"
	"pollux/scsi"
)

// Server is all iSCSI targets of one process: portals, groups, target nodes, and the sessions on them. Control plane; safe for
// concurrent use. Changes are made one at a time under its lock; logins read what is published.
type Server struct {
	group         *reactor.Group
	devices       *scsi.Devices
	log           *slog.Logger
	logs          bool // there is somebody to read the log
	initialStatSN uint32
	coalesce      bool

	mu      sync.Mutex
	unwatch context.CancelFunc // ends the goroutine that writes the log, if there is a log
	started bool
	closed  bool
	view    atomic.Pointer[config] // written under mu, read by every reactor

	locals []*local // by reactor
	home   *home
}

// NewServer makes a server with SPDK's default options and no portals. Start must follow.
func NewServer(g *reactor.Group, devices *scsi.Devices, cfg Config) *Server {
	s := &Server{group: g, devices: devices, log: cfg.Log, initialStatSN: cmp.Or(cfg.InitialStatSN, FirstSN(), 1), coalesce: cfg.Coalesce}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var options Options
	options.SetDefaults()
	s.view.Store(&config{options: options})
	for _, r := range g.Reactors() {
		s.locals = append(s.locals, newLocal(s, r))
	}
	s.home = newHome(s, g.Reactors()[0])
	return s
}

// Start makes the server ready; options can no longer be changed.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return nil
	}
	s.started = true
	if s.logs {
		var ctx context.Context
		ctx, s.unwatch = context.WithCancel(context.Background())
		go s.watch(ctx)
	}
	return s.each(func(l *local) { l.start() })
}

// each runs fn on every reactor.
func (s *Server) each(fn func(*local)) error {
	return s.group.Each(func(r *reactor.Reactor) { fn(s.locals[r.ID()]) })
}

// change makes a new configuration from the present one and publishes it. An error leaves everything as it was.
func (s *Server) change(make func(*config) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.view.Load()
	if err := make(&next); err != nil {
		return err
	}
	for _, t := range next.targets {
		t.node.device.SetPorts(t.ports())
	}
	s.view.Store(&next)
	return nil
}

// SetOptions sets the options; before Start only.
func (s *Server) SetOptions(o Options) error {
	return s.change(func(c *config) error {
		if s.started {
			return errors.New("options cannot be changed after the start")
		}
		if err := o.Validate(); err != nil {
			return err
		}
		c.options = o
		var err error
		c.discovery, err = o.discoveryAuth()
		return err
	})
}

// AddPortalGroup adds g and, unless told to wait, listens.
func (s *Server) AddPortalGroup(g *PortalGroup, wait bool) error {
	return s.change(func(c *config) error {
		if c.portalGroup(g.Tag) != nil {
			return fmt.Errorf("portal group %d already exists", g.Tag)
		}
		if err := s.portalsFree(c, g); err != nil {
			return err
		}
		if !wait {
			var err error
			if g, err = g.start(s); err != nil {
				return err
			}
		}
		c.portalGroups = replaced(c.portalGroups, nil, g)
		slices.SortFunc(c.portalGroups, func(a, b *PortalGroup) int { return int(a.Tag - b.Tag) })
		return nil
	})
}

// portalsFree refuses portals that another group has.
func (s *Server) portalsFree(c *config, g *PortalGroup) error {
	for _, other := range c.portalGroups {
		for _, addr := range g.addresses {
			if addr.Port() != 0 && slices.Contains(other.addresses, addr) {
				return fmt.Errorf("portal %s belongs to portal group %d", addr, other.Tag)
			}
		}
	}
	return nil
}

// StartPortalGroup listens, if the group does not yet.
func (s *Server) StartPortalGroup(tag int32) error {
	return s.change(func(c *config) error {
		g := c.portalGroup(tag)
		if g == nil {
			return fmt.Errorf("portal group %d does not exist", tag)
		}
		if g.started() {
			return nil
		}
		open, err := g.start(s)
		if err != nil {
			return err
		}
		c.portalGroups = replaced(c.portalGroups, g, open)
		return nil
	})
}

// DeletePortalGroup closes the listeners and takes the group out of all maps. Sessions that came through it stay.
func (s *Server) DeletePortalGroup(tag int32) error {
	return s.change(func(c *config) error {
		g := c.portalGroup(tag)
		if g == nil {
			return fmt.Errorf("portal group %d does not exist", tag)
		}
		g.stop()
		c.portalGroups = replaced(c.portalGroups, g, nil)
		c.dropMaps(func(m Map) bool { return m.PortalGroup == tag })
		return nil
	})
}

// AddInitiatorGroup adds g.
func (s *Server) AddInitiatorGroup(g *InitiatorGroup) error {
	return s.change(func(c *config) error {
		if c.initiatorGroup(g.Tag) != nil {
			return fmt.Errorf("initiator group %d already exists", g.Tag)
		}
		c.initiatorGroups = replaced(c.initiatorGroups, nil, g)
		slices.SortFunc(c.initiatorGroups, func(a, b *InitiatorGroup) int { return int(a.Tag - b.Tag) })
		return nil
	})
}

// AddAuthGroup adds g.
func (s *Server) AddAuthGroup(g *AuthGroup) error {
	return s.change(func(c *config) error {
		if c.authGroup(g.Tag) != nil {
			return fmt.Errorf("auth group %d already exists", g.Tag)
		}
		c.authGroups = replaced(c.authGroups, nil, g)
		slices.SortFunc(c.authGroups, func(a, b *AuthGroup) int { return int(a.Tag - b.Tag) })
		return nil
	})
}

// dropMaps takes maps out of all targets.
func (c *config) dropMaps(which func(Map) bool) {
	for _, t := range c.targets {
		if !slices.ContainsFunc(t.Maps, which) {
			continue
		}
		copied := *t
		copied.Maps = slices.DeleteFunc(slices.Clone(t.Maps), which)
		copied.dropRedirects()
		c.targets = replaced(c.targets, t, &copied)
	}
}

// AddTarget makes the target node with its LUNs.
func (s *Server) AddTarget(spec *TargetSpec) error {
	return s.change(func(c *config) error {
		t, err := targetOf(c, spec)
		if err != nil {
			return err
		}
		device, err := s.devices.Create(t.Name, scsi.DeviceOptions{VersionDescriptor: versionDescriptor})
		if err != nil {
			return err
		}
		for _, l := range spec.LUNs {
			if _, err := device.AddLUN(int(l.LUN), l.BdevName, l.options()); err != nil {
				return errors.Join(err, device.Close())
			}
		}
		t.node = &node{device: device}
		c.targets = replaced(c.targets, nil, t)
		return nil
	})
}

// versionDescriptor is "iSCSI (no version claimed)" (SPC-5 table 148).
const versionDescriptor = 0x0960

// ErrNoTarget says that there is no target node of that name.
var ErrNoTarget = errors.New("target node does not exist")

// DeleteTarget ends the target's sessions, and returns when nothing of it can reach a block device any more. It holds nobody up
// meanwhile; until then the name is taken, and nobody logs in. With scsi.ErrUnanswered a block device has not answered in time: the
// target stays, lets nobody in, and DeleteTarget may be called again.
func (s *Server) DeleteTarget(name string) error {
	t, err := s.condemn(name)
	if err != nil {
		return err
	}
	left, err := s.awaitSessions(t.node, EndTimeout, func() { s.home.endAll(t.node) })
	if err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("target node %s: %w", t.Name, s.unended(left, t))
	}
	if err := t.node.device.Close(); err != nil {
		return fmt.Errorf("target node %s: %w", t.Name, err)
	}
	return s.change(func(c *config) error {
		if slices.Contains(c.targets, t) {
			c.targets = replaced(c.targets, t, nil)
		}
		return nil
	})
}

// condemn lets nobody log in to a target any more.
func (s *Server) condemn(name string) (*Target, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.view.Load()
	t := c.target(fullName(name, c.options.NodeBase))
	if t == nil {
		return nil, fmt.Errorf("%s: %w", name, ErrNoTarget)
	}
	t.node.gone.Store(true)
	return t, nil
}

// awaitSessions runs start on the home reactor and waits until no session of n (nil: no session) is left, or for so long. It returns how many
// are left.
func (s *Server) awaitSessions(n *node, atMost time.Duration, start func()) (left int, err error) {
	h := s.home
	err = h.r.Do(func(done func()) {
		start()
		h.wait(n, atMost, func() {
			left = h.count(n)
			done()
		})
	})
	return left, err
}

// unended says which block devices keep sessions of the targets from ending.
func (s *Server) unended(sessions int, targets ...*Target) error {
	var parts []string
	for _, t := range targets {
		devices, err := t.node.device.Unanswered()
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(devices)) {
			parts = append(parts, fmt.Sprintf("bdev %s keeps %d requests", name, devices[name]))
		}
	}
	return fmt.Errorf("%d sessions have not ended after %v: %s: %w", sessions, EndTimeout, strings.Join(parts, ", "), scsi.ErrUnanswered)
}

// changeTarget replaces a target by a changed copy.
func (s *Server) changeTarget(name string, make func(*config, *Target) error) error {
	return s.change(func(c *config) error {
		t := c.target(fullName(name, c.options.NodeBase))
		switch {
		case t == nil:
			return fmt.Errorf("%s: %w", name, ErrNoTarget)
		case t.node.gone.Load():
			return fmt.Errorf("%s: %w", name, errDeleted)
		}
		copied := *t
		if err := make(c, &copied); err != nil {
			return err
		}
		c.targets = replaced(c.targets, t, &copied)
		return nil
	})
}

// errDeleted is what changes of a target hear whose deletion has begun.
var errDeleted = errors.New("target node is being deleted")

// device is the living part of a target.
func (s *Server) device(name string) (*node, error) {
	c := s.view.Load()
	t := c.target(fullName(name, c.options.NodeBase))
	if t == nil {
		return nil, fmt.Errorf("%s: %w", name, ErrNoTarget)
	}
	return t.node, nil
}

// AddLUN shows a block device as a LUN of a target. Sessions that are open are
// told by REPORTED LUNS DATA HAS CHANGED.
func (s *Server) AddLUN(target string, l LUNSpec) error {
	n, err := s.device(target)
	if err != nil {
		return err
	}
	if n.gone.Load() {
		return fmt.Errorf("%s: %w", target, errDeleted)
	}
	_, err = n.device.AddLUN(int(l.LUN), l.BdevName, l.options())
	return err
}

// RemoveLUN takes a LUN away, and returns when nothing of it can reach the block device any more. Sessions are told.
func (s *Server) RemoveLUN(target string, number int) error {
	n, err := s.device(target)
	if err != nil {
		return err
	}
	return n.device.RemoveLUN(number)
}

// RequestLogout asks the initiators of a target's sessions to log out; tag 0 is any portal group.
func (s *Server) RequestLogout(name string, tag int32) error {
	c := s.view.Load()
	t := c.target(fullName(name, c.options.NodeBase))
	if t == nil {
		return fmt.Errorf("%s: %w", name, ErrNoTarget)
	}
	return s.each(func(l *local) { l.askLogout(t.node, tag, LogoutGrace) })
}

// Close ends the server: no new connections, a request to log out to all initiators, LogoutGrace to do so, then the end of what is left.
// It returns when nothing refers to a device any more, or after LogoutGrace and EndTimeout with scsi.ErrUnanswered: then a device has kept
// a request for too long, and what it has is left alone.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.unwatch != nil {
		s.unwatch()
	}
	c := s.view.Load()
	for _, g := range c.portalGroups {
		g.stop()
	}
	// The grace of the request ends the sessions that do not log out.
	err := s.home.r.Call(func() {
		s.home.stopping = true
		s.home.endFailed()
	})
	err = errors.Join(err, s.each(func(l *local) { l.shut(); l.askLogout(nil, 0, LogoutGrace) }))
	left, waited := s.awaitSessions(nil, LogoutGrace+EndTimeout, func() {})
	if err = errors.Join(err, waited); err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("iscsi: %w", s.unended(left, c.targets...))
	}
	for _, l := range s.locals {
		err = errors.Join(err, l.r.Do(func(done func()) { l.whenIdle(done) }))
	}
	for _, t := range c.targets {
		err = errors.Join(err, t.node.device.Close())
	}
	s.view.Store(&config{options: c.options, discovery: c.discovery, authGroups: c.authGroups, initiatorGroups: c.initiatorGroups})
	return err
}

// NodeBase is what short target names are completed with.
func (s *Server) NodeBase() string { return s.view.Load().options.NodeBase }

// Portals are the addresses at which a portal group listens.
func (s *Server) Portals(tag int32) []netip.AddrPort {
	g := s.view.Load().portalGroup(tag)
	if g == nil || !g.started() {
		return nil
	}
	return slices.Clone(g.addresses)
}

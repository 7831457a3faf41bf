package iscsi

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
)

// AcceptOn hands a connection to the server as the listener of a portal group on a reactor would (on that reactor).
func (s *Server) AcceptOn(reactorID, fd int, portalGroup int32) {
	s.locals[reactorID].accept(fd, portalGroup)
}

// Held says what the server still holds of connections that have ended: nothing, if all is well (when all reactors rest).
func (s *Server) Held() (all []string) {
	add := func(what string, n int) {
		if n != 0 {
			all = append(all, fmt.Sprintf("%d %s", n, what))
		}
	}
	var u Usage
	for _, l := range s.locals {
		l.addTo(&u)
		add("pending logins", l.pending)
		free := 0
		for t := l.tasks.free; t != nil; t = t.next {
			free++
		}
		add("tasks outside the free list", len(l.tasks.all)-free)
	}
	add("logins", u.Logins)
	add("connections", u.Connections)
	add("connections waiting for memory", u.WaitingForMemory)
	add("bytes beyond the shares", int(u.ExtraBytes))
	add("tasks", u.Tasks)
	add("buffers of tasks", u.Buffers)
	add("sessions", len(s.home.all)+len(s.home.sessions)+len(s.home.tsihs))
	for _, n := range s.home.perLocal {
		add("sessions counted on a reactor", n)
	}
	return all
}

// Running is how many full-feature connections there are.
func (s *Server) Running() (n int) {
	for _, l := range s.locals {
		n += len(l.conns)
	}
	return n
}

// Counted is the sum of a counter of iscsi_get_counters over all reactors.
func (s *Server) Counted(name string) (n uint64) {
	i := slices.Index(counterNames[:], name)
	for _, l := range s.locals {
		n += l.counters[i].Load()
	}
	return n
}

// Tasks is how many tasks the reactors' free lists have grown to.
func (s *Server) Tasks() (n int) {
	for _, l := range s.locals {
		n += len(l.tasks.all)
	}
	return n
}

// ExpCmdSN is the next command that the session with an ISID expects (when its reactor rests).
func (s *Server) ExpCmdSN(isid ISID) uint32 {
	for _, x := range s.home.all {
		if x.key.isid == isid {
			return x.expCmdSN
		}
	}
	return 0
}

// PretendSessions makes a reactor seem to have so many more sessions (on home, when all reactors rest).
func (s *Server) PretendSessions(reactorID, n int) { s.home.perLocal[reactorID] += n }

// Judge is what the group says of an initiator.
func (g *InitiatorGroup) Judge(name string, addr netip.Addr) (allowed, denied bool) {
	v := g.judge(name, addr)
	return v == verdictAllow, v == verdictDeny
}

// ChangeGroup gives an initiator group other members.
func (s *Server) ChangeGroup(tag int32, initiators, netmasks []string) error {
	return s.changeInitiators(tag, func(*InitiatorGroup) (*InitiatorGroup, error) { return NewInitiatorGroup(tag, initiators, netmasks) })
}

// AddMap lets an initiator group use a target through one more portal group.
func (s *Server) AddMap(target string, m Map) error {
	return s.rpcAddMaps(targetMapsParams{Name: target, Maps: []Map{m}})
}

// SetAuth sets the authentication policy.
func (s *TargetSpec) SetAuth(require, mutual bool, group int32) {
	s.Auth = authPolicy{Require: require, Mutual: mutual, Group: group}
}

// PretendToListen makes a portal group be found by SendTargets without a socket.
func (s *Server) PretendToListen(tag int32) error {
	return s.change(func(c *config) error {
		g := *c.portalGroup(tag)
		g.open = true
		c.portalGroups = replaced(c.portalGroups, c.portalGroup(tag), &g)
		return nil
	})
}

// LogTo changes where the log goes.
func (s *Server) LogTo(log *slog.Logger) { s.log = log }

// Report logs what has gone wrong since last.
func (s *Server) Report(last Counters) Counters { return s.report(context.Background(), last) }

// LeaveMemory leaves the connections of each reactor so much beyond their shares.
func (s *Server) LeaveMemory(bytes int64) {
	for _, l := range s.locals {
		l.mem.common = bytes
	}
}

// SessionResult is a session in iscsi_get_sessions.
type SessionResult = sessionResult

// Sessions is what iscsi_get_sessions lists.
func (s *Server) Sessions() ([]SessionResult, error) { return s.rpcSessions() }

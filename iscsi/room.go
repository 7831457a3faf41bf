package iscsi

import "net/netip"

// makeRoom reports whether one more login may begin, of a connection from source. At PendingLoginsMax another gives way to it, or it is
// refused.
func (l *local) makeRoom(source netip.Addr) bool {
	if l.pending < PendingLoginsMax {
		return true
	}
	c := l.idlest()
	if c == nil {
		c = l.surplus(source)
	}
	if c == nil {
		return false
	}
	l.count(countAcceptRefused)
	c.end()
	return true
}

// idlest is the login that gives way to whoever comes: the one that has been silent for longest, if that is LoginSilence.
func (l *local) idlest() (idle *loginConn) {
	since := l.r.Now() - int64(LoginSilence)
	for _, c := range l.logins {
		if c.mayGiveWay() && c.heard <= since && (idle == nil || c.heard < idle.heard) {
			idle = c
		}
	}
	return idle
}

// surplus is the login that gives way to one from source when none is idle. The source with the most logins gives up the one that has been
// silent for longest, if it has more of them than the newcomer's would have: so a source that floods takes no place from one that has no
// more than itself. Otherwise it is the oldest connection that has not said anything whole yet, so that scanners keep nobody out, though
// not that of a source that has fewer logins than the newcomer's: its first request may be on its way.
func (l *local) surplus(source netip.Addr) *loginConn {
	l.countSources()
	mine := l.sources[source]
	var crowded, wordless *loginConn
	most := 0
	for _, c := range l.logins {
		if !c.mayGiveWay() {
			continue
		}
		n := l.sources[c.source()]
		if n > most || n == most && c.heard < crowded.heard {
			crowded, most = c, n
		}
		if wordless == nil && !c.spoken && n >= mine {
			wordless = c
		}
	}
	if most > mine+1 {
		return crowded
	}
	return wordless
}

// countSources sets sources to how many pending logins each has, those that wait for us among them.
func (l *local) countSources() {
	clear(l.sources)
	for _, c := range l.logins {
		if !c.ending {
			l.sources[c.source()]++
		}
	}
}

// mayGiveWay reports whether the login could end for another. What waits for us and not for its peer is not silent, and stays.
func (c *loginConn) mayGiveWay() bool {
	return !c.ending && c.state != loginAsking && c.state != loginMoving
}

// source is whose login it is.
func (c *loginConn) source() netip.Addr { return sourceOf(c.sock.RemoteAddr().Addr()) }

// sourceOf is what counts as one source of connections: an IPv4 address, also one in IPv6 clothes, or the first 64 bits of an IPv6 address, of which
// one host may have as many as it likes.
func sourceOf(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if !addr.Is6() {
		return addr
	}
	network, err := addr.Prefix(64)
	if err != nil {
		panic("iscsi: an IPv6 address without 64 bits")
	}
	return network.Addr()
}

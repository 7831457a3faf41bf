package iscsi

// Usage is what the server holds at this moment (iscsi_get_usage). All of it belongs to somebody who is connected.
type Usage struct {
	Logins           int   `json:"logins"`
	Connections      int   `json:"connections"` // in full feature phase
	Sessions         int   `json:"sessions"`
	Tasks            int   `json:"tasks"`
	Buffers          int   `json:"buffers"`            // of tasks
	WaitingForMemory int   `json:"waiting_for_memory"` // connections
	ExtraBytes       int64 `json:"extra_bytes"`        // beyond the connections' shares
}

// Usage asks every reactor.
func (s *Server) Usage() (u Usage, err error) {
	if err = s.each(func(l *local) { l.addTo(&u) }); err != nil {
		return u, err
	}
	return u, s.home.r.Call(func() { u.Sessions = len(s.home.all) })
}

// addTo adds what one reactor holds (on the reactor).
func (l *local) addTo(u *Usage) {
	u.Logins += len(l.logins)
	u.Connections += len(l.conns)
	u.WaitingForMemory += len(l.mem.hungry)
	u.ExtraBytes += l.mem.extra
	for _, t := range l.tasks.all {
		u.Buffers += t.nbufs
		if t.state != taskFree {
			u.Tasks++
		}
	}
}

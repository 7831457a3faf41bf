package rpc

import (
	"cmp"
	"time"
)

// Limits bound what clients can take up; zero stands for the default.
type Limits struct {
	// RequestSize is the size of a request or batch; a client that exceeds it
	// is disconnected.
	RequestSize int
	// Connections is how many clients are served; more wait in the backlog.
	Connections int
	// Waiting is how many calls of methods marked with Waits a connection may
	// have; one more is answered with -11.
	Waiting int
	// WriteTimeout is how long a client may leave a reply unread.
	WriteTimeout time.Duration
}

// The defaults of Limits. SPDK's request size is 256 KiB.
const (
	requestSizeMax      = 16 << 20
	connectionsMax      = 64
	waitingMax          = 256
	writeTimeoutDefault = 30 * time.Second
)

// closeTimeout is how long Close waits for clients to read their replies.
const closeTimeout = 5 * time.Second

// replySizeMax is SPDK's bound of the buffer for one reply.
const replySizeMax = 32 << 20

func (l Limits) withDefaults() Limits {
	return Limits{
		RequestSize:  cmp.Or(l.RequestSize, requestSizeMax),
		Connections:  cmp.Or(l.Connections, connectionsMax),
		Waiting:      cmp.Or(l.Waiting, waitingMax),
		WriteTimeout: cmp.Or(l.WriteTimeout, writeTimeoutDefault),
	}
}

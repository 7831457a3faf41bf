package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
)

// findTarget asks the portal if nobody has named a target.
func (b *bench) findTarget(ctx context.Context) error {
	if b.Target != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	list, err := initiator.Discover(ctx, b.r, b.Portal, b.config(0))
	switch {
	case err != nil:
		return fmt.Errorf("discover targets (--target names one): %w", err)
	case len(list) == 0:
		return fmt.Errorf("discover targets: %s has none for %s", b.Portal, b.Initiator)
	}
	b.Target = list[0].Name
	return nil
}

// config is the session of worker i. Its ISID stays, so that reconnecting reinstates the session.
func (b *bench) config(i int) initiator.Config {
	cfg := initiator.Config{
		Offers: initiator.Offers(b.Initiator, b.Target),
		Auth:   iscsi.InitiatorAuth{Name: b.User, Secret: b.Secret, TargetSecret: b.TargetSecret},
		ISID:   iscsi.ISID{0x80, byte(os.Getpid() >> 8), byte(os.Getpid()), byte(os.Getpid() >> 16), byte(i >> 8), byte(i)},
		CmdSN:  uint32(b.CmdSN), Depth: b.Depth, Batch: b.Batch,
	}
	if b.HeaderDigest {
		cfg.Offers.HeaderDigest = iscsi.CRC32C
	}
	if b.DataDigest {
		cfg.Offers.DataDigest = iscsi.CRC32C
	}
	return cfg
}

// lunField is LUN n as SAM-5 4.7 writes it: peripheral addressing up to 255, flat space addressing beyond.
func lunField(n uint64) uint64 {
	if n < 256 {
		return n << 48
	}
	return (0x4000 | n) << 48
}

// connect logs worker i in and waits until the LUN has told its unit attentions.
func (b *bench) connect(ctx context.Context, i int) (*initiator.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := initiator.Dial(ctx, b.r, b.Portal, b.config(i))
	if err != nil {
		return nil, err
	}
	for range readyTries {
		var a *initiator.Answer
		a, err = c.Do(ctx, lunField(b.LUN), make([]byte, 6), nil, 0)
		if err != nil || a.Status == 0 {
			break
		}
		err = fmt.Errorf("LUN %d is not ready: status %#02x, sense %x", b.LUN, a.Status, a.Sense)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (b *bench) connectAll(ctx context.Context) error {
	for i := range b.Connections {
		c, err := b.connect(ctx, i)
		if err != nil {
			return err
		}
		b.clients = append(b.clients, c)
	}
	return b.readCapacity(ctx, b.clients[0])
}

// readCapacity asks for the geometry: READ CAPACITY(16), or (10) of devices that have no other.
func (b *bench) readCapacity(ctx context.Context, c *initiator.Client) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	a, err := c.Do(ctx, lunField(b.LUN), []byte{0x9e, 0x10, 13: 32, 15: 0}, nil, 32)
	if err == nil && a.Status == 0 && len(a.In) >= 12 {
		b.blocks, b.blockLength = binary.BigEndian.Uint64(a.In)+1, int64(binary.BigEndian.Uint32(a.In[8:]))
		return b.checkGeometry()
	}
	if err == nil {
		a, err = c.Do(ctx, lunField(b.LUN), []byte{0x25, 9: 0}, nil, 8)
	}
	if err != nil || a.Status != 0 || len(a.In) < 8 {
		return fmt.Errorf("read the capacity of LUN %d: %w", b.LUN, errors.Join(err, errors.New("no answer that makes sense")))
	}
	b.blocks, b.blockLength = uint64(binary.BigEndian.Uint32(a.In))+1, int64(binary.BigEndian.Uint32(a.In[4:]))
	return b.checkGeometry()
}

// keep watches over worker i's connection and logs in again, as long as the options say.
func (b *bench) keep(ctx context.Context, i int) {
	defer b.keepers.Done()
	for {
		b.mu.Lock()
		c := b.clients[i]
		b.mu.Unlock()
		<-c.Ended()
		c = b.reconnect(ctx, i, c.Err())
		if c == nil {
			break
		}
		_ = b.r.Call(func() { b.workers[i].begin(c.Session) })
	}
	_ = b.r.Call(func() {
		b.workers[i].dead = true
		b.workers[i].checkQuiet()
	})
	if b.alive.Add(-1) == 0 {
		close(b.allDead)
	}
}

// reconnect returns a new client for worker i, nil when it is time to give up.
func (b *bench) reconnect(ctx context.Context, i int, why error) *initiator.Client {
	for until := time.Now().Add(b.Reconnect); ; time.Sleep(reconnectPause) {
		b.mu.Lock()
		over := b.over
		b.mu.Unlock()
		if over || ctx.Err() != nil {
			return nil
		}
		if time.Now().After(until) {
			fmt.Fprintf(b.stderr, "pollux bench: connection %d: %v\n", i, why)
			return nil
		}
		c, err := b.connect(ctx, i)
		if err != nil {
			why = err
			continue
		}
		b.mu.Lock()
		b.clients[i] = c
		b.mu.Unlock()
		b.reconnects.Add(1)
		return c
	}
}

// logout ends all sessions. The reactor must have no connection left when it stops.
func (b *bench) logout() {
	b.mu.Lock()
	b.over = true
	clients := b.clients
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
	defer cancel()
	for _, c := range clients {
		select {
		case <-c.Ended():
		default:
			_ = c.Logout(ctx) // A target that does not answer is left alone.
		}
	}
	b.keepers.Wait()
}

package tcmur

import (
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"
)

// What the supervisor does about a device's size.

// resized makes a size known that the handler has told.
func (s *supervisor) resized(size uint64) {
	if size < 1<<s.d.shift {
		return
	}
	s.size = size
	if err := s.dev.Resize(size >> s.d.shift); err != nil {
		s.launch.logs.write(slog.LevelWarn, fmt.Sprintf("resize to %d bytes as it says: %v", size, err))
	}
}

// obey does what an RPC method wants.
func (s *supervisor) obey(h *helper, o order) error {
	if o.restart {
		return nil // It runs.
	}
	return s.resize(h, o.resize)
}

// resize tells the handler first when the device grows, and last when it shrinks, so that no request is beyond what it knows.
func (s *supervisor) resize(h *helper, size uint64) error {
	if !h.ready.ops.reconfig {
		return fmt.Errorf("bdev %s: its handler cannot resize: %w", s.d.name, syscall.EOPNOTSUPP)
	}
	old := s.size
	if size < old {
		if err := s.dev.Resize(size >> s.d.shift); err != nil {
			return err
		}
	}
	if err := s.reconfigure(h, size); err != nil {
		if size < old {
			_ = s.dev.Resize(old >> s.d.shift)
		}
		return err
	}
	s.size = size
	return s.dev.Resize(size >> s.d.shift)
}

func (s *supervisor) reconfigure(h *helper, size uint64) error {
	if err := h.send(fmt.Sprintf("reconfigure %d", size)); err != nil {
		return err
	}
	timer := time.NewTimer(s.d.timeout)
	defer timer.Stop()
	for {
		select {
		case m, ok := <-h.events:
			if !ok {
				return fmt.Errorf("bdev %s: the helper died: %w", s.d.name, syscall.EIO)
			}
			if rc, is := strings.CutPrefix(m, "reconfigured "); is && rc != "0" {
				return fmt.Errorf("bdev %s: the handler refuses %d bytes (%s)", s.d.name, size, rc)
			} else if is {
				return nil
			}
			if strings.HasPrefix(m, "lost ") {
				s.d.kick(kickLock)
			}
		case <-timer.C:
			h.kill() // A late answer would be taken for that of the next order.
			return fmt.Errorf("bdev %s: the handler does not answer, its helper is restarted: %w", s.d.name, syscall.ETIMEDOUT)
		case <-s.here.Done():
			h.kill()
			return fmt.Errorf("bdev %s: the device is being closed: %w", s.d.name, syscall.ESHUTDOWN)
		}
	}
}

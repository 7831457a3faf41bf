package meta

import (
	"errors"
	"strings"
	"testing"
)

// TestVacant: whatever a disk may hold is found, at its place and nowhere else.
func TestVacant(t *testing.T) {
	const size = 1<<20 + 512
	m := make(memory, size)
	if err := Vacant(m, size); err != nil {
		t.Error(err)
	}
	for _, s := range signatures {
		at := s.at
		if at < 0 {
			at += 1 << 20
		}
		copy(m[at:], s.bytes)
		if err := Vacant(m, size); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), s.what) {
			t.Errorf("%s: %v", s.what, err)
		}
		clear(m[at : at+int64(len(s.bytes))])
		copy(m[at+1:], s.bytes)
		if err := Vacant(m, size); err != nil && strings.Contains(err.Error(), s.what) {
			t.Errorf("%s, one byte further: %v", s.what, err)
		}
		clear(m)
	}
	small := make(memory, sizeMin) // most of the places are past its end
	if err := Vacant(small, sizeMin); err != nil {
		t.Error(err)
	}
}

func TestVacantFindsMetadata(t *testing.T) {
	m, _ := create(t, 2<<20, Options{})
	drbd, damaged := newDRBDDisk(DRBDPrimary, 1, 8), newDRBDDisk(DRBDPrimary, 1, 8)
	damaged.memory[80] = 1
	other := make(memory, 1<<20)
	bigEndian.PutUint32(other[len(other)-4096+60:], drbdOthers[1].magic)
	for name, disk := range map[string]memory{"GREP v1": m, "DRBD v08": drbd.memory, "of DRBD v08": damaged.memory, "v09": other} {
		if err := Vacant(disk, int64(len(disk))); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for index, found := range map[int]bool{1: true, drbdIndexLook - 1: true, drbdIndexLook: false} {
		hole := int64(index) * drbdIndexSize
		shared := tailed{hole, append(newDRBDDisk(DRBDPrimary, 1, 8).memory, make([]byte, 1<<20)...)}
		if err := Vacant(readOnly{shared}, shared.size()); errors.Is(err, ErrInUse) != found {
			t.Errorf("index %d: %v", index, err)
		}
	}
}

// readOnly is a disk that nobody writes to.
type readOnly struct{ tailed }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (readOnly) Sync() error                        { return errors.ErrUnsupported }

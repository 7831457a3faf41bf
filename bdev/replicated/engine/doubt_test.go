package engine

import "testing"

// TestDoubtComesWithTheData: the source has crashed as a Primary towards node 3, and lost a Primary some of whose writes node 4 may
// not have. Whoever has taken over its data is in the same doubt, and not in its own any more; what the source does not name stays.
func TestDoubtComesWithTheData(t *testing.T) {
	source, target := withPeers(t, 4), withPeers(t, 4)
	source.super.Rows[2].Flags, source.super.Rows[3].Flags = RowCrashed|RowOutdated, RowOpen
	target.super.Rows[1].Flags, target.super.Rows[3].Flags = RowWeak, RowWeak|RowOutdated
	p := &target.peers[0]
	p.sourceDoubt = source.doubt()
	target.takeOverDoubt(p)
	for i, want := range []uint16{0, RowWeak, RowCrashed, RowOpen | RowOutdated} {
		if f := target.super.Rows[i].Flags; f != want {
			t.Errorf("row %d has flags %#x, not %#x", i, f, want)
		}
	}
}

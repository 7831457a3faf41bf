package meta

import (
	"encoding/binary"
	"fmt"
	"io"
)

// drbdOthers are the magic numbers of DRBD's other formats: where in the superblock they are, and what wrote them.
var drbdOthers = []struct {
	at     int
	magic  uint32
	format string
}{
	{28, 0x8374026a, "v07, of DRBD 0.7"},
	{60, 0x8374026d, "v09, of DRBD 9"},
}

// otherDRBD says what a disk without v08 metadata has instead, if that is DRBD's too.
func otherDRBD(disk io.ReaderAt, size int64, index int) error {
	for _, off := range []int64{drbdInternal(size), drbdInternal(size) + PageSize - drbdIndexSize, int64(index) * drbdIndexSize} {
		var p Page
		if off < 0 || off+PageSize > size {
			continue
		}
		if _, err := disk.ReadAt(p[:], off); err != nil {
			return fmt.Errorf("DRBD superblock at %d: %w", off, err)
		}
		for _, o := range drbdOthers {
			if binary.BigEndian.Uint32(p[o.at:]) == o.magic {
				return fmt.Errorf("superblock at %d: %w, but %s: only DRBD 8.4 is read here; "+
					"`drbdmeta MINOR v08 FILE internal create-md` offers to convert it", off, ErrOtherDRBD, o.format)
			}
		}
	}
	return ErrNotDRBD
}

var drbdFlagNames = []string{
	"consistent", "primary-ind", "connected-ind", "full-sync", "was-up-to-date", "peer-outdated", "crashed-primary",
	"al-clean", "al-disabled",
}

// DumpDRBD08 prints v08 metadata for a person; with all, every hot extent and every dirty bit too.
func DumpDRBD08(w io.Writer, d *DRBD08, disk io.ReaderAt, all bool) error {
	stored, err := d.Bitmap(disk)
	if err != nil {
		return err
	}
	dirty, err := d.Dirty(disk)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "format DRBD v08, superblock at %d, unclean %v, %d sectors\n", d.Offset, d.Unclean, d.SizeMeta)
	fmt.Fprintf(w, "size %d, one bit for %d bytes, peer's largest request %d\n", d.Size, d.BytesPer, d.MaxBio)
	fmt.Fprintf(w, "flags %s, device %016X\n", flagNames(d.Flags, drbdFlagNames), d.DeviceUUID)
	fmt.Fprintf(w, "current %016X bitmap %016X history %016X %016X\n", d.UUID[0], d.UUID[1], d.UUID[2], d.UUID[3])
	fmt.Fprintf(w, "activity log at %d, %d stripes of %d blocks, %d extents", d.alStart(), d.Stripes, d.Stripe4k, d.ALExtents)
	log := d.ActivityLog(disk)
	if log.Applied {
		fmt.Fprintln(w, "; not needed")
	} else {
		fmt.Fprintf(w, "; transaction %d, %d of %d slots hot, %d damaged blocks, trusted %v\n", log.Last, len(log.Hot), log.Slots, log.Bad, !log.All)
	}
	fmt.Fprintf(w, "bitmap at %d, %d bits set, %d of %d dirty at the next attach\n", d.bmStart(), onesCount(stored), onesCount(dirty), d.bits())
	if all {
		hot := make([]uint64, (d.bits()/drbdExtentBits+64)/64)
		for _, x := range log.Hot {
			hot[x/64] |= 1 << (x % 64)
		}
		printRuns(w, "hot extents", hot)
		printRuns(w, "set bits", stored)
		printRuns(w, "dirty bits", dirty)
	}
	return nil
}

// CheckDRBD08 reads the activity log and the bitmap of v08 metadata and says what is wrong with them. The bitmap has no
// checksum.
func CheckDRBD08(d *DRBD08, disk io.ReaderAt) (problems []Problem) {
	if _, err := d.Bitmap(disk); err != nil {
		problems = append(problems, Problem{true, err.Error()})
	}
	log := d.ActivityLog(disk)
	if log.Bad > 0 {
		problems = append(problems, Problem{false, fmt.Sprintf("%d of %d blocks of the activity log are damaged", log.Bad, d.ring())})
	}
	if log.All {
		problems = append(problems, Problem{false, "the activity log cannot be trusted: everything is to be resynced"})
	}
	return problems
}

package meta

import (
	"errors"
	"fmt"
)

// ErrInUse says that create would destroy something.
var ErrInUse = errors.New("the disk is not empty")

// signatures tell what others have put on a disk. An offset below 0 counts from the end of the last whole page.
var signatures = []struct {
	at    int64
	bytes string
	what  string
}{
	{0, "XFSB", "an XFS file system"},
	{1080, "\x53\xef", "an ext2, ext3 or ext4 file system"},
	{65600, "_BHRfS_M", "a Btrfs file system"},
	{1024, "\x10\x20\xf5\xf2", "an F2FS file system"},
	{32769, "CD001", "an ISO 9660 file system"},
	{3, "NTFS    ", "an NTFS file system"},
	{0, "LUKS\xba\xbe", "a LUKS volume"},
	{512, "LABELONE", "an LVM physical volume"},
	{0, "\xfc\x4e\x2b\xa9", "a member of a Linux MD array"},
	{4096, "\xfc\x4e\x2b\xa9", "a member of a Linux MD array"},
	{-8192, "\xfc\x4e\x2b\xa9", "a member of a Linux MD array"},
	{4086, "SWAPSPACE2", "Linux swap space"},
	{0, "bluestore block device", "a Ceph OSD"},
	{0, "SPDKBLOB", "an SPDK blobstore"},
	{0, "QFI\xfb", "a QCOW image"},
	{512, "EFI PART", "a GUID partition table"},
	{510, "\x55\xaa", "a partition table or a boot sector"},
}

// drbdIndexLook is how many of a shared disk's metadata create looks for.
const drbdIndexLook = 32

// Vacant refuses a disk on which create would destroy metadata, or a file system that may reach to the disk's end.
func Vacant(disk Disk, size int64) error {
	if _, err := Open(disk, size); !errors.Is(err, ErrNoSuper) {
		return fmt.Errorf("%w: there is metadata of the format GREP v1", ErrInUse)
	}
	for index := range drbdIndexLook {
		switch _, err := OpenDRBD08(disk, size, index); {
		case err == nil || errors.Is(err, ErrImplausible):
			return fmt.Errorf("%w: there is metadata of DRBD v08", ErrInUse)
		case !errors.Is(err, ErrNotDRBD):
			return fmt.Errorf("%w: %w", ErrInUse, err)
		}
	}
	for _, s := range signatures {
		at := s.at
		if at < 0 {
			at += size &^ (PageSize - 1)
		}
		if at < 0 || at+int64(len(s.bytes)) > size {
			continue
		}
		b := make([]byte, len(s.bytes))
		if _, err := disk.ReadAt(b, at); err != nil {
			return fmt.Errorf("looking for what is on the disk, at %d: %w", at, err)
		}
		if string(b) == s.bytes {
			return fmt.Errorf("%w: there is %s", ErrInUse, s.what)
		}
	}
	return nil
}

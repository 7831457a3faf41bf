package aio

import (
	"syscall"

	"pollux/bdev"
)

// statusOf is what an error of a file means. What is not listed is an error of the medium.
func statusOf(errno syscall.Errno) bdev.Status {
	switch errno {
	case 0:
		return bdev.StatusOK
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG:
		return bdev.StatusNoSpace
	case syscall.EROFS, syscall.EPERM, syscall.EACCES:
		return bdev.StatusReadOnly
	case syscall.ENODEV, syscall.ENXIO, syscall.EBADF, syscall.ESTALE, syscall.ENOTCONN, syscall.ETIMEDOUT, syscall.EINVAL:
		return bdev.StatusHardwareError
	case syscall.ENOMEM, syscall.EAGAIN:
		return bdev.StatusNoMemory
	case syscall.EOPNOTSUPP:
		return bdev.StatusUnsupported
	case syscall.EBADE: // What block devices say of a reservation conflict.
		return bdev.StatusConflict
	case syscall.ECANCELED:
		return bdev.StatusAborted
	default:
		return bdev.StatusMediumError
	}
}

package uring

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// adopt sets what every connection wants, and asks for its ends. Errors are left to the first receive, which meets them too.
func adopt(fd int, nonblock bool) (local, remote netip.AddrPort) {
	_ = unix.SetNonblock(fd, nonblock)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if sa, err := unix.Getsockname(fd); err == nil {
		local = addrPort(sa)
	}
	if sa, err := unix.Getpeername(fd); err == nil {
		remote = addrPort(sa)
	}
	return local, remote
}

// addrPort translates an address; a v4 address in v6 clothes becomes what it is.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// Adopt puts fd into blocking mode: io_uring would otherwise hand out EAGAIN instead of waiting.
func (k *linux) Adopt(fd int) (local, remote netip.AddrPort) { return adopt(fd, false) }

//go:build !invariants

package iscsi

// FirstSN is where sequence numbers begin that nobody has chosen: DataSN and R2TSN (RFC 7143 11.7.5, 11.8.2), and the CmdSN of our
// initiator. Only builds with -tags invariants can begin elsewhere.
func FirstSN() uint32 { return 0 }

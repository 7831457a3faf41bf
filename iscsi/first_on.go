//go:build invariants

package iscsi

import (
	"fmt"
	"os"
	"strconv"
)

// firstVariable has all sequence numbers of a process begin elsewhere than they should, so that a test sees them wrap. Both ends of a
// connection have to begin at the same DataSN and R2TSN.
const firstVariable = "POLLUX_FIRST_SN"

// firstSN is read once, before anything else.
var firstSN = parseFirst(os.Getenv(firstVariable))

func parseFirst(text string) uint32 {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 0, 32)
	if err != nil {
		panic(fmt.Sprintf("%s=%q: want a number of 32 bits, such as 0xffffffe0", firstVariable, text))
	}
	return uint32(n)
}

// FirstSN is where sequence numbers begin that nobody has chosen: StatSN, DataSN, R2TSN, and the CmdSN of our initiator.
func FirstSN() uint32 { return firstSN }

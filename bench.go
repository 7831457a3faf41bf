package main

import (
	"io"

	"pollux/iscsi/initiator/bench"
)

// benchCommand is `pollux bench`: it loads an iSCSI LUN and reports what that cost. It returns the exit status.
func benchCommand(args []string, stdout, stderr io.Writer) int {
	return bench.Main(args, stdout, stderr)
}

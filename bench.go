package main

import "pollux/iscsi/initiator/bench"

// benchCommand is `pollux bench`: it loads an iSCSI LUN and reports what that cost.
func benchCommand(args []string, std stdio) int {
	return bench.Main(args, std.out, std.err)
}

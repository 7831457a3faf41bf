package main

import (
	"fmt"

	"pollux/bdev/replicated/meta"
)

const replicatedUsage = `usage: pollux replicated md create|dump|check [OPTION...] FILE

Looks at and makes the metadata of replicated volumes, on files and block devices; dump and check read those of DRBD 8.4 (v08)
too. pollux replicated md --help tells more.
`

// replicatedCommand is `pollux replicated`.
func replicatedCommand(args []string, std stdio) int {
	switch {
	case len(args) > 0 && args[0] == "md":
		return meta.Command(args[1:], std.out, std.err)
	case len(args) > 0 && (args[0] == "--help" || args[0] == "-h"):
		fmt.Fprint(std.out, replicatedUsage)
		return exitDone
	}
	fmt.Fprint(std.err, replicatedUsage)
	return exitMisuse
}

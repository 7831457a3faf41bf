// Command pollux is a polled storage target: it serves block devices over iSCSI and is configured by JSON-RPC.
//
// This file chooses the sub-command; each has a file of its own. target.go is the composition root.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Exit statuses of every sub-command.
const (
	exitDone   = 0
	exitFailed = 1
	exitMisuse = 2
)

// command is one sub-command. run gets the arguments after its name.
type command struct {
	name, summary string
	run           func(args []string, std stdio) int
}

// stdio is what a command reads and writes: results go to out, words to err.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

func commands() []command {
	return []command{
		{"serve", "run the target", serveCommand},
		{"rpc", "call a method of a running target", rpcCommand},
		{"bench", "load an iSCSI LUN", benchCommand},
		{"replicated", "look at and make replication metadata", replicatedCommand},
		{"version", "print the version", versionCommand},
	}
}

func main() {
	mutate(os.Stderr)
	os.Exit(run(os.Args, stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// run chooses the command. A program that was started under a name of SPDK's serves, so what starts SPDK starts this.
func run(args []string, std stdio) int {
	switch filepath.Base(args[0]) {
	case "spdk_tgt", "iscsi_tgt":
		return serveCommand(args[1:], std)
	}
	if len(args) < 2 {
		printUsage(std.err)
		return exitMisuse
	}
	switch args[1] {
	case "help", "-h", "--help":
		printUsage(std.out)
		return exitDone
	case "--version":
		return versionCommand(nil, std)
	}
	for _, c := range commands() {
		if c.name == args[1] {
			return c.run(args[2:], std)
		}
	}
	fmt.Fprintf(std.err, "pollux: unknown command %q; pollux --help lists them\n", args[1])
	return exitMisuse
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "pollux serves block devices over iSCSI.\n\nusage: pollux COMMAND [ARGUMENT...]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-12s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\npollux COMMAND --help tells more.\n")
}

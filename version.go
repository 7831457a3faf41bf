package main

import "fmt"

// version is the release; the build may set it with -ldflags -X main.version=...
var version = "0.1.0-dev"

func versionCommand(_ []string, std stdio) int {
	fmt.Fprintln(std.out, "pollux", version)
	return exitDone
}

//go:build !invariants

package main

import "os"

// mutate does nothing: only builds with -tags invariants can be broken on purpose.
func mutate(*os.File) {}

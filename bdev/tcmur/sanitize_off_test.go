//go:build !invariants

package tcmur

const sanitizers = ""

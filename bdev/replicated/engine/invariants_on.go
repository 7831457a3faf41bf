//go:build invariants

package engine

// Invariants says that this build checks its own rules and honours mutation switches.
const Invariants = true

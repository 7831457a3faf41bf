package main

import (
	"fmt"
	"path"
	"strings"
)

// load is what the generator does: a closed loop of depth commands at random blocks.
type load struct {
	name  string
	block int // bytes
	depth int
	read  int // percent
}

var loads = []load{
	{name: "4k-read-1", block: 4 << 10, depth: 1, read: 100},
	{name: "4k-read-32", block: 4 << 10, depth: 32, read: 100},
	{name: "4k-read-128", block: 4 << 10, depth: 128, read: 100},
	{name: "4k-write-1", block: 4 << 10, depth: 1, read: 0},
	{name: "4k-write-32", block: 4 << 10, depth: 32, read: 0},
	{name: "4k-write-128", block: 4 << 10, depth: 128, read: 0},
	{name: "256k-read-16", block: 256 << 10, depth: 16, read: 100},
	{name: "256k-write-16", block: 256 << 10, depth: 16, read: 0},
}

// choose returns the loads whose names match one of the patterns.
func choose(patterns string) ([]load, error) {
	var chosen []load
	for _, l := range loads {
		for pattern := range strings.SplitSeq(patterns, ",") {
			ok, err := path.Match(pattern, l.name)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", pattern, err)
			}
			if ok {
				chosen = append(chosen, l)
				break
			}
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no load matches %q", patterns)
	}
	return chosen, nil
}

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
	{"4k-read-1", 4 << 10, 1, 100},
	{"4k-read-32", 4 << 10, 32, 100},
	{"4k-read-128", 4 << 10, 128, 100},
	{"4k-write-1", 4 << 10, 1, 0},
	{"4k-write-32", 4 << 10, 32, 0},
	{"4k-write-128", 4 << 10, 128, 0},
	{"256k-read-16", 256 << 10, 16, 100},
	{"256k-write-16", 256 << 10, 16, 0},
}

// fill is the load that writes a LUN before it is measured, so that nothing is read that was never written.
var fill = load{"fill", 256 << 10, 16, 0}

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

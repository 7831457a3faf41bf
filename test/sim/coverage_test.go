package sim

import (
	"fmt"

	"pollux/bdev/replicated/engine"
)

// unreachableRules lists the rows of the compare table that our own nodes never reach, with the reason. Whatever else is
// missed fails, and so does a row of this list that is reached after all.
//
// Rule 41 is about a Primary that meets a node of its own generation, with the mark of a crash on one side. Two nodes never get
// that far: a Primary has started a new generation before it says hello, or it collects changes for that node already, and
// then rules 34 to 37 come first. With several nodes these leave it to the marks of the crash, and one Primary reaches rule
// 41; two Primaries never have one generation. That row is there for DRBD's kernel, which starts the new generation later, and
// TestCompareRows of the engine goes through it.
var unreachableRules = map[int]string{
	10: "a Primary has started a generation of its own before it meets another one",
}

// scriptedRules are the rows that a transcript reaches, and seeds hardly ever: nodes of one volume come to unrelated data only after a split
// brain, and when one of them has then been away for longer than anybody remembers.
var scriptedRules = map[int]string{
	31: "unrelated-data.txt",
}

type wanted struct{ from, to engine.Conn }

// wantedTransitions are the arrows of the state machine in the engine's doc.go.
var wantedTransitions = []wanted{
	{engine.StandAlone, engine.Unconnected},
	{engine.Unconnected, engine.WFConnection},
	{engine.WFConnection, engine.WFReportParams},
	{engine.WFReportParams, engine.Connected},
	{engine.WFReportParams, engine.WFBitMapS},
	{engine.WFReportParams, engine.WFBitMapT},
	{engine.WFBitMapS, engine.SyncSource},
	{engine.WFBitMapT, engine.WFSyncUUID},
	{engine.WFSyncUUID, engine.SyncTarget},
	{engine.SyncSource, engine.Connected},
	{engine.SyncTarget, engine.Connected},
	{engine.SyncSource, engine.PausedSyncS},
	{engine.PausedSyncS, engine.SyncSource},
	{engine.SyncTarget, engine.PausedSyncT},
	{engine.PausedSyncT, engine.SyncTarget},
	{engine.Connected, engine.VerifyS},
	{engine.Connected, engine.VerifyT},
	{engine.VerifyS, engine.Connected},
	{engine.VerifyT, engine.Connected},
	{engine.Connected, engine.StartingSyncS},
	{engine.Connected, engine.StartingSyncT},
	{engine.StartingSyncS, engine.SyncSource},
	{engine.StartingSyncT, engine.WFSyncUUID},
	{engine.Connected, engine.Ahead},
	{engine.Ahead, engine.SyncSource},
	{engine.Connected, engine.Behind},
	{engine.Behind, engine.SyncTarget},
	{engine.Connected, engine.NetworkFailure},
	{engine.SyncSource, engine.NetworkFailure},
	{engine.SyncTarget, engine.NetworkFailure},
	{engine.WFBitMapS, engine.NetworkFailure},
	{engine.WFBitMapT, engine.NetworkFailure},
	{engine.WFSyncUUID, engine.NetworkFailure},
	{engine.VerifyS, engine.NetworkFailure},
	{engine.VerifyT, engine.NetworkFailure},
	{engine.Ahead, engine.NetworkFailure},
	{engine.Behind, engine.NetworkFailure},
	{engine.NetworkFailure, engine.WFConnection},
	{engine.WFConnection, engine.StandAlone},
}

// missed lists what a run has not reached: rules (those of transcripts apart), arrows, policies, commands; and what it should not have
// reached.
func missed(c *engine.Coverage) (list []string) {
	for i := range engine.Rules {
		r := &engine.Rules[i]
		why, never := unreachableRules[i]
		switch {
		case c.Rules[i] == 0 && !never && scriptedRules[i] == "":
			list = append(list, fmt.Sprintf("not reached: rule %d (row %d): %s", r.Number, i, r.Says))
		case c.Rules[i] > 0 && never:
			list = append(list, fmt.Sprintf("reached: rule %d (row %d), listed as unreachable: %s", r.Number, i, why))
		}
	}
	for _, w := range wantedTransitions {
		if c.Transitions[w.from][w.to] == 0 {
			list = append(list, fmt.Sprintf("not reached: %v to %v", w.from, w.to))
		}
	}
	for primaries, policies := range profilePolicies {
		if primaries == 0 {
			policies = append([]engine.Policy{engine.DiscardRemote}, policies...)
		}
		for _, p := range policies {
			if c.Policies[primaries][p] == 0 {
				list = append(list, fmt.Sprintf("not reached: after-sb-%dpri %v", primaries, p))
			}
		}
	}
	for _, p := range rrPolicies {
		if c.RRConflict[p] == 0 {
			list = append(list, fmt.Sprintf("not reached: rr-conflict %v", p))
		}
	}
	for cmd := engine.CmdConnect; cmd <= engine.CmdVerifyLegs; cmd++ {
		if c.Commands[cmd] == 0 {
			list = append(list, fmt.Sprintf("not given: command %d", cmd))
		}
	}
	if c.Repairs == 0 {
		list = append(list, "read repair")
	}
	if c.LegRepairs == 0 {
		list = append(list, "repair between legs")
	}
	return list
}

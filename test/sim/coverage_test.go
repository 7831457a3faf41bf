package sim

import (
	"fmt"

	"pollux/bdev/replicated/engine"
)

// unreachable lists what two nodes that obey the rules never reach, each with its reason. Whatever else is missed fails.
var unreachableRules = map[int]string{
	8:  "a promotion without the peer starts a new generation, so a Primary never meets an equal one after a crash",
	9:  "the same",
	10: "the same",
	13: "both would have to be promoted in one generation",
	14: "the same",
	21: "needs metadata that has been put back to an older state",
	24: "the same",
	27: "needs two nodes that are both declared good before they have ever met",
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

// missed lists what a run has not reached: rules, arrows, policies, commands.
func missed(c *engine.Coverage) (list []string) {
	for i := range engine.Rules {
		r := &engine.Rules[i]
		if _, ok := unreachableRules[i]; c.Rules[i] == 0 && !ok {
			list = append(list, fmt.Sprintf("rule %d (row %d): %s", r.Number, i, r.Says))
		}
	}
	for _, w := range wantedTransitions {
		if c.Transitions[w.from][w.to] == 0 {
			list = append(list, fmt.Sprintf("%v to %v", w.from, w.to))
		}
	}
	for primaries, policies := range profilePolicies {
		for _, p := range policies {
			if c.Policies[primaries][p] == 0 {
				list = append(list, fmt.Sprintf("after-sb-%dpri %v", primaries, p))
			}
		}
	}
	for _, p := range rrPolicies {
		if c.RRConflict[p] == 0 {
			list = append(list, fmt.Sprintf("rr-conflict %v", p))
		}
	}
	return list
}

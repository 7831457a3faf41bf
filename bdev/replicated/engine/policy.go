package engine

// conflict is what the split-brain policies look at.
type conflict struct {
	minePrimary, peerPrimary       bool // now
	mineWasPrimary, peerWasPrimary bool // when the generations parted
	mineChanges, peerChanges       uint64
	tieBreaker                     bool
}

func conflictOf(mine, theirs *Hello, tie bool) conflict {
	return conflict{
		minePrimary: mine.State.Role == Primary, peerPrimary: theirs.State.Role == Primary,
		mineWasPrimary: mine.GI.Bitmap&1 != 0, peerWasPrimary: theirs.GI.Bitmap&1 != 0,
		mineChanges: mine.Dirty, peerChanges: theirs.Dirty, tieBreaker: tie,
	}
}

// resolve returns which side gives in: 1 is the peer, -1 this one, 0 nobody.
func resolve(primaries int, policies *[3]Policy, c *conflict) Verdict {
	switch primaries {
	case 0:
		return resolve0p(policies[0], c)
	case 1:
		return resolve1p(policies, c)
	default:
		return resolve2p(policies, c)
	}
}

// resolve0p implements after-sb-0pri. A policy that finds no difference falls through to the next one that may.
func resolve0p(policy Policy, c *conflict) Verdict {
	switch policy {
	case DiscardYoungerPrimary, DiscardOlderPrimary:
		if c.mineWasPrimary == c.peerWasPrimary {
			return byChanges(c)
		}
		// Who was Primary when the generations parted is the older one.
		if c.mineWasPrimary == (policy == DiscardYoungerPrimary) {
			return 1
		}
		return -1
	case DiscardZeroChanges:
		switch {
		case c.mineChanges == 0 && c.peerChanges == 0:
			return byTie(c)
		case c.mineChanges == 0:
			return -1
		case c.peerChanges == 0:
			return 1
		}
		return 0
	case DiscardLeastChanges:
		return byChanges(c)
	case DiscardLocal:
		return -1
	case DiscardRemote:
		return 1
	default:
		return 0
	}
}

// byChanges lets the side with fewer changed blocks give in.
func byChanges(c *conflict) Verdict {
	switch {
	case c.mineChanges < c.peerChanges:
		return -1
	case c.mineChanges > c.peerChanges:
		return 1
	}
	return byTie(c)
}

func byTie(c *conflict) Verdict {
	if c.tieBreaker {
		return -1
	}
	return 1
}

// resolve1p implements after-sb-1pri.
func resolve1p(policies *[3]Policy, c *conflict) Verdict {
	secondaryGivesIn := Verdict(-1)
	if c.minePrimary {
		secondaryGivesIn = 1
	}
	switch policies[1] {
	case DiscardSecondary:
		return secondaryGivesIn
	case Consensus:
		if resolve0p(policies[0], c) == secondaryGivesIn {
			return secondaryGivesIn
		}
		return 0
	case ViolentlyAs0p:
		return resolve0p(policies[0], c)
	case CallPriLost:
		return resolve0p(policies[0], c) // rr-conflict sees to a Primary that would give in
	default:
		return 0
	}
}

// resolve2p implements after-sb-2pri.
func resolve2p(policies *[3]Policy, c *conflict) Verdict {
	switch policies[2] {
	case ViolentlyAs0p, CallPriLost:
		return resolve0p(policies[0], c)
	default:
		return 0
	}
}

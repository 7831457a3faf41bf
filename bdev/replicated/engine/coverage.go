package engine

// Coverage counts what a run has reached. The methods accept nil.
type Coverage struct {
	Rules       [64]uint64 // by index in Rules
	Transitions [connMax][connMax]uint64
	Disks       [UpToDate + 1][UpToDate + 1]uint64
	Policies    [3][Violently + 1]uint64
	RRConflict  [Violently + 1]uint64
	Commands    [CmdVerifyLegs + 1]uint64
	SplitBrains uint64
	Protocol    uint64
	Repairs     uint64 // of what a leg could not read
	LegRepairs  uint64 // of what verify found different between legs
}

func (c *Coverage) transition(from, to Conn) {
	if c != nil {
		c.Transitions[from][to]++
	}
}

func (c *Coverage) disk(from, to Disk) {
	if c != nil {
		c.Disks[from][to]++
	}
}

func (c *Coverage) rule(r *Rule) {
	if c == nil {
		return
	}
	for i := range Rules {
		if &Rules[i] == r {
			c.Rules[i]++
		}
	}
}

func (c *Coverage) splitBrain() {
	if c != nil {
		c.SplitBrains++
	}
}

func (c *Coverage) policy(primaries int, p Policy) {
	if c != nil {
		c.Policies[primaries][p]++
	}
}

func (c *Coverage) rrConflict(p Policy) {
	if c != nil {
		c.RRConflict[p]++
	}
}

func (c *Coverage) legRepair() {
	if c != nil {
		c.LegRepairs++
	}
}

func (c *Coverage) repair() {
	if c != nil {
		c.Repairs++
	}
}

func (c *Coverage) command(cmd Command) {
	if c != nil {
		c.Commands[cmd]++
	}
}

func (c *Coverage) protocolError() {
	if c != nil {
		c.Protocol++
	}
}

// Add sums another run's counts.
func (c *Coverage) Add(d *Coverage) {
	for i := range c.Rules {
		c.Rules[i] += d.Rules[i]
	}
	for i := range c.Transitions {
		for j := range c.Transitions[i] {
			c.Transitions[i][j] += d.Transitions[i][j]
		}
	}
	for i := range c.Disks {
		for j := range c.Disks[i] {
			c.Disks[i][j] += d.Disks[i][j]
		}
	}
	for i := range c.Policies {
		for j := range c.Policies[i] {
			c.Policies[i][j] += d.Policies[i][j]
		}
	}
	for i := range c.RRConflict {
		c.RRConflict[i] += d.RRConflict[i]
	}
	for i := range c.Commands {
		c.Commands[i] += d.Commands[i]
	}
	c.SplitBrains += d.SplitBrains
	c.Protocol += d.Protocol
	c.Repairs += d.Repairs
	c.LegRepairs += d.LegRepairs
}

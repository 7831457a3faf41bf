package initiator

import (
	"context"
	"errors"
	"fmt"

	"pollux/iscsi"
	"pollux/reactor"
)

// Target is one target as SendTargets lists it (RFC 7143 Appendix C).
type Target struct {
	Name      string
	Addresses []string // host:port,tag
}

// Discover asks portal for its targets in a session of its own. cfg needs a name and perhaps Auth.
func Discover(ctx context.Context, r *reactor.Reactor, portal string, cfg Config) ([]Target, error) {
	cfg.Offers.SessionType, cfg.Offers.TargetName = iscsi.SessionDiscovery, ""
	c, err := Dial(ctx, r, portal, cfg)
	if err != nil {
		return nil, err
	}
	list, err := c.SendTargets(ctx, "All")
	return list, errors.Join(err, c.Logout(ctx))
}

// SendTargets asks for All targets, one by name, or, with an empty value in a normal session, the session's own.
func (c *Client) SendTargets(ctx context.Context, which string) ([]Target, error) {
	p := newRequest(iscsi.OpText, true)
	p.Data = iscsi.AppendPair(nil, "SendTargets", which)
	a, err := c.Exchange(ctx, p)
	if err != nil {
		return nil, err
	}
	return parseTargets(a.Data)
}

// parseTargets reads TargetName and TargetAddress keys. The list may be longer than any other text.
func parseTargets(text []byte) (list []Target, err error) {
	for rest := string(text); rest != ""; {
		p, tail, ok := iscsi.NextPair(rest)
		rest = tail
		switch {
		case ok && p.Key == "":
		case ok && p.Key == "TargetName":
			list = append(list, Target{Name: p.Value})
		case ok && p.Key == "TargetAddress" && len(list) > 0:
			last := &list[len(list)-1]
			last.Addresses = append(last.Addresses, p.Value)
		default:
			return nil, fmt.Errorf("%w: %s=%s in the list of targets", ErrProtocol, p.Key, p.Value)
		}
	}
	return list, nil
}

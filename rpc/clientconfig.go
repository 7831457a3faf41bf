package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// savedConfig is Config with the calls as the target wrote them.
type savedConfig struct {
	Subsystems []savedSubsystem `json:"subsystems"`
}

type savedSubsystem struct {
	Subsystem string          `json:"subsystem"`
	Config    json.RawMessage `json:"config"`
}

// SaveConfig returns the target's configuration in the format of SPDK's
// save_config, which Server.LoadConfig and Client.LoadConfig read.
func (c *Client) SaveConfig(ctx context.Context) (any, error) {
	var infos []SubsystemInfo
	if err := c.Call(ctx, "framework_get_subsystems", nil, &infos); err != nil {
		return nil, explainCall("framework_get_subsystems", err)
	}
	saved := savedConfig{Subsystems: []savedSubsystem{}}
	for _, info := range infos {
		sub := savedSubsystem{Subsystem: info.Subsystem}
		if err := c.Call(ctx, "framework_get_config", getConfigParams{Name: info.Subsystem}, &sub.Config); err != nil {
			return nil, explainCall("framework_get_config "+info.Subsystem, err)
		}
		saved.Subsystems = append(saved.Subsystems, sub)
	}
	return saved, nil
}

// LoadConfig makes a configuration's calls in a running target, as SPDK's
// load_config does: what may be called in the startup state first, then
// framework_start_init if the target is in that state, then the rest. A
// method that the target does not have is found before anything is changed.
// Calls that come too late, since the target has left the startup state, are
// skipped and returned.
func (c *Client) LoadConfig(ctx context.Context, r io.Reader) (skipped []string, err error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	entries, err := parseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	known, err := c.methods(ctx, false)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !slices.Contains(known, e.name) {
			return nil, e.fail(errors.New("the target has no such method; nothing was loaded"))
		}
	}
	return c.loadEntries(ctx, entries)
}

func (c *Client) loadEntries(ctx context.Context, entries []loadEntry) (skipped []string, err error) {
	entries = slices.DeleteFunc(entries, func(e loadEntry) bool { return e.name == "framework_start_init" })
	current, err := c.methods(ctx, true)
	if err != nil {
		return nil, err
	}
	rest, err := c.callAllowed(ctx, current, entries)
	if err != nil {
		return nil, err
	}
	if slices.Contains(current, "framework_start_init") {
		if err := c.Call(ctx, "framework_start_init", nil, nil); err != nil {
			return nil, explainCall("framework_start_init", err)
		}
		if current, err = c.methods(ctx, true); err != nil {
			return nil, err
		}
		if rest, err = c.callAllowed(ctx, current, rest); err != nil {
			return nil, err
		}
	}
	for _, e := range rest {
		skipped = append(skipped, e.where+": "+e.name)
	}
	return skipped, nil
}

// callAllowed makes those calls that the target's state allows and returns
// the others.
func (c *Client) callAllowed(ctx context.Context, allowed []string, entries []loadEntry) (rest []loadEntry, err error) {
	for _, e := range entries {
		if !slices.Contains(allowed, e.name) {
			rest = append(rest, e)
			continue
		}
		var params any
		if len(e.params) > 0 {
			params = e.params
		}
		if err := c.Call(ctx, e.name, params, nil); err != nil {
			return nil, fmt.Errorf("%s: %w", e.where, explainCall(e.name, err))
		}
	}
	return rest, nil
}

func (c *Client) methods(ctx context.Context, current bool) ([]string, error) {
	var names []string
	err := c.Call(ctx, "rpc_get_methods", getMethodsParams{Current: current, IncludeAliases: true}, &names)
	if err != nil {
		return nil, explainCall("rpc_get_methods", err)
	}
	return names, nil
}

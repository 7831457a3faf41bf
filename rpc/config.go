package rpc

import (
	"context"
	"fmt"
	"slices"
)

// ConfigEntry is one call of a saved configuration.
type ConfigEntry struct {
	Method string `json:"method"`
	Params any    `json:"params,omitempty"`
}

// ConfigWriter returns the calls that make what a subsystem holds now, in an
// order in which they can be made again.
type ConfigWriter func(ctx context.Context) ([]ConfigEntry, error)

type subsystem struct {
	name      string
	dependsOn []string
	write     ConfigWriter
}

// SubsystemInfo is an element of framework_get_subsystems.
type SubsystemInfo struct {
	Subsystem string   `json:"subsystem"`
	DependsOn []string `json:"depends_on"`
}

// Subsystem announces a subsystem, the subsystems that must be configured
// before it, and the writer of its configuration, which may be nil when it
// has none. It panics on a name that is taken.
func (s *Server) Subsystem(name string, dependsOn []string, write ConfigWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.subsystems, func(sub subsystem) bool { return sub.name == name }) {
		panic(fmt.Sprintf("rpc: subsystem %s is registered twice", name))
	}
	s.subsystems = append(s.subsystems, subsystem{name: name, dependsOn: slices.Clone(dependsOn), write: write})
}

// Subsystems lists the subsystems, each after those that it depends on, and
// otherwise in the order of registration.
func (s *Server) Subsystems() []SubsystemInfo {
	infos := []SubsystemInfo{}
	for _, sub := range s.orderedSubsystems() {
		infos = append(infos, SubsystemInfo{Subsystem: sub.name, DependsOn: append([]string{}, sub.dependsOn...)})
	}
	return infos
}

func (s *Server) orderedSubsystems() []subsystem {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var (
		ordered []subsystem
		visited = map[string]bool{}
		visit   func(name string)
	)
	visit = func(name string) {
		i := slices.IndexFunc(s.subsystems, func(sub subsystem) bool { return sub.name == name })
		if i < 0 || visited[name] {
			return
		}
		visited[name] = true
		for _, dependency := range s.subsystems[i].dependsOn {
			visit(dependency)
		}
		ordered = append(ordered, s.subsystems[i])
	}
	for _, sub := range s.subsystems {
		visit(sub.name)
	}
	return ordered
}

// SubsystemConfig is one subsystem's part of a saved configuration. Config
// is nil, and null in JSON, for a subsystem that has nothing to save.
type SubsystemConfig struct {
	Subsystem string        `json:"subsystem"`
	Config    []ConfigEntry `json:"config"`
}

// Config is a saved configuration, the format of SPDK's save_config.
type Config struct {
	Subsystems []SubsystemConfig `json:"subsystems"`
}

// SaveConfig asks all subsystems for what makes them as they are.
func (s *Server) SaveConfig(ctx context.Context) (Config, error) {
	config := Config{Subsystems: []SubsystemConfig{}}
	for _, sub := range s.orderedSubsystems() {
		entries, err := sub.entries(ctx)
		if err != nil {
			return Config{}, err
		}
		config.Subsystems = append(config.Subsystems, SubsystemConfig{Subsystem: sub.name, Config: entries})
	}
	return config, nil
}

func (sub *subsystem) entries(ctx context.Context) ([]ConfigEntry, error) {
	if sub.write == nil {
		return nil, nil
	}
	entries, err := sub.write(ctx)
	if err != nil {
		return nil, fmt.Errorf("subsystem %s: save configuration: %w", sub.name, err)
	}
	if entries == nil {
		entries = []ConfigEntry{}
	}
	return entries, nil
}

type getConfigParams struct {
	Name        string `json:"name"`
	WithBatches bool   `json:"with_batches,omitempty"`
}

func (s *Server) registerConfig() {
	Handle(s, Runtime, "framework_get_subsystems", func(context.Context, None) ([]SubsystemInfo, error) {
		return s.Subsystems(), nil
	}, "get_subsystems").
		Help("List the subsystems in the order in which they are configured.")
	Handle(s, Runtime, "framework_get_config", s.getConfig, "get_subsystem_config").
		DecodeError(CodeInvalidParams, "Invalid arguments").
		Help("List the calls that make a subsystem as it is.")
}

func (s *Server) getConfig(ctx context.Context, p getConfigParams) (any, error) {
	ordered := s.orderedSubsystems()
	i := slices.IndexFunc(ordered, func(sub subsystem) bool { return sub.name == p.Name })
	if i < 0 {
		return nil, Errorf(CodeInvalidParams, "Subsystem '%s' not found", p.Name)
	}
	entries, err := ordered[i].entries(ctx)
	if err != nil || !p.WithBatches || entries == nil {
		return entries, err
	}
	return batches(entries), nil
}

// batches puts runs of calls of one method into arrays of their own, which
// load_config then sends as JSON-RPC batches.
func batches(entries []ConfigEntry) []any {
	grouped := []any{}
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && entries[n].Method == entries[0].Method {
			n++
		}
		if n == 1 {
			grouped = append(grouped, entries[0])
		} else {
			grouped = append(grouped, entries[:n])
		}
		entries = entries[n:]
	}
	return grouped
}

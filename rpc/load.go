package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
)

// LoadOptions are the program's flags about a configuration file.
type LoadOptions struct {
	// IgnoreErrors goes on after an entry that fails, with a line in the log
	// (--json-ignore-init-errors).
	IgnoreErrors bool
	// WaitForInit leaves it to a client to call framework_start_init
	// (--wait-for-rpc); LoadConfig returns after that.
	WaitForInit bool
}

// loadEntry is one call of a file, and where it stands there.
type loadEntry struct {
	where  string
	name   string
	params json.RawMessage
	method *Method
}

// fail says which entry failed and why; the code of an Error remains.
func (e *loadEntry) fail(err error) error {
	return fmt.Errorf("%s: %s: %w", e.where, e.name, err)
}

// LoadConfig reads a configuration in SPDK's format and makes its calls: first
// those of the startup state, then, once the subsystems have been started,
// the others, both in the order of the file. A call that is unknown, that
// comes too late or whose parameters cannot be decoded is found before
// anything is changed. Comments, and keys beside "subsystems", are ignored.
func (s *Server) LoadConfig(ctx context.Context, file string, o LoadOptions) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := s.loadConfig(ctx, data, o); err != nil {
		return fmt.Errorf("configuration %s: %w", file, err)
	}
	return nil
}

func (s *Server) loadConfig(ctx context.Context, data []byte, o LoadOptions) error {
	entries, err := parseConfig(data)
	if err != nil {
		return err
	}
	if entries, err = s.resolve(entries, o); err != nil {
		return err
	}
	if s.State() == Startup {
		if err := s.callAll(ctx, Startup, entries, o); err != nil {
			return err
		}
		entries = slices.DeleteFunc(entries, func(e loadEntry) bool { return e.method.states&Startup != 0 })
		if err := s.enterRuntime(ctx, o); err != nil {
			return err
		}
	}
	return s.callAll(ctx, Runtime, entries, o)
}

func (s *Server) enterRuntime(ctx context.Context, o LoadOptions) error {
	if o.WaitForInit {
		return s.WaitInit(ctx)
	}
	return s.StartInit(ctx)
}

// resolve finds the methods of the entries and checks their parameters.
func (s *Server) resolve(entries []loadEntry, o LoadOptions) ([]loadEntry, error) {
	late := s.State() == Runtime
	resolved := make([]loadEntry, 0, len(entries))
	for _, e := range entries {
		m, err := s.lookup(e.name)
		switch {
		case err != nil:
		case m.name == "framework_start_init":
			continue // LoadConfig does that by itself.
		case late && m.states == Startup:
			err = errNotStartup
		default:
			err = m.check(e.params)
		}
		e.method = m
		switch {
		case err == nil:
			resolved = append(resolved, e)
		case !o.IgnoreErrors:
			return nil, e.fail(err)
		default:
			s.log.Error("configuration entry is ignored", "error", e.fail(err))
		}
	}
	return resolved, nil
}

func (s *Server) callAll(ctx context.Context, state State, entries []loadEntry, o LoadOptions) error {
	for _, e := range entries {
		if e.method.states&state == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return e.fail(err)
		}
		_, err := s.run(ctx, e.method, e.params)
		switch {
		case err == nil:
		case !o.IgnoreErrors:
			return e.fail(err)
		default:
			s.log.Error("configuration entry failed", "error", e.fail(err))
		}
	}
	return nil
}

// parseConfig takes a file apart into calls.
func parseConfig(data []byte) ([]loadEntry, error) {
	v, err := parseValue(blankComments(data), math.MaxInt)
	if err != nil {
		return nil, describeSyntax(data, err)
	}
	i := slices.IndexFunc(v.members, func(m member) bool { return m.name == "subsystems" })
	if i < 0 || v.members[i].value.kind != kindArray {
		return nil, errors.New(`there is no array "subsystems" at the top`)
	}
	var entries []loadEntry
	for n, sub := range v.members[i].value.elems {
		if entries, err = appendSubsystem(entries, sub); err != nil {
			return nil, fmt.Errorf("subsystems[%d]: %w", n, err)
		}
	}
	return entries, nil
}

func appendSubsystem(entries []loadEntry, v value) ([]loadEntry, error) {
	members, err := named(v, "subsystem", "config")
	if err != nil {
		return nil, err
	}
	name, config := members["subsystem"], members["config"]
	switch {
	case name.kind != kindString:
		return nil, errors.New(`"subsystem" is missing or not a string`)
	case config.kind == kindNull || config.kind == "":
		return entries, nil
	case config.kind != kindArray:
		return nil, fmt.Errorf(`subsystem %s: "config" is %s, not an array`, name.text, config.kind)
	}
	for i, v := range config.elems {
		if entries, err = appendEntries(entries, v, fmt.Sprintf("subsystem %s, entry %d", name.text, i)); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// appendEntries adds a call, or the calls of a batch.
func appendEntries(entries []loadEntry, v value, where string) ([]loadEntry, error) {
	if v.kind != kindArray {
		return appendEntry(entries, v, where)
	}
	var err error
	for i, elem := range v.elems {
		if entries, err = appendEntry(entries, elem, fmt.Sprintf("%s[%d]", where, i)); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func appendEntry(entries []loadEntry, v value, where string) ([]loadEntry, error) {
	members, err := named(v, "method", "params")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	if members["method"].kind != kindString {
		return nil, fmt.Errorf(`%s: "method" is missing or not a string`, where)
	}
	return append(entries, loadEntry{where: where, name: members["method"].text, params: members["params"].raw}), nil
}

// named returns the members of an object, which may have only these names.
func named(v value, names ...string) (map[string]value, error) {
	if v.kind != kindObject {
		return nil, fmt.Errorf("is %s, not an object", v.kind)
	}
	members := map[string]value{}
	for _, m := range v.members {
		if !slices.Contains(names, m.name) {
			return nil, fmt.Errorf("unknown key %q; known: %q", m.name, names)
		}
		if _, ok := members[m.name]; ok {
			return nil, fmt.Errorf("key %q appears twice", m.name)
		}
		members[m.name] = m.value
	}
	return members, nil
}

// blankComments puts spaces in the place of // and /* comments, which SPDK
// allows in files, so that offsets and lines remain.
func blankComments(data []byte) []byte {
	out := bytes.Clone(data)
	for i := 0; i < len(out); {
		switch {
		case out[i] == '"':
			i = afterString(out, i)
		case bytes.HasPrefix(out[i:], []byte("//")):
			i = blank(out, i, []byte("\n"))
		case bytes.HasPrefix(out[i:], []byte("/*")):
			i = blank(out, i, []byte("*/"))
		default:
			i++
		}
	}
	return out
}

// afterString returns where the string that opens at i is over.
func afterString(data []byte, i int) int {
	for i++; i < len(data) && data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// blank overwrites a comment that begins at i, up to and with its end.
func blank(data []byte, i int, end []byte) int {
	length := bytes.Index(data[i+2:], end)
	stop := i + 2 + length + len(end)
	if length < 0 {
		stop = len(data)
	}
	for ; i < stop; i++ {
		if data[i] != '\n' {
			data[i] = ' '
		}
	}
	return stop
}

// describeSyntax adds the line to an error of encoding/json.
func describeSyntax(data []byte, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	offset := min(int(syntax.Offset), len(data))
	return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:offset], []byte("\n")), err)
}

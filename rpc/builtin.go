package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// The release of SPDK whose methods, parameters and errors are spoken.
const (
	spdkMajor  = 26
	spdkMinor  = 9
	spdkPatch  = 0
	spdkSuffix = "-pre"
)

type getMethodsParams struct {
	Current        bool `json:"current,omitempty"`
	IncludeAliases bool `json:"include_aliases,omitempty"`
}

type versionFields struct {
	Major          int    `json:"major"`
	Minor          int    `json:"minor"`
	Patch          int    `json:"patch"`
	Suffix         string `json:"suffix"`
	Product        string `json:"product"`
	ProductVersion string `json:"product_version"`
}

type version struct {
	Version string        `json:"version"`
	Fields  versionFields `json:"fields"`
}

func (s *Server) registerBuiltin() {
	Handle(s, Startup|Runtime, "rpc_get_methods", func(_ context.Context, p getMethodsParams) ([]string, error) {
		return s.methodNames(p.Current, p.IncludeAliases), nil
	}, "get_rpc_methods").
		DecodeError(CodeInvalidParams, "Invalid parameters").
		Help("List the methods, or those that may be called in the current state.")
	Handle(s, Startup|Runtime, "spdk_get_version", func(context.Context, None) (version, error) {
		return s.version(), nil
	}, "get_spdk_version").
		Help("Name the product, its version, and the release of SPDK that it is compatible with.")
	Handle(s, Startup|Runtime, "rpc_describe_methods", func(_ context.Context, p describeParams) ([]MethodInfo, error) {
		return s.describe(p.Name)
	}).
		Help("Describe the methods and their parameters, or one method.")
}

type describeParams struct {
	Name string `json:"name,omitempty"`
}

// describe returns what a client may call, or one method by its name or alias.
func (s *Server) describe(name string) ([]MethodInfo, error) {
	infos := slices.DeleteFunc(s.Methods(), func(m MethodInfo) bool {
		return !s.allowed(m.Name) || name != "" && m.Name != name && !slices.Contains(m.Aliases, name)
	})
	if name != "" && len(infos) == 0 {
		return nil, Errno(syscall.ENOENT, "method %s", name)
	}
	return infos, nil
}

// methodNames lists what a client may call, in alphabetical order.
func (s *Server) methodNames(current, aliases bool) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := []string{}
	for name, m := range s.methods {
		switch {
		case name != m.name && !aliases, !s.allowed(m.name):
		case current && s.framework.check(m) != nil:
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// version begins with the compatibility level, which clients parse, and
// names the product after it.
func (s *Server) version() version {
	product, release := s.options.Product, s.options.Version
	if product == "" {
		product, release = "pollux/rpc", "unknown"
	}
	return version{
		Version: fmt.Sprintf("SPDK v%d.%02d%s (%s %s)", spdkMajor, spdkMinor, spdkSuffix, product, release),
		Fields: versionFields{
			Major: spdkMajor, Minor: spdkMinor, Patch: spdkPatch, Suffix: spdkSuffix,
			Product: product, ProductVersion: release,
		},
	}
}

// MethodInfo describes a method for help and for tests.
type MethodInfo struct {
	Name    string      `json:"name"`
	Aliases []string    `json:"aliases"`
	Startup bool        `json:"startup"`
	Runtime bool        `json:"runtime"`
	Help    string      `json:"help,omitempty"`
	Params  []ParamInfo `json:"params"`
}

// Methods describes all methods, by name.
func (s *Server) Methods() []MethodInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	infos := []MethodInfo{}
	for name, m := range s.methods {
		if name == m.name {
			infos = append(infos, MethodInfo{
				Name: m.name, Aliases: append([]string{}, m.aliases...), Help: m.help,
				Startup: m.states&Startup != 0, Runtime: m.states&Runtime != 0, Params: m.params.describe(),
			})
		}
	}
	slices.SortFunc(infos, func(a, b MethodInfo) int { return strings.Compare(a.Name, b.Name) })
	return infos
}

// encode is compact JSON as SPDK writes it: nothing is escaped for HTML.
func encode(v any) (json.RawMessage, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buffer.Bytes(), "\n"), nil
}

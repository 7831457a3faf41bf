package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
)

// State is a mask of the states in which a method may be called.
type State uint8

// The two states of SPDK's framework. A server starts in Startup, where
// options are set, and framework_start_init takes it to Runtime, where
// devices and targets are made.
const (
	Startup State = 1 << iota
	Runtime
)

// None is the parameters of a method that has none, and the result of a
// method that has nothing to say: it is encoded as true, as SPDK does.
type None struct{}

// MarshalJSON returns true.
func (None) MarshalJSON() ([]byte, error) { return []byte("true"), nil }

// Method is a registered method. Its options are set in one chain with
// Handle, before the server listens, and never after.
type Method struct {
	name    string
	aliases []string
	states  State
	waits   bool
	help    string
	params  *schema
	check   func(params json.RawMessage) error // decodes, and does no more
	call    func(ctx context.Context, params json.RawMessage) (any, error)

	decodeCode int
	decodeText string
}

// Handle registers a method under its name and its aliases, the names that
// it had in older releases of SPDK. An alias works as the name does and logs
// one line that it is deprecated, the first time it is used.
//
// P is a struct with the method's parameters (see doc.go for the tags), None,
// or json.RawMessage for a method that decodes by itself. R is anything that
// encoding/json can encode; it is encoded after fn has returned, so it must
// be a copy and not live data.
//
// fn runs on a goroutine of a connection, never on a reactor, and must expect
// other calls beside it: what it shares it locks. Calls of one connection run
// one after the other, so fn should not wait long; if it must, mark the
// method with Waits.
//
// Handle panics on a name that is taken, on an empty mask and on a P that
// cannot be decoded, since these are mistakes of the program.
func Handle[P, R any](s *Server, states State, name string, fn func(context.Context, P) (R, error), aliases ...string) *Method {
	if states == 0 || states&^(Startup|Runtime) != 0 {
		panic(fmt.Sprintf("rpc: method %s: states %#x", name, states))
	}
	m := &Method{
		name: name, aliases: aliases, states: states,
		params:     newSchema(name, reflect.TypeFor[P]()),
		decodeCode: CodeInternal, decodeText: "spdk_json_decode_object failed",
	}
	m.check = func(raw json.RawMessage) error {
		var p P
		return m.decode(raw, &p)
	}
	m.call = func(ctx context.Context, raw json.RawMessage) (any, error) {
		var p P
		if err := m.decode(raw, &p); err != nil {
			return nil, err
		}
		return fn(ctx, p)
	}
	s.register(m)
	return m
}

// Waits marks a method that may block for long: it leaves its connection's
// loop, and calls behind it on the same connection start before it ends. Its
// context ends when the client hangs up or the server closes; a change that
// must be completed uses context.WithoutCancel. Methods without the mark get
// a context that never ends.
func (m *Method) Waits() *Method {
	m.waits = true
	return m
}

// DecodeError sets the code and the first words of the answer to parameters
// that cannot be decoded. The default is -32603 "spdk_json_decode_object
// failed"; some families of methods answer -32602 "Invalid parameters".
func (m *Method) DecodeError(code int, text string) *Method {
	m.decodeCode, m.decodeText = code, text
	return m
}

// Help sets one line that says what the method does.
func (m *Method) Help(text string) *Method {
	m.help = text
	return m
}

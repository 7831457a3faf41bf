package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"testing"
)

type inner struct {
	Host string `json:"host"`
	Port uint16 `json:"port,omitempty" min:"1"`
}

type outer struct {
	inner
	Flag    bool              `json:"flag,omitempty"`
	U8      uint8             `json:"u8,omitempty"`
	I8      int8              `json:"i8,omitempty"`
	U64     uint64            `json:"u64,omitempty"`
	I64     int64             `json:"i64,omitempty"`
	Float   float64           `json:"float,omitempty"`
	Range   int               `json:"range,omitempty" min:"-2" max:"7"`
	Enum    string            `json:"enum,omitempty" enum:"one,two"`
	Enums   []string          `json:"enums,omitempty" enum:"one,two"`
	List    []inner           `json:"list,omitempty"`
	Map     map[string]uint8  `json:"map,omitempty"`
	Pair    *[2]int           `json:"pair"`
	Nested  *inner            `json:"nested"`
	Address *netip.Addr       `json:"address"`
	Raw     json.RawMessage   `json:"raw,omitempty"`
	Any     any               `json:"any,omitempty"`
	Level   slog.Level        `json:"level,omitempty"`
	Strings map[string]string `json:"strings,omitempty"`
	Hidden  int               `json:"-"`
}

func newOuter(t testing.TB) *Server {
	t.Helper()
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	Handle(s, Startup, "outer", func(_ context.Context, p outer) (outer, error) { return p, nil })
	return s
}

func TestDecode(t *testing.T) {
	s := newOuter(t)
	for _, c := range []struct{ send, want string }{
		{`"u8":255,"i8":-128`, `"u8":255,"i8":-128`},
		{`"u64":18446744073709551615,"i64":-9223372036854775808`, `"u64":18446744073709551615,"i64":-9223372036854775808`},
		{`"u8":25.5e1,"i8":-1.0`, `"u8":255,"i8":-1`},
		{`"u64":0.0e-5,"i64":1000e-3`, `"i64":1`},
		{`"u8":-0`, ``},
		{`"u64":1e19`, `"u64":10000000000000000000`},
		{`"float":1e-3`, `"float":0.001`},
		{`"range":-2`, `"range":-2`},
		{`"enum":"two","enums":["one","two"]`, `"enum":"two","enums":["one","two"]`},
		{`"list":[{"host":"a"},{"host":"b","port":1}]`, `"list":[{"host":"a"},{"host":"b","port":1}]`},
		{`"map":{"a":1,"b":2}`, `"map":{"a":1,"b":2}`},
		{`"pair":[1,2]`, `"pair":[1,2]`},
		{`"nested":{"host":"x"}`, `"nested":{"host":"x"}`},
		{`"nested":null,"u8":null`, ``},
		{`"address":"::1"`, `"address":"::1"`},
		{`"raw":{"a":1.50,"a":2}`, `"raw":{"a":1.50,"a":2}`},
		{`"any":{"n":18446744073709551616}`, `"any":{"n":18446744073709551616}`},
		{`"flag":true,"level":"WARN"`, `"flag":true,"level":"WARN"`},
	} {
		t.Run(c.send, func(t *testing.T) {
			got, err := s.Call(t.Context(), "outer", json.RawMessage(`{"host":"h",`+c.send+`}`))
			if err != nil {
				t.Fatal(err)
			}
			want := `{"host":"h"` + comma(c.want)
			if text := strings.NewReplacer(`,"pair":null`, "", `,"nested":null`, "", `,"address":null`, "").Replace(string(got)); text != want+"}" {
				t.Errorf("got  %s\nwant %s}", text, want)
			}
		})
	}
}

func comma(text string) string {
	if text == "" {
		return ""
	}
	return "," + text
}

func TestDecodeRefuses(t *testing.T) {
	s := newOuter(t)
	const failed, invalid = "spdk_json_decode_object failed: ", "Invalid parameters: "
	known := "host, port, flag, u8, i8, u64, i64, float, range, enum, enums, list, map, pair, nested, address, raw, any, level, strings"
	for _, c := range []struct {
		send, want string
		code       int
	}{
		{`{}`, failed + `parameter "host" is missing`, -32603},
		{`{"host":null}`, failed + `parameter "host": must be a string, not null`, -32603},
		{`{"host":"h","hosst":1}`, failed + `unknown parameter "hosst"; known: ` + known, -32603},
		{`{"host":"h","Host":"h"}`, failed + `unknown parameter "Host"; known: ` + known, -32603},
		{`{"host":"h","Hidden":1}`, failed + `unknown parameter "Hidden"; known: ` + known, -32603},
		{`{"host":"h","host":"h"}`, failed + `parameter "host" appears twice`, -32603},
		{`{"host":"a\u0000b"}`, failed + `parameter "host": must not contain a NUL character`, -32603},
		{`{"host":5}`, failed + `parameter "host": must be a string, not a number`, -32603},
		{`{"host":"h","port":"80"}`, failed + `parameter "port": must be a number, not a string`, -32603},
		{`{"host":"h","port":1.5}`, failed + `parameter "port": must be an integer, not 1.5`, -32603},
		{`{"host":"h","port":1e-400}`, failed + `parameter "port": must be an integer, not 1e-400`, -32603},
		{`{"host":"h","port":0}`, invalid + `parameter "port": 0 is not between 1 and 65535`, -32602},
		{`{"host":"h","port":65536}`, invalid + `parameter "port": 65536 is not between 1 and 65535`, -32602},
		{`{"host":"h","u8":-1}`, invalid + `parameter "u8": -1 is not between 0 and 255`, -32602},
		{`{"host":"h","i8":-129}`, invalid + `parameter "i8": -129 is not between -128 and 127`, -32602},
		{`{"host":"h","u64":18446744073709551616}`, invalid + `parameter "u64": 18446744073709551616 is not between 0 and 18446744073709551615`, -32602},
		{`{"host":"h","u64":1e999999999999}`, invalid + `parameter "u64": 1e999999999999 is not between 0 and 18446744073709551615`, -32602},
		{`{"host":"h","i64":-9223372036854775809}`, invalid + `parameter "i64": -9223372036854775809 is not between -9223372036854775808 and 9223372036854775807`, -32602},
		{`{"host":"h","range":8}`, invalid + `parameter "range": 8 is not between -2 and 7`, -32602},
		{`{"host":"h","range":-3}`, invalid + `parameter "range": -3 is not between -2 and 7`, -32602},
		{`{"host":"h","float":1e999}`, invalid + `parameter "float": 1e999 is out of range`, -32602},
		{`{"host":"h","enum":"three"}`, failed + `parameter "enum": must be one of one, two, not "three"`, -32603},
		{`{"host":"h","enums":["one","three"]}`, failed + `parameter "enums[1]": must be one of one, two, not "three"`, -32603},
		{`{"host":"h","list":[{"host":"a"},{"port":1}]}`, failed + `parameter "list[1].host" is missing`, -32603},
		{`{"host":"h","list":{}}`, failed + `parameter "list": must be an array, not an object`, -32603},
		{`{"host":"h","nested":{"host":"a","prot":1}}`, failed + `unknown parameter "nested.prot"; known: host, port`, -32603},
		{`{"host":"h","map":{"a":256}}`, invalid + `parameter "map.a": 256 is not between 0 and 255`, -32602},
		{`{"host":"h","map":{"a":1,"a":2}}`, failed + `parameter "map.a" appears twice`, -32603},
		{`{"host":"h","pair":[1]}`, failed + `parameter "pair": must have 2 elements, not 1`, -32603},
		{`{"host":"h","flag":1}`, failed + `parameter "flag": must be a boolean, not a number`, -32603},
		{`{"host":"h","address":"nope"}`, failed + `parameter "address": ParseAddr("nope"): unable to parse IP`, -32603},
		{`5`, failed + `parameters must be an object, not a number`, -32603},
	} {
		t.Run(c.send, func(t *testing.T) {
			_, err := s.Call(t.Context(), "outer", json.RawMessage(c.send))
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || e.Message != c.want {
				t.Errorf("got  %v\nwant %d %s", err, c.code, c.want)
			}
		})
	}
}

func TestParseInteger(t *testing.T) {
	for _, c := range []struct {
		text string
		want integer
		ok   bool
	}{
		{"0", integer{}, true},
		{"-0e5", integer{}, true},
		{"2e3", integer{magnitude: 2000}, true},
		{"-2.50E1", integer{negative: true, magnitude: 25}, true},
		{"1e+2", integer{magnitude: 100}, true},
		{"1e-1", integer{}, false},
		{"18446744073709551615", integer{magnitude: math.MaxUint64}, true},
		{"1844674407370955161.5e1", integer{magnitude: math.MaxUint64}, true},
		{"18446744073709551616", integer{magnitude: math.MaxUint64, overflow: true}, true},
		{"1e99999999999999999999", integer{overflow: true}, true},
		{"1e-99999999999999999999", integer{}, false},
		{"0e99999999999999999999", integer{}, true},
	} {
		if got, ok := parseInteger(c.text); ok != c.ok || ok && got != c.want {
			t.Errorf("%s: got %+v, %v", c.text, got, ok)
		}
	}
}

type ruled struct {
	Low  int `json:"low"`
	High int `json:"high"`
}

func (r *ruled) Validate() error {
	switch {
	case r.Low > r.High:
		return fmt.Errorf("low %d is above high %d", r.Low, r.High)
	case r.Low == r.High:
		return Busy("both are %d", r.Low)
	}
	return nil
}

func TestValidate(t *testing.T) {
	s := New(Options{})
	Handle(s, Startup, "ruled", func(context.Context, ruled) (None, error) { return None{}, nil })
	for send, want := range map[string]string{
		`{"low":1,"high":2}`: "",
		`{"low":2,"high":1}`: "-32602 Invalid parameters: low 2 is above high 1",
		`{"low":2,"high":2}`: "-16 Device or resource busy: both are 2",
	} {
		_, err := s.Call(t.Context(), "ruled", json.RawMessage(send))
		got := ""
		if err != nil {
			got = fmt.Sprintf("%d %s", err.(*Error).Code, err)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", send, got, want)
		}
	}
}

func TestDecodeErrorOfMethod(t *testing.T) {
	s := New(Options{})
	Handle(s, Startup, "m", func(context.Context, ruled) (None, error) { return None{}, nil }).
		DecodeError(CodeInvalidParams, "Invalid parameters")
	_, err := s.Call(t.Context(), "m", map[string]any{"low": 1})
	if want := `Invalid parameters: parameter "high" is missing`; err == nil || err.Error() != want || err.(*Error).Code != -32602 {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestHandlePanics(t *testing.T) {
	s := New(Options{})
	none := func(context.Context, None) (None, error) { return None{}, nil }
	for name, register := range map[string]func(){
		"taken name":   func() { Handle(s, Runtime, "rpc_get_methods", none) },
		"taken alias":  func() { Handle(s, Runtime, "a", none, "get_rpc_methods") },
		"no state":     func() { Handle(s, 0, "b", none) },
		"not a struct": func() { Handle(s, Runtime, "c", func(context.Context, int) (None, error) { return None{}, nil }) },
		"no json name": func() {
			Handle(s, Runtime, "d", func(context.Context, struct{ A int }) (None, error) { return None{}, nil })
		},
		"channel": func() {
			Handle(s, Runtime, "e", func(context.Context, struct {
				A chan int `json:"a"`
			},
			) (None, error) {
				return None{}, nil
			})
		},
		"bad bound": func() {
			Handle(s, Runtime, "f", func(context.Context, struct {
				A int `json:"a" min:"x"`
			},
			) (None, error) {
				return None{}, nil
			})
		},
		"embedded link": func() {
			Handle(s, Runtime, "g", func(context.Context, struct{ *ruled }) (None, error) { return None{}, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			register()
		})
	}
}

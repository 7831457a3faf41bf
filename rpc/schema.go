package rpc

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// schema is what a method's parameter type says about its parameters. It is
// made once, when the method is registered, so that a type which cannot be
// decoded is found at start and not by a client.
type schema struct {
	top     reflect.Type
	structs map[reflect.Type][]field
}

// field is one parameter, or one member of a parameter that is an object.
type field struct {
	name     string
	index    []int
	kind     reflect.Type
	required bool
	enum     []string
	min, max *int64
}

var (
	rawType         = reflect.TypeFor[json.RawMessage]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func newSchema(method string, top reflect.Type) *schema {
	s := &schema{top: top, structs: map[reflect.Type][]field{}}
	if top == rawType {
		return s
	}
	if top.Kind() != reflect.Struct {
		panic(fmt.Sprintf("rpc: method %s: parameters are a %s, not a struct", method, top))
	}
	s.add(method, top)
	return s
}

// add describes t and all that it holds.
func (s *schema) add(path string, t reflect.Type) {
	if t == rawType || decodesItself(t) {
		return
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		s.add(path, t.Elem())
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			panic(fmt.Sprintf("rpc: %s: map keys are %s", path, t.Key()))
		}
		s.add(path, t.Elem())
	case reflect.Struct:
		s.addStruct(path, t)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			panic(fmt.Sprintf("rpc: %s: cannot decode %s", path, t))
		}
	case reflect.Bool, reflect.String, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
	default:
		panic(fmt.Sprintf("rpc: %s: cannot decode %s", path, t))
	}
}

func (s *schema) addStruct(path string, t reflect.Type) {
	if _, ok := s.structs[t]; ok {
		return
	}
	s.structs[t] = nil // A type may hold itself.
	var fields []field
	for _, sf := range reflect.VisibleFields(t) {
		if f, ok := newField(path, sf); ok {
			s.add(path+"."+f.name, sf.Type)
			fields = append(fields, f)
		}
	}
	s.structs[t] = fields
}

// newField reads a field's tags. Members of embedded structs are visible
// fields of their own, and the embedded struct itself is none.
func newField(path string, sf reflect.StructField) (field, bool) {
	name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
	if name == "-" {
		return field{}, false
	}
	if sf.Anonymous && name == "" && sf.Type.Kind() == reflect.Struct {
		return field{}, false
	}
	if name == "" || !sf.IsExported() {
		panic(fmt.Sprintf("rpc: %s: field %s has no json name or is not exported", path, sf.Name))
	}
	optional := sf.Type.Kind() == reflect.Pointer ||
		slices.ContainsFunc(strings.Split(options, ","), func(o string) bool { return o == "omitempty" || o == "omitzero" })
	f := field{
		name: name, index: sf.Index, kind: sf.Type, required: !optional,
		min: bound(path, sf, "min"), max: bound(path, sf, "max"),
	}
	if enum := sf.Tag.Get("enum"); enum != "" {
		f.enum = strings.Split(enum, ",")
	}
	return f, true
}

func bound(path string, sf reflect.StructField, tag string) *int64 {
	text, ok := sf.Tag.Lookup(tag)
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("rpc: %s: field %s: %s is %q", path, sf.Name, tag, text))
	}
	return &n
}

// decodesItself reports whether *t has a method that decodes it.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return t.Kind() != reflect.Pointer && (p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler))
}

// names lists the members of t for an error message.
func (s *schema) names(t reflect.Type) string {
	names := []string{}
	for _, f := range s.structs[t] {
		names = append(names, f.name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// ParamInfo describes one parameter for help and for tests.
type ParamInfo struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Required bool     `json:"required"`
	Enum     []string `json:"enum,omitempty"`
}

func (s *schema) describe() []ParamInfo {
	infos := []ParamInfo{}
	for _, f := range s.structs[s.top] {
		infos = append(infos, ParamInfo{Name: f.name, Type: typeName(f.kind), Required: f.required, Enum: f.enum})
	}
	return infos
}

// typeName is the name that SPDK's documentation gives to a type.
func typeName(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case t == rawType || t.Kind() == reflect.Interface:
		return "any"
	case decodesItself(t):
		return "string"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Float64:
		return "number"
	case reflect.Slice, reflect.Array:
		return "array of " + typeName(t.Elem())
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Int:
		return "int64"
	case reflect.Uint:
		return "uint64"
	}
	return t.Kind().String()
}

package rpc

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Defaulter is implemented by parameters whose optional members have
// defaults other than zero: SetDefaults is called before decoding.
type Defaulter interface{ SetDefaults() }

// Validator is implemented by parameters with rules between members:
// Validate is called after decoding. A plain error of it is answered as
// -32602 "Invalid parameters: CAUSE".
type Validator interface{ Validate() error }

// paramError is what is wrong with the parameters. Values out of range are
// -32602, as SPDK has it; everything else has the method's own code.
type paramError struct {
	outOfRange bool
	text       string
}

func (e *paramError) Error() string { return e.text }

func paramErrorf(format string, args ...any) *paramError {
	return &paramError{text: fmt.Sprintf(format, args...)}
}

// decode fills p, a pointer to the method's parameters, from raw, which is
// empty or null when the caller gave none.
func (m *Method) decode(raw json.RawMessage, p any) error {
	if d, ok := p.(Defaulter); ok {
		d.SetDefaults()
	}
	v := value{kind: kindObject}
	if len(raw) > 0 && string(raw) != "null" {
		var err error
		if v, err = parseValue(raw, tokensMax); err != nil {
			return Errorf(m.decodeCode, "%s: %v", m.decodeText, err)
		}
	}
	if m.params.top == rawType {
		*p.(*json.RawMessage) = raw
		return nil
	}
	if err := m.params.decodeTop(v, reflect.ValueOf(p).Elem()); err != nil {
		return m.decodeFailed(err)
	}
	return validate(p)
}

func (m *Method) decodeFailed(err *paramError) error {
	switch {
	case err.outOfRange:
		return InvalidParams("%s", err.text)
	case len(m.params.structs[m.params.top]) == 0:
		return Errorf(CodeInvalidParams, "%s requires no parameters: %s", m.name, err.text)
	}
	return Errorf(m.decodeCode, "%s: %s", m.decodeText, err.text)
}

func validate(p any) error {
	v, ok := p.(Validator)
	if !ok {
		return nil
	}
	err := v.Validate()
	if err == nil {
		return nil
	}
	if e := AsError(err); e.Code != CodeInternal {
		return e
	}
	return InvalidParams("%s", err)
}

func (s *schema) decodeTop(v value, dst reflect.Value) *paramError {
	if v.kind != kindObject {
		return paramErrorf("parameters must be an object, not %s", v.kind)
	}
	return s.decodeStruct(v, dst, "")
}

func (s *schema) decodeStruct(v value, dst reflect.Value, path string) *paramError {
	fields := s.structs[dst.Type()]
	seen := make([]bool, len(fields))
	for _, m := range v.members {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == m.name })
		if i < 0 {
			return paramErrorf("unknown parameter %q; known: %s", join(path, m.name), s.names(dst.Type()))
		}
		if seen[i] {
			return paramErrorf("parameter %q appears twice", join(path, m.name))
		}
		seen[i] = true
		if err := s.decodeField(m.value, dst, &fields[i], join(path, m.name)); err != nil {
			return err
		}
	}
	for i, f := range fields {
		if f.required && !seen[i] {
			return paramErrorf("parameter %q is missing", join(path, f.name))
		}
	}
	return nil
}

// decodeField decodes one member. null stands for an optional member that
// is absent.
func (s *schema) decodeField(v value, parent reflect.Value, f *field, path string) *paramError {
	if v.kind == kindNull && !f.required {
		return nil
	}
	return s.decode(v, parent.FieldByIndex(f.index), f, path)
}

func (s *schema) decode(v value, dst reflect.Value, f *field, path string) *paramError {
	t := dst.Type()
	switch {
	case t == rawType:
		dst.SetBytes(v.raw)
		return nil
	case decodesItself(t):
		return decodeItself(v, dst, path)
	}
	switch t.Kind() {
	case reflect.Pointer:
		dst.Set(reflect.New(t.Elem()))
		return s.decode(v, dst.Elem(), f, path)
	case reflect.Interface:
		return decodeAny(v, dst, path)
	case reflect.Struct:
		if v.kind != kindObject {
			return mismatch(v, path, kindObject)
		}
		return s.decodeStruct(v, dst, path)
	case reflect.Map:
		return s.decodeMap(v, dst, f, path)
	case reflect.Slice, reflect.Array:
		return s.decodeList(v, dst, f, path)
	default:
		return decodeScalar(v, dst, f, path)
	}
}

func (s *schema) decodeMap(v value, dst reflect.Value, f *field, path string) *paramError {
	if v.kind != kindObject {
		return mismatch(v, path, kindObject)
	}
	t := dst.Type()
	dst.Set(reflect.MakeMap(t))
	for _, m := range v.members {
		key := reflect.ValueOf(m.name).Convert(t.Key())
		if dst.MapIndex(key).IsValid() {
			return paramErrorf("parameter %q appears twice", join(path, m.name))
		}
		elem := reflect.New(t.Elem()).Elem()
		if err := s.decode(m.value, elem, f, join(path, m.name)); err != nil {
			return err
		}
		dst.SetMapIndex(key, elem)
	}
	return nil
}

func (s *schema) decodeList(v value, dst reflect.Value, f *field, path string) *paramError {
	if v.kind != kindArray {
		return mismatch(v, path, kindArray)
	}
	if dst.Kind() == reflect.Slice {
		dst.Set(reflect.MakeSlice(dst.Type(), len(v.elems), len(v.elems)))
	} else if dst.Len() != len(v.elems) {
		return paramErrorf("parameter %q: must have %d elements, not %d", path, dst.Len(), len(v.elems))
	}
	for i := range v.elems {
		if err := s.decode(v.elems[i], dst.Index(i), f, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

func decodeItself(v value, dst reflect.Value, path string) *paramError {
	var err error
	switch d := dst.Addr().Interface().(type) {
	case json.Unmarshaler:
		err = d.UnmarshalJSON(v.raw)
	case encoding.TextUnmarshaler:
		if v.kind != kindString {
			return mismatch(v, path, kindString)
		}
		err = d.UnmarshalText([]byte(v.text))
	}
	if err != nil {
		return paramErrorf("parameter %q: %v", path, err)
	}
	return nil
}

func decodeAny(v value, dst reflect.Value, path string) *paramError {
	decoder := json.NewDecoder(strings.NewReader(string(v.raw)))
	decoder.UseNumber()
	if err := decoder.Decode(dst.Addr().Interface()); err != nil {
		return paramErrorf("parameter %q: %v", path, err)
	}
	return nil
}

func decodeScalar(v value, dst reflect.Value, f *field, path string) *paramError {
	switch dst.Kind() {
	case reflect.Bool:
		if v.kind != kindBool {
			return mismatch(v, path, kindBool)
		}
		dst.SetBool(v.truth)
	case reflect.String:
		return decodeString(v, dst, f, path)
	case reflect.Float64:
		return decodeFloat(v, dst, path)
	default:
		return decodeInteger(v, dst, f, path)
	}
	return nil
}

func decodeString(v value, dst reflect.Value, f *field, path string) *paramError {
	switch {
	case v.kind != kindString:
		return mismatch(v, path, kindString)
	case strings.ContainsRune(v.text, 0):
		return paramErrorf("parameter %q: must not contain a NUL character", path)
	case len(f.enum) > 0 && !slices.Contains(f.enum, v.text):
		return paramErrorf("parameter %q: must be one of %s, not %q", path, strings.Join(f.enum, ", "), v.text)
	}
	dst.SetString(v.text)
	return nil
}

func decodeFloat(v value, dst reflect.Value, path string) *paramError {
	if v.kind != kindNumber {
		return mismatch(v, path, kindNumber)
	}
	x, err := json.Number(v.text).Float64()
	if err != nil {
		return &paramError{outOfRange: true, text: fmt.Sprintf("parameter %q: %s is out of range", path, v.text)}
	}
	dst.SetFloat(x)
	return nil
}

func mismatch(v value, path string, want kind) *paramError {
	return paramErrorf("parameter %q: must be %s, not %s", path, want, v.kind)
}

// join names a member within its parent: "luns[0].bdev_name".
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The limits of one JSON value, whatever its size in bytes.
const (
	// nestingMax is how deep arrays and objects may nest, as in SPDK.
	nestingMax = 64
	// tokensMax is how many names and values a request may hold. SPDK allows
	// 8192, which a large saved configuration exceeds.
	tokensMax = 1 << 18
)

var (
	errNesting = fmt.Errorf("nested deeper than %d", nestingMax)
	errTokens  = errors.New("too many names and values")
	errUTF8    = errors.New("not UTF-8")
)

// kind is the type of a JSON value; its text is for messages.
type kind string

const (
	kindNull   kind = "null"
	kindBool   kind = "a boolean"
	kindNumber kind = "a number"
	kindString kind = "a string"
	kindArray  kind = "an array"
	kindObject kind = "an object"
)

// value is a parsed JSON value which keeps what encoding/json drops: the
// order of members, duplicates, the digits of numbers and the raw text.
type value struct {
	kind    kind
	raw     json.RawMessage
	text    string // of a string, and the digits of a number
	truth   bool
	elems   []value
	members []member
}

type member struct {
	name  string
	value value
}

// parser builds a value out of encoding/json's tokens.
type parser struct {
	data    []byte
	decoder *json.Decoder
	depth   int
	tokens  int // that may still come
}

// parseValue parses data, which must be one JSON value with at most the given
// number of names and values.
func parseValue(data []byte, tokens int) (value, error) {
	if !utf8.Valid(data) {
		return value{}, errUTF8
	}
	if !json.Valid(data) {
		var ignored json.RawMessage
		return value{}, json.Unmarshal(data, &ignored)
	}
	p := &parser{data: data, decoder: json.NewDecoder(bytes.NewReader(data)), tokens: tokens}
	p.decoder.UseNumber()
	return p.value()
}

func (p *parser) value() (value, error) {
	if p.tokens--; p.tokens < 0 {
		return value{}, errTokens
	}
	start := p.decoder.InputOffset()
	token, err := p.decoder.Token()
	if err != nil {
		return value{}, err
	}
	v := value{}
	switch t := token.(type) {
	case nil:
		v.kind = kindNull
	case bool:
		v.kind, v.truth = kindBool, t
	case json.Number:
		v.kind, v.text = kindNumber, t.String()
	case string:
		v.kind, v.text = kindString, t
	case json.Delim:
		err = p.children(&v, t)
	}
	// Between two tokens there is nothing but separators.
	v.raw = bytes.TrimLeft(p.data[start:p.decoder.InputOffset()], ",: \t\r\n")
	return v, err
}

// children fills in an array or an object, its opening delimiter being read.
func (p *parser) children(v *value, open json.Delim) error {
	if p.depth++; p.depth > nestingMax {
		return errNesting
	}
	defer func() { p.depth-- }()
	v.kind = kindArray
	if open == '{' {
		v.kind = kindObject
	}
	for p.decoder.More() {
		if err := p.child(v); err != nil {
			return err
		}
	}
	_, err := p.decoder.Token()
	return err
}

func (p *parser) child(v *value) error {
	var name string
	if v.kind == kindObject {
		if p.tokens--; p.tokens < 0 {
			return errTokens
		}
		token, err := p.decoder.Token()
		if err != nil {
			return err
		}
		name = token.(string)
	}
	c, err := p.value()
	if v.kind == kindObject {
		v.members = append(v.members, member{name: name, value: c})
	} else {
		v.elems = append(v.elems, c)
	}
	return err
}

package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// frameReader cuts a stream of bytes into JSON values. A value ends where its
// last byte is: requests may be glued to one another or come in pieces. Only
// a number needs a byte behind it, or the end of the stream.
type frameReader struct {
	source  io.Reader
	decoder *json.Decoder
	taken   int64 // bytes that the decoder has taken from source
	sizeMax int
}

// frameKeep is the size of a value above which the decoder, whose buffer has
// grown with it, is replaced.
const frameKeep = 64 << 10

func newFrameReader(source io.Reader, sizeMax int) *frameReader {
	f := &frameReader{source: source, sizeMax: sizeMax}
	f.decoder = json.NewDecoder(limitedSource{f})
	return f
}

// next returns the next value. io.EOF means that the stream ended between
// two values.
func (f *frameReader) next() (json.RawMessage, error) {
	var raw json.RawMessage
	if err := f.decoder.Decode(&raw); err != nil {
		return nil, err
	}
	if len(raw) > frameKeep {
		f.replaceDecoder()
	}
	return raw, nil
}

func (f *frameReader) replaceDecoder() {
	rest, err := io.ReadAll(f.decoder.Buffered())
	if err != nil {
		panic("rpc: cannot read from a buffer: " + err.Error())
	}
	f.source = io.MultiReader(bytes.NewReader(rest), f.source)
	f.decoder, f.taken = json.NewDecoder(limitedSource{f}), 0
}

// limitedSource feeds the decoder until the value that it is reading is
// larger than allowed.
type limitedSource struct{ f *frameReader }

func (l limitedSource) Read(p []byte) (int, error) {
	room := int64(l.f.sizeMax) - (l.f.taken - l.f.decoder.InputOffset())
	if room <= 0 {
		return 0, fmt.Errorf("a request has more than %d bytes", l.f.sizeMax)
	}
	n, err := l.f.source.Read(p[:min(int64(len(p)), room)])
	l.f.taken += int64(n)
	return n, err
}

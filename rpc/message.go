package rpc

import (
	"bytes"
	"encoding/json"
)

// request is one call as it came from a client. It keeps beside
// jsonrpc2.Request what that cannot hold: the id to the letter (1.5 and -5
// are legal), and parameters with all their digits and duplicates.
type request struct {
	id     json.RawMessage // nil for a notification
	method string
	params json.RawMessage
	batch  *batch // nil for a call of its own

	reply []byte // set by the handler before it responds; nil for silence
}

// batch gathers the replies to an array of requests.
type batch struct {
	open    int // requests that have not been answered
	replies [][]byte
}

var jsonNull = json.RawMessage("null")

func invalidRequest(cause string) *Error {
	return Errorf(CodeInvalidRequest, "Invalid request: %s", cause)
}

// parseRequest checks one element of the stream, in SPDK's order: what is
// wrong before the id has been accepted is answered with the id null, and
// what is wrong after it with the id itself.
func parseRequest(v value) (r *request, id json.RawMessage, err *Error) {
	if v.kind != kindObject {
		return nil, jsonNull, invalidRequest("it is " + string(v.kind) + ", not an object")
	}
	members, err := topLevel(v)
	if err != nil {
		return nil, jsonNull, err
	}
	if version, ok := members["jsonrpc"]; ok && (version.kind != kindString || version.text != "2.0") {
		return nil, jsonNull, invalidRequest(`jsonrpc is not "2.0"`)
	}
	method := members["method"]
	if method.kind != kindString {
		return nil, jsonNull, invalidRequest("method is missing or not a string")
	}
	r = &request{method: method.text}
	switch idValue := members["id"]; idValue.kind {
	case kindString, kindNumber:
		r.id = idValue.raw
	case kindNull, "":
	default:
		return nil, jsonNull, invalidRequest("id is " + string(idValue.kind))
	}
	switch params := members["params"]; params.kind {
	case kindObject, kindArray:
		r.params = params.raw
	case kindNull, "":
	default:
		return nil, r.replyID(), invalidRequest("params are " + string(params.kind))
	}
	return r, nil, nil
}

// topLevel returns the members of a request by name and refuses unknown and
// duplicate ones.
func topLevel(v value) (map[string]value, *Error) {
	members := map[string]value{}
	for _, m := range v.members {
		switch m.name {
		case "jsonrpc", "method", "params", "id":
		default:
			return nil, invalidRequest("unknown member " + quote(m.name))
		}
		if _, ok := members[m.name]; ok {
			return nil, invalidRequest(quote(m.name) + " appears twice")
		}
		members[m.name] = m.value
	}
	return members, nil
}

func quote(text string) string {
	raw, _ := encode(text)
	return string(raw)
}

// replyID is the id of an error: that of a notification is null.
func (r *request) replyID() json.RawMessage {
	if r.id == nil {
		return jsonNull
	}
	return r.id
}

// setReply encodes the answer. A notification that succeeded has none.
func (r *request) setReply(result json.RawMessage, err error) {
	switch {
	case err != nil:
		r.reply = errorReply(r.replyID(), AsError(err))
	case r.id != nil:
		r.reply = frame(r.id, "result", result)
	}
}

func errorReply(id json.RawMessage, e *Error) []byte {
	raw, err := encode(e)
	if err != nil {
		panic("rpc: cannot encode an error: " + err.Error())
	}
	return frame(id, "error", raw)
}

// frame is a reply with its members in SPDK's order.
func frame(id json.RawMessage, key string, raw json.RawMessage) []byte {
	b := make([]byte, 0, len(id)+len(raw)+40)
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = append(b, id...)
	b = append(b, `,"`+key+`":`...)
	b = append(b, raw...)
	return append(b, '}')
}

// array is the reply to a batch; it is nil when nothing is to be said.
func (b *batch) array() []byte {
	if len(b.replies) == 0 {
		return nil
	}
	joined := append([]byte{'['}, bytes.Join(b.replies, []byte{','})...)
	return append(joined, ']')
}

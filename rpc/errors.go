package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/sourcegraph/jsonrpc2"
)

// The error codes which JSON-RPC 2.0 section 5.1 names, and the one which
// SPDK adds for a call in the wrong state. All others are negative errnos.
const (
	CodeParseError     = jsonrpc2.CodeParseError
	CodeInvalidRequest = jsonrpc2.CodeInvalidRequest
	CodeMethodNotFound = jsonrpc2.CodeMethodNotFound
	CodeInvalidParams  = jsonrpc2.CodeInvalidParams
	CodeInternal       = jsonrpc2.CodeInternalError
	CodeInvalidState   = -1
)

// Error is what a method answers when it fails. Clients match the code, and
// some match a prefix or a substring of the message, so a message begins with
// the text that SPDK's clients know and goes on with the cause:
// "Invalid parameters: portal group 1 already exists".
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Errorf returns an Error with any code and message.
func Errorf(code int, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// InvalidParams is -32602 "Invalid parameters: CAUSE", SPDK's answer to
// everything that is wrong with an iscsi_* or nvmf_* call.
func InvalidParams(format string, args ...any) *Error {
	return Errorf(CodeInvalidParams, "Invalid parameters: "+format, args...)
}

// Errno is the negative errno with the text of strerror(3) and the cause:
// Errno(syscall.ENODEV, "bdev %s", name) is -19 "No such device: bdev x".
// An empty format leaves the bare text, which is right where a client
// compares the whole message.
func Errno(errno syscall.Errno, format string, args ...any) *Error {
	message := strerror(errno)
	if format != "" {
		message += ": " + fmt.Sprintf(format, args...)
	}
	return &Error{Code: -int(errno), Message: message}
}

// NoDevice is -19 "No such device: NAME".
func NoDevice(name string) *Error { return Errno(syscall.ENODEV, "%s", name) }

// Exists is -17 "File exists: NAME".
func Exists(name string) *Error { return Errno(syscall.EEXIST, "%s", name) }

// Busy is -16 "Device or resource busy: CAUSE".
func Busy(format string, args ...any) *Error { return Errno(syscall.EBUSY, format, args...) }

// AsError is the translation of any error into what goes onto the wire. An
// Error keeps its code, a context's end and a wrapped syscall.Errno become
// the negative errno, and everything else is -32603 with its own text.
// Words that were wrapped around the cause follow its text, so that the
// message still begins as clients expect it.
func AsError(err error) *Error {
	if e, ok := err.(*Error); ok {
		return e
	}
	var (
		inner *Error
		errno syscall.Errno
	)
	switch {
	case errors.As(err, &inner):
		return &Error{Code: inner.Code, Message: causeFirst(inner.Message, err.Error(), inner.Message)}
	case errors.Is(err, context.DeadlineExceeded):
		return Errno(syscall.ETIMEDOUT, "%s", err)
	case errors.Is(err, context.Canceled):
		return Errno(syscall.ECANCELED, "%s", err)
	case errors.As(err, &errno):
		return &Error{Code: -int(errno), Message: causeFirst(strerror(errno), err.Error(), errno.Error())}
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

// causeFirst turns "open x: no such file or directory" into
// "No such file or directory: open x".
func causeFirst(head, text, tail string) string {
	rest := strings.TrimSuffix(strings.TrimSuffix(text, tail), ": ")
	if rest == "" {
		return head
	}
	return head + ": " + rest
}

// strerror is glibc's text: Go's table is the same in lower case.
func strerror(errno syscall.Errno) string {
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

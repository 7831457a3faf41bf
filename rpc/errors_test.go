package rpc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

func TestAsError(t *testing.T) {
	_, missing := os.Open("/nonexistent/file")
	for _, c := range []struct {
		err     error
		code    int
		message string
	}{
		{errors.New("it broke"), -32603, "it broke"},
		{NoDevice("Malloc0"), -19, "No such device: Malloc0"},
		{Exists("Malloc0"), -17, "File exists: Malloc0"},
		{Busy("claimed by %s", "lvol"), -16, "Device or resource busy: claimed by lvol"},
		{Errno(syscall.EIO, ""), -5, "Input/output error"},
		{InvalidParams("portal group %d already exists", 1), -32602, "Invalid parameters: portal group 1 already exists"},
		{fmt.Errorf("lun 0: %w", NoDevice("x")), -19, "No such device: x: lun 0"},
		{fmt.Errorf("lun 0: %w, sadly", NoDevice("x")), -19, "No such device: x: lun 0: No such device: x, sadly"},
		{syscall.ENOSPC, -28, "No space left on device"},
		{missing, -2, "No such file or directory: open /nonexistent/file"},
		{fmt.Errorf("aio: %w", missing), -2, "No such file or directory: aio: open /nonexistent/file"},
		{context.DeadlineExceeded, -110, "Connection timed out: context deadline exceeded"},
		{fmt.Errorf("wait: %w", context.Canceled), -125, "Operation canceled: wait: context canceled"},
		{fs.ErrNotExist, -32603, "file does not exist"},
	} {
		if e := AsError(c.err); e.Code != c.code || e.Message != c.message {
			t.Errorf("%v: got %d %q, want %d %q", c.err, e.Code, e.Message, c.code, c.message)
		}
	}
}

package target

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// rpcTimeout bounds one call.
const rpcTimeout = 60 * time.Second

// RPCError is an error that the server returned.
type RPCError struct {
	Method  string `json:"-"`
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *RPCError) Error() string { return fmt.Sprintf("rpc %s: %s (%d)", e.Method, e.Message, e.Code) }

// call makes one JSON-RPC 2.0 call on a connection of its own.
func call(ctx context.Context, socket, method string, params, result any) error {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("rpc %s: %w", method, err)
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return fmt.Errorf("rpc %s: %w", method, err)
		}
	}
	request := map[string]any{"jsonrpc": "2.0", "id": 1, "method": method}
	if params != nil {
		request["params"] = params
	}
	if err := json.NewEncoder(c).Encode(request); err != nil {
		return fmt.Errorf("rpc %s: %w", method, err)
	}
	var reply struct {
		Result json.RawMessage `json:"result"`
		Error  *RPCError       `json:"error"`
	}
	if err := json.NewDecoder(c).Decode(&reply); err != nil {
		return fmt.Errorf("rpc %s: reply: %w", method, err)
	}
	if reply.Error != nil {
		reply.Error.Method = method
		return reply.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(reply.Result, result); err != nil {
		return fmt.Errorf("rpc %s: result: %w", method, err)
	}
	return nil
}

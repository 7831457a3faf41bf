package main

import "pollux/rpc"

// rpcCommand is `pollux rpc`. All of it is in package rpc, since it needs nothing but the socket.
func rpcCommand(args []string, std stdio) int {
	return rpc.Command(args, std.in, std.out, std.err)
}

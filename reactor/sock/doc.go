// Package sock is TCP on a reactor's ring: listeners, connections, receiving through provided buffers, and one
// gathered send in flight per connection.
//
//	accept -> Conn.Open -> Received(bytes)...  Dirty -> [pass end] Fill -> one sendmsg -> Sent messages
//	Close: shutdown, cancel, wait for the last completion -> Closed
//
// # Receiving
//
// A multishot receive fills buffers of the reactor's ring; Received sees the bytes in order and must take all of them
// before it returns. The buffer goes back to the ring at once. Kernels without provided buffers receive into a small
// buffer that the connection owns.
//
// # Sending
//
// A connection that has something to say calls Dirty. At the end of the pass, if no send is in flight, its handler's
// Fill is called and queues headers and payloads until Room says no; all of it leaves in one sendmsg on the ring (SendNow: in
// a system call of its own, and Fill is called again at once). What Fill could
// not place is asked for again when that send has ended. The memory of a send (iovecs, headers) is borrowed from the
// reactor while it is in flight, so that an idle connection holds none.
//
// # Life and death
//
// Close never waits. The descriptor, the slot and the send set are given back after the last completion of anything
// in flight, and only then is Closed called. After Close no other method of the handler is called but Closed.
//
//	open --Close, EOF, error, timeout--> ending --all quiet--> closing fd --> Closed
//	open --CloseAfterSend, all sent--> draining (half closed) --EOF or DrainTimeout--> ending
//	open --Detach--> detaching --all quiet--> moved(fd)
//
// # Files
//
// conn.go has the connection and its receiving, send.go its sending, end.go its three ways to end, listener.go the
// listeners, host.go what all connections of a reactor share.
package sock

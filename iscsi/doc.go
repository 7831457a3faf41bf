// Package iscsi is an iSCSI target (RFC 7143) on top of package scsi, and the protocol parts that an initiator needs too.
//
//	control plane (Server, under one lock)          data plane (per reactor: local)
//	  config  immutable, one atomic pointer  ---->    loginConn   accept .. last login request
//	    Options, PortalGroups, InitiatorGroups,         | asks
//	    AuthGroups, Targets                             v
//	                                                  home        one reactor: the table of sessions
//	                                                    | grants, on the reactor with the fewest sessions
//	                                                    v
//	                                                  session + conn   full feature phase
//	                                                    task* (scsi.Task, bdev.Request)  -> scsi.Nexus
//
// # Who owns what
//
// What the control plane sets up is one immutable config; a change copies it and publishes the copy, and a login reads it once.
// Sessions are decided by one owner, the server's home reactor: numbers, limits, reinstatement. A session, its connection, its
// nexus and its tasks belong to one reactor from the end of the login to their own end. A login runs where its connection was
// accepted; at its end the descriptor moves to the session's reactor, which sends the last response.
//
// # A command
//
// The Decoder cuts the stream into PDUs and calls conn.Header, Data, End. Header validates, takes CmdSN and dispatches. A SCSI
// Command takes a task from its reactor's free list and is prepared by the nexus, which says what data moves. Data-out is copied into
// the task's buffers as it arrives; R2Ts are sent only with their memory held. Then the nexus executes it, and its answer waits
// in the connection's output queue until Fill writes it: Data-In headers with the task's buffers behind them, the last
// with GOOD status, all answers of a pass in one send. StatSN and MaxCmdSN are given out in Fill. When the send has ended the
// task and its memory go back. Nothing is allocated per I/O.
//
// # Ends
//
// Whatever ends a connection calls conn.end: the socket closes, tasks end through the nexus, and when the last of socket, nexus, tasks
// and management functions has gone, home is told. A login that reinstates a session waits for exactly that, so no write of the
// old session can reach a device once the new one is open. There is one connection per session and no recovery above
// ErrorRecoveryLevel 0: the end of a connection is the end of its session's tasks. A session that has lost its connection is
// kept without one for DefaultTime2Retain, with its nexus and its numbers (retain.go).
//
// A block device that does not answer holds up what waits for its tasks, but each wait has a bound in limits.go and an honest end: a
// management function is rejected, a login is put off, a deletion and the end of the server name the device. Nothing is answered as
// complete while a write could still land, and no buffer is used again before its device has answered (quarantine.go).
//
// # Files
//
//	wire:      bhs, codes, serial, digest, pdu (Decoder), validate, text, keys, params, negotiation, login, login_auth, chap
//	control:   server, config, options, portal, initiator (groups), auth, target, counters, histogram, rpc, rpc_groups, rpc_targets, rpc_sessions, redirect
//	sessions:  accept (login), room (which login gives way to another), home, session, conn, retain (sessions without a connection), local (per reactor), memory (who may have how much), limits
//	commands:  dispatch, command, task, dataout, reply (Data-In, status), output (send queue)
//	others:    control (PDUs without a task), tmf, nop, logout, sendtargets, quarantine (what hung devices keep)
package iscsi

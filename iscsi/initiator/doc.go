// Package initiator is an iSCSI initiator on a reactor (RFC 7143), for `pollux bench` and for tests. Nothing of the target
// imports it.
//
//	control plane                 one reactor
//	Dial, Client ----Call, Do---> Session: sock.Conn + iscsi.Decoder + task slots
//	(blocking calls)              Submit(*Command), Start(*Exchange)
//
// # A session
//
// A Session is one session with one connection. Open takes a connected descriptor and logs in; Events.LoggedIn says how that
// ended. Commands may be submitted from then on and complete by their Done, on the session's reactor, never within Submit.
// When the connection ends, for whatever reason, everything outstanding completes with ResultLost, then Events.Ended is
// called, and the Session may be opened again: reconnecting is the caller's decision, and an Open with the same ISID is a session
// reinstatement.
//
// # What it checks
//
// Every PDU passes iscsi.Validate. With Config.Strict it also holds the target to sequence numbers, offsets and residuals, and
// ends the session at the first violation with an error that names it; tests use that. Without, it takes what it understands, as
// peers that are only to be measured deserve.
//
// # Files
//
// session.go has the life of a session and its login, submit.go commands and their queue, send.go what leaves (commands, Data-Out,
// answers to NOP-In), receive.go what arrives, client.go the blocking wrapper, discovery.go SendTargets.
package initiator

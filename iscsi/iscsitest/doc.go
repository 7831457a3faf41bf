// Package iscsitest is an iSCSI initiator that misbehaves on purpose, and PDUs as readable text. Only tests import it.
//
//	transcript.go  PDUs as text and back: what testdata/ holds
//	peer.go        a raw peer: plain blocking code over a TCP connection, one call per PDU; it checks nothing that it sends
//	misbehave.go   how a case is played, and what may answer it; cases.go and cases_session.go are the tables
//	flood.go       many connections, slow readers, ends of connections at chosen points
//
// A Peer belongs to one goroutine. Every wait has the bound Peer.Timeout.
package iscsitest

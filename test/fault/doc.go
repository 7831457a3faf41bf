// Package fault lets peers misbehave against the built binary: each gets the answer of RFC 7143 or a closed connection, and an
// honest session beside them notices nothing. What they do is in the tables of package iscsitest.
package fault

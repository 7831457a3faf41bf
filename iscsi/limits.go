package iscsi

import "time"

// Every bound of the target has its name here; TestEveryLimitIsTested says which test shows it, at and beyond. What the protocol
// negotiates within its own bounds is in keys.go.

// Bounds of sessions and connections.
const (
	// SessionsMax bounds max_sessions; at the bound a login is answered with "out of resources".
	SessionsMax = 65534
	// ConnectionsMax is how many sessions, each with a connection or kept without one, a reactor carries.
	ConnectionsMax = 8192
	// PendingLoginsMax is how many connections of one reactor may be in the login phase. For a further one the one is closed that has been
	// silent for longest, if that is LoginSilence; or else one of the address with the most of them (of IPv6 the first 64 bits count),
	// if those are more than the new one's address would have; or else the oldest that has not sent a whole request, unless its address has
	// fewer than the new one's. If there is none, the new one is closed.
	PendingLoginsMax = 256
	// LoginSilence is how long a connection may pause before and within its login until it gives way to any new one: more than it
	// takes an initiator and a lost segment on the way.
	LoginSilence = 2 * time.Second
	// LoginTimeout is how long a connection may take from accept to the full feature phase.
	LoginTimeout = 15 * time.Second
	// LoginRoundsMax is how many Login Requests one login may take; CHAP needs four, long texts a few more.
	LoginRoundsMax = 32
	// SessionWait is how long a login waits for an older session to end or to lose its connection, which takes as long as the devices need to
	// give up its tasks. Then it is answered with "service unavailable", and the initiator comes again.
	SessionWait = 10 * time.Second
	// Time2WaitMax bounds default_time2wait, in seconds (RFC 7143 13.14).
	Time2WaitMax = 3600
	// Time2RetainMax bounds default_time2retain, in seconds: how long a session whose connection is lost may be kept (RFC 7143 13.15). Kept
	// sessions count as sessions; when there are max_sessions, the one that was lost first gives way.
	Time2RetainMax = 3600
	// LogoutGrace is how long initiators have to log out when the target ends or asks them to.
	LogoutGrace = 3 * time.Second
	// EndTimeout is how long the deletion of a target and the end of the server wait for sessions to end, beside the grace for logouts.
	EndTimeout = 10 * time.Second
)

// Bounds of PDUs and texts.
const (
	// AHSMax is the longest that all additional header segments of a PDU can be, in bytes (RFC 7143 11.2.1.5).
	AHSMax = 255 * 4
	// LoginDataSegmentMax is the longest data segment during login, for both sides (RFC 7143 13.12: the default).
	LoginDataSegmentMax = 8192
	// RecvDataSegmentMax is the MaxRecvDataSegmentLength that the target declares: the longest data segment that it takes.
	RecvDataSegmentMax = 256 << 10
	// BurstMax is the MaxBurstLength that the target offers.
	BurstMax = 1 << 20
	// PingMax is the longest data of a NOP-Out that is returned; what exceeds it is cut off.
	PingMax = 8192
	// SendTargetsMax is the longest answer to SendTargets, all PDUs together: about four thousand target names. What does not
	// fit is left out, target by target.
	SendTargetsMax = 1 << 20

	// NameMax is the longest iSCSI name, in bytes (RFC 7143 4.2.7.1).
	NameMax = 223
	// KeyMax is the longest key of a text (RFC 7143 6.1).
	KeyMax = 63
	// ValueMax is the longest simple value of a text (RFC 7143 6.1).
	ValueMax = 255
	// LongValueMax is the longest value of keys that carry binary items or lists.
	LongValueMax = 8192
	// TextMax is the longest text of one exchange, over all its PDUs.
	TextMax = 8192
	// TextPairsMax is how many pairs one text may have: even if all are NotUnderstood, the answer fits into TextMax.
	TextPairsMax = 96
	// TextRoundsMax is how many PDUs of one exchange may come from one side.
	TextRoundsMax = 64

	// CHAPChallengeMax is the longest challenge, decoded (RFC 7143 12.1.3).
	CHAPChallengeMax = 1024
	// CHAPSecretMin is the shortest secret: 96 bits, what RFC 7143 9.2.1 wants of random secrets.
	CHAPSecretMin = 12
	// CHAPSecretMax is the longest secret.
	CHAPSecretMax = 255
	// CHAPNameMax is the longest name of a CHAP user.
	CHAPNameMax = 255
)

// Bounds of what one session may have unfinished.
const (
	// QueueDepthMax bounds the CmdSN window of one session (max_queue_depth, queue_depth).
	QueueDepthMax = 1024
	// DiscoveryQueueDepth is the CmdSN window of discovery sessions.
	DiscoveryQueueDepth = 4
	// ImmediateMax is how many immediate commands of one session may be unfinished. Further ones are rejected.
	ImmediateMax = 16
	// ManagementMax is how many task management functions of one session may be unfinished. Further ones are rejected.
	ManagementMax = 8
	// ManagementTimeout is how long a task management function waits for the devices. Then it is rejected; initiators give up soon after
	// (Linux: 15 seconds for ABORT TASK).
	ManagementTimeout = 10 * time.Second
	// ControlMax is how many answers that carry no task (NOP-In, Reject, Text Response, ...) may wait for one connection to
	// send. A peer that asks on without reading is disconnected at the bound.
	ControlMax = 64
	// R2TMax is how many R2Ts of one task may be outstanding.
	R2TMax = 4
	// DataPiecesMax is how many buffers one task's data may take: MaxTransferBytes in buffers of iobuf.MaxSize, and one more.
	DataPiecesMax = 17
	// DataOutTimeout is how long a task may wait for its next Data-Out before the connection is given up.
	DataOutTimeout = 60 * time.Second
	// QuarantineAfter is how long a device may keep tasks of a connection that has ended until they count as quarantined.
	QuarantineAfter = 10 * time.Second
)

// Bounds of the configuration.
const (
	PortalsPerGroup = 1024
	EntriesPerGroup = 8192 // initiator names, and netmasks, of one initiator group
	MapsPerTarget   = 256
	SecretsPerGroup = 256
	LUNsPerTarget   = 256
	TagMax          = 65535
)

// Sizes of steps, which no peer meets as a bound.
const (
	// dataInQuantum is how many bytes of one task's read data are queued before another task's answer gets its turn.
	dataInQuantum = 64 << 10
	// segmentMax keeps the pieces of one Data-In few.
	segmentMax = 256 << 10
	// sendMax is how many bytes of data, about, leave in one send, so that what becomes ready meanwhile does not wait for long.
	sendMax = 1 << 20
	// taskSlab is how many tasks a reactor's free list grows by.
	taskSlab = 32
	// hungryBatch is how many connections that wait for memory try in one go.
	hungryBatch = 64
	// memoryRetry is how soon a reactor that ran out of buffers looks again, in case another reactor has given some back.
	memoryRetry = time.Millisecond
	// chapChallengeLength is how many bytes our challenges have.
	chapChallengeLength = 32
)

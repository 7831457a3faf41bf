package iscsi

import "fmt"

// Opcode is the type of a PDU (RFC 7143 11.2.1.2).
type Opcode uint8

// Opcodes. Those of the target have bit 5 set.
const (
	OpNOPOut         Opcode = 0x00
	OpSCSICommand    Opcode = 0x01
	OpTaskManagement Opcode = 0x02
	OpLogin          Opcode = 0x03
	OpText           Opcode = 0x04
	OpDataOut        Opcode = 0x05
	OpLogout         Opcode = 0x06
	OpSNACK          Opcode = 0x10

	OpNOPIn                  Opcode = 0x20
	OpSCSIResponse           Opcode = 0x21
	OpTaskManagementResponse Opcode = 0x22
	OpLoginResponse          Opcode = 0x23
	OpTextResponse           Opcode = 0x24
	OpDataIn                 Opcode = 0x25
	OpLogoutResponse         Opcode = 0x26
	OpR2T                    Opcode = 0x31
	OpAsync                  Opcode = 0x32
	OpReject                 Opcode = 0x3f
)

// opcodeNames are the titles of RFC 7143 11.
var opcodeNames = map[Opcode]string{
	OpNOPOut: "NOP-Out", OpSCSICommand: "SCSI Command", OpTaskManagement: "Task Management Function Request",
	OpLogin: "Login Request", OpText: "Text Request", OpDataOut: "Data-Out", OpLogout: "Logout Request", OpSNACK: "SNACK Request",
	OpNOPIn: "NOP-In", OpSCSIResponse: "SCSI Response", OpTaskManagementResponse: "Task Management Function Response",
	OpLoginResponse: "Login Response", OpTextResponse: "Text Response", OpDataIn: "Data-In", OpLogoutResponse: "Logout Response",
	OpR2T: "R2T", OpAsync: "Asynchronous Message", OpReject: "Reject",
}

// String is the title that the standard gives the PDU.
func (o Opcode) String() string {
	if s, ok := opcodeNames[o]; ok {
		return s
	}
	return fmt.Sprintf("opcode %#02x", uint8(o))
}

// FromTarget reports whether PDUs of this opcode are sent by targets.
func (o Opcode) FromTarget() bool { return o&0x20 != 0 }

// Stage is a stage of the login phase (RFC 7143 11.12.3).
type Stage uint8

// Stages.
const (
	StageSecurity    Stage = 0
	StageOperational Stage = 1
	StageReserved    Stage = 2
	StageFullFeature Stage = 3
)

// ISID is the initiator's part of a session identifier (RFC 7143 11.12.6).
type ISID [6]byte

// TMF responses beside those of RFC 7143 11.6.1 that scsi.Response names.
const (
	TMFResponseTaskAllegiant         = 3
	TMFResponseReassignNotSupported  = 4
	TMFResponseAuthorizationFailed   = 6
	TMFFunctionTaskReassign          = 8
	SCSIResponseCompleted            = 0x00 // RFC 7143 11.4.3: command completed at target
	SCSIResponseTargetFailure        = 0x01
	LogoutResponseClosed             = 0 // RFC 7143 11.15.1
	LogoutResponseCIDNotFound        = 1
	LogoutResponseRecoveryNotPresent = 2
	LogoutResponseCleanupFailed      = 3
)

// LogoutReason is why a Logout Request is sent (RFC 7143 11.14.1).
type LogoutReason uint8

// Logout reasons.
const (
	LogoutCloseSession    LogoutReason = 0
	LogoutCloseConnection LogoutReason = 1
	LogoutRemoveForRetry  LogoutReason = 2
)

// AsyncEvent is what an Asynchronous Message tells (RFC 7143 11.9.1).
type AsyncEvent uint8

// Asynchronous events.
const (
	AsyncSCSIEvent          AsyncEvent = 0 // sense data in the data segment
	AsyncRequestLogout      AsyncEvent = 1
	AsyncDropConnection     AsyncEvent = 2
	AsyncDropAllConnections AsyncEvent = 3
	AsyncRequestNegotiation AsyncEvent = 4
	AsyncLUNTasksTerminated AsyncEvent = 5
	AsyncVendor             AsyncEvent = 255
)

// RejectReason is why a PDU is rejected (RFC 7143 11.17.1).
type RejectReason uint8

// Reject reasons.
const (
	RejectDataDigest       RejectReason = 0x02
	RejectSNACK            RejectReason = 0x03
	RejectProtocolError    RejectReason = 0x04
	RejectNotSupported     RejectReason = 0x05
	RejectTooManyImmediate RejectReason = 0x06
	RejectTaskInProgress   RejectReason = 0x07
	RejectInvalidDataACK   RejectReason = 0x08
	RejectInvalidField     RejectReason = 0x09
	RejectLongOperation    RejectReason = 0x0a
	RejectWaitingForLogout RejectReason = 0x0c
)

// LoginStatus is StatusClass << 8 | StatusDetail of a Login Response (RFC 7143 11.13.5). It is an error so that the control
// plane can wrap it; LoginSuccess is none.
type LoginStatus uint16

// Login statuses.
const (
	LoginSuccess                 LoginStatus = 0x0000
	LoginMovedTemporarily        LoginStatus = 0x0101
	LoginMovedPermanently        LoginStatus = 0x0102
	LoginInitiatorError          LoginStatus = 0x0200
	LoginAuthenticationFailure   LoginStatus = 0x0201
	LoginAuthorizationFailure    LoginStatus = 0x0202
	LoginNotFound                LoginStatus = 0x0203
	LoginTargetRemoved           LoginStatus = 0x0204
	LoginUnsupportedVersion      LoginStatus = 0x0205
	LoginTooManyConnections      LoginStatus = 0x0206
	LoginMissingParameter        LoginStatus = 0x0207
	LoginCannotIncludeInSession  LoginStatus = 0x0208
	LoginSessionTypeNotSupported LoginStatus = 0x0209
	LoginSessionDoesNotExist     LoginStatus = 0x020a
	LoginInvalidDuringLogin      LoginStatus = 0x020b
	LoginTargetError             LoginStatus = 0x0300
	LoginServiceUnavailable      LoginStatus = 0x0301
	LoginOutOfResources          LoginStatus = 0x0302
)

// loginStatusNames are the words of RFC 7143 11.13.5.
var loginStatusNames = map[LoginStatus]string{
	LoginSuccess:          "success",
	LoginMovedTemporarily: "target moved temporarily", LoginMovedPermanently: "target moved permanently",
	LoginInitiatorError: "initiator error", LoginAuthenticationFailure: "authentication failure",
	LoginAuthorizationFailure: "authorization failure", LoginNotFound: "target not found", LoginTargetRemoved: "target removed",
	LoginUnsupportedVersion: "unsupported version", LoginTooManyConnections: "too many connections",
	LoginMissingParameter: "missing parameter", LoginCannotIncludeInSession: "cannot include in session",
	LoginSessionTypeNotSupported: "session type not supported", LoginSessionDoesNotExist: "session does not exist",
	LoginInvalidDuringLogin: "invalid request type during login",
	LoginTargetError:        "target error", LoginServiceUnavailable: "service unavailable", LoginOutOfResources: "out of resources",
}

// Error is the status in the standard's words and in numbers.
func (s LoginStatus) Error() string {
	name, ok := loginStatusNames[s]
	if !ok {
		name = "login status"
	}
	return fmt.Sprintf("%s (%02x/%02x)", name, uint8(s>>8), uint8(s))
}

package initiator

import (
	"encoding/binary"
	"fmt"

	"pollux/iscsi"
)

// textMax bounds the answer to one Text Request, over all its PDUs.
const textMax = 1 << 20

// sink is the Session as its decoder sees it.
type sink Session

// Header implements iscsi.Sink.
func (k *sink) Header(h *iscsi.BHS, _ []byte) bool {
	s := (*Session)(k)
	if fault := iscsi.Validate(h, &s.limits); fault != iscsi.FaultNone {
		s.end(fmt.Errorf("%w: %v: %w", ErrProtocol, h.Opcode(), fault))
		return false
	}
	s.segment, s.into = s.segment[:0], nil
	if h.Opcode() == iscsi.OpDataIn {
		return s.beginDataIn(h)
	}
	return true
}

// Data implements iscsi.Sink.
func (k *sink) Data(p []byte) {
	c := k.into
	if c == nil {
		k.segment = append(k.segment, p...)
		return
	}
	if c.Discard == 0 {
		copy(c.In[k.at:], p)
	}
	k.at += uint32(len(p))
	c.Received += uint32(len(p))
}

// End implements iscsi.Sink.
func (k *sink) End(h *iscsi.BHS, fault iscsi.Fault) bool {
	s := (*Session)(k)
	switch {
	case fault != iscsi.FaultNone:
		s.end(fmt.Errorf("%w: %v: %w", ErrProtocol, h.Opcode(), fault))
	case s.state == stateLogin:
		s.takeLogin(h)
	default:
		s.updateWindow(h)
		s.dispatch(h)
	}
	return s.state == stateLogin || s.state == stateFull
}

// Broken implements iscsi.Sink.
func (k *sink) Broken(fault iscsi.Fault) {
	(*Session)(k).end(fmt.Errorf("%w: %w", ErrProtocol, fault))
}

// updateWindow: RFC 7143 4.2.2.1: numbers that go back are old news.
func (s *Session) updateWindow(h *iscsi.BHS) {
	exp, last := h.ExpCmdSN(), h.MaxCmdSN()
	if iscsi.SerialLess(last, exp-1) {
		return
	}
	if s.Config.Strict && (iscsi.SerialLess(exp, s.expCmdSN) || iscsi.SerialLess(last, s.maxCmdSN)) {
		s.violate("ExpCmdSN %#x, MaxCmdSN %#x after %#x, %#x", exp, last, s.expCmdSN, s.maxCmdSN)
	}
	s.expCmdSN = iscsi.SerialMax(s.expCmdSN, exp)
	if iscsi.SerialLess(s.maxCmdSN, last) {
		s.maxCmdSN = last
		if s.queue.head != nil {
			s.conn.Dirty()
		}
	}
	if s.Config.Strict && iscsi.SerialLess(s.cmdSN, exp) {
		s.violate("ExpCmdSN %#x, but %#x comes next", exp, s.cmdSN)
	}
}

func (s *Session) dispatch(h *iscsi.BHS) {
	switch h.Opcode() {
	case iscsi.OpDataIn:
		s.endDataIn(h)
	case iscsi.OpSCSIResponse:
		s.takeResponse(h)
	case iscsi.OpR2T:
		s.takeR2T(h)
	case iscsi.OpNOPIn:
		s.takeNOPIn(h)
	case iscsi.OpAsync:
		s.takeAsync(h)
	case iscsi.OpReject:
		s.takeReject(h)
	default:
		s.takeAnswer(h)
	}
}

// takeStatus follows StatSN, in PDUs that use one up.
func (s *Session) takeStatus(h *iscsi.BHS) {
	if s.Config.Strict && h.StatSN() != s.expStatSN {
		s.violate("%v has StatSN %#x, want %#x", h.Opcode(), h.StatSN(), s.expStatSN)
	}
	if iscsi.SerialLessEqual(s.expStatSN, h.StatSN()) {
		s.expStatSN = h.StatSN() + 1
	}
}

// beginDataIn finds out where the data goes.
func (s *Session) beginDataIn(h *iscsi.BHS) bool {
	c := s.command(h.InitiatorTaskTag())
	if c == nil {
		s.violate("Data-In for unknown task %#x", h.InitiatorTaskTag())
		return false
	}
	offset, n := h.BufferOffset(), uint32(h.DataSegmentLength())
	if offset+n > c.capacity() || offset+n > c.expected() {
		s.violate("Data-In of %d bytes at %d for %d", n, offset, c.capacity())
		return false
	}
	if s.Config.Strict && (h.DataSN() != c.dataSN || offset != c.Received || len(c.Out) > 0) {
		s.violate("Data-In with DataSN %d at %d, want %d at %d", h.DataSN(), offset, c.dataSN, c.Received)
		return false
	}
	c.dataSN++
	s.into, s.at = c, offset
	return true
}

// endDataIn completes the command if the status came with the data.
func (s *Session) endDataIn(h *iscsi.BHS) {
	c := s.into
	if !h.StatusBit() {
		return
	}
	s.takeStatus(h)
	c.Result, c.Response, c.Status = ResultAnswered, iscsi.SCSIResponseCompleted, h.Status()
	s.completeCommand(h, c)
}

func (s *Session) takeResponse(h *iscsi.BHS) {
	s.takeStatus(h)
	c := s.command(h.InitiatorTaskTag())
	if c == nil {
		s.violate("SCSI Response for unknown task %#x", h.InitiatorTaskTag())
		return
	}
	c.Result, c.Response, c.Status = ResultAnswered, h.Response(), h.Status()
	if n := len(s.segment); n >= 2 { // RFC 7143 11.4.7.2
		length := min(int(binary.BigEndian.Uint16(s.segment)), n-2)
		c.SenseLen = copy(c.Sense[:], s.segment[2:2+length])
	}
	came := c.dataSN - iscsi.FirstSN()
	if s.Config.Strict && h.Response() == iscsi.SCSIResponseCompleted && len(c.Out) == 0 && h.ExpDataSN() != came && came != 0 {
		s.violate("SCSI Response with ExpDataSN %d, but %d Data-In came", h.ExpDataSN(), came)
	}
	s.completeCommand(h, c)
}

func (s *Session) completeCommand(h *iscsi.BHS, c *Command) {
	c.Overflow, c.Underflow = h.Overflow(), h.Underflow()
	if c.Overflow || c.Underflow {
		c.Residual = h.ResidualCount()
	}
	if s.Config.Strict {
		s.checkResidual(c)
	}
	s.finish(c.ITT)
}

// checkResidual: RFC 7143 11.4.5: what was not moved of the expected length is the residual of a good read.
func (s *Session) checkResidual(c *Command) {
	switch {
	case c.Overflow && c.Underflow:
		s.violate("residual overflow and underflow")
	case c.Status != 0 || len(c.Out) > 0 || c.capacity() == 0:
	case c.Underflow && c.Received+c.Residual != c.expected(), !c.Underflow && c.Received != c.expected():
		s.violate("%d of %d bytes came, residual %d", c.Received, c.expected(), c.Residual)
	}
}

func (s *Session) takeR2T(h *iscsi.BHS) {
	c := s.command(h.InitiatorTaskTag())
	offset, n := h.BufferOffset(), h.DesiredDataTransferLength()
	switch {
	case c == nil:
		s.violate("R2T for unknown task %#x", h.InitiatorTaskTag())
		return
	case uint64(offset)+uint64(n) > uint64(len(c.Out)):
		s.violate("R2T for %d bytes at %d of %d", n, offset, len(c.Out))
		return
	case s.Config.Strict && (h.R2TSN() != c.r2tSN || n > s.params.MaxBurstLength || h.TargetTransferTag() == iscsi.ReservedTag):
		s.violate("R2T %d for %d bytes, tag %#x, want R2TSN %d", h.R2TSN(), n, h.TargetTransferTag(), c.r2tSN)
		return
	}
	c.r2tSN++
	if !s.bursts.push(burst{c, c.ITT, h.TargetTransferTag(), h.LUN(), offset, n, iscsi.FirstSN()}) {
		s.violate("more R2Ts than MaxOutstandingR2T=%d", s.params.MaxOutstandingR2T)
		return
	}
	s.conn.Dirty()
}

// takeNOPIn answers pings. One without a transfer tag only carries numbers, or answers ours.
func (s *Session) takeNOPIn(h *iscsi.BHS) {
	if h.InitiatorTaskTag() != iscsi.ReservedTag {
		s.takeAnswer(h)
		return
	}
	if h.TargetTransferTag() == iscsi.ReservedTag {
		return
	}
	if !s.answers.push(nopOut{h.LUN(), h.TargetTransferTag()}) {
		s.violate("more than %d NOP-In at once", answersMax)
		return
	}
	s.conn.Dirty()
	if s.Events.NOPIn != nil {
		s.Events.NOPIn(h)
	}
}

func (s *Session) takeAsync(h *iscsi.BHS) {
	s.takeStatus(h)
	if s.Events.Async != nil {
		s.Events.Async(h)
	}
}

// takeReject ends the command whose header comes back.
func (s *Session) takeReject(h *iscsi.BHS) {
	s.takeStatus(h)
	if len(s.segment) >= iscsi.BHSLength {
		bad := (*iscsi.BHS)(s.segment)
		if e := s.find(bad.InitiatorTaskTag()); e != nil && bad.Opcode() != iscsi.OpDataOut {
			if e.command != nil {
				e.command.Result, e.command.Reason = ResultRejected, h.Reason()
			} else {
				e.exchange.Result = ResultRejected
				e.exchange.Answer = iscsi.PDU{BHS: *h}
			}
			s.finish(bad.InitiatorTaskTag())
			return
		}
	}
	if s.Events.Rejected != nil {
		s.Events.Rejected(h)
	}
}

// answerTo says which response answers which request.
var answerTo = map[iscsi.Opcode]iscsi.Opcode{
	iscsi.OpNOPIn: iscsi.OpNOPOut, iscsi.OpTaskManagementResponse: iscsi.OpTaskManagement,
	iscsi.OpTextResponse: iscsi.OpText, iscsi.OpLogoutResponse: iscsi.OpLogout,
}

// takeAnswer completes an exchange.
func (s *Session) takeAnswer(h *iscsi.BHS) {
	s.takeStatus(h)
	e := s.find(h.InitiatorTaskTag())
	if e == nil || e.exchange == nil || e.exchange.Request.Opcode() != answerTo[h.Opcode()] {
		s.violate("%v for unknown task %#x", h.Opcode(), h.InitiatorTaskTag())
		return
	}
	x := e.exchange
	x.Result, x.Answer.BHS = ResultAnswered, *h
	x.Answer.Data = append(x.Answer.Data, s.segment...)
	if h.Opcode() == iscsi.OpTextResponse && h.TargetTransferTag() != iscsi.ReservedTag {
		s.askForMore(x, h)
		return
	}
	s.finish(h.InitiatorTaskTag())
}

// askForMore: RFC 7143 11.11.4: a transfer tag says that there is more text; it is asked for under the same task tag.
func (s *Session) askForMore(x *Exchange, h *iscsi.BHS) {
	if len(x.Answer.Data) > textMax {
		s.violate("text of more than %d bytes", textMax)
		return
	}
	x.Request.Data = nil
	x.Request.SetFinal(true)
	x.Request.SetContinue(false)
	x.Request.SetTargetTransferTag(h.TargetTransferTag())
	x.again = true
	s.enqueue(&x.entry)
}

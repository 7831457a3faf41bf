package initiator

import "pollux/iscsi"

// burst is one Data-Out sequence: what an R2T asks for, or the unsolicited data behind a command.
type burst struct {
	command *Command
	itt     uint32
	ttt     uint32
	lun     uint64
	offset  uint32
	length  uint32
	dataSN  uint32
}

// nopOut is an answer to a NOP-In that asks for one.
type nopOut struct {
	lun uint64
	ttt uint32
}

// overhead is what a PDU needs beside its data at most: header, digests, padding; in two pieces around the data.
const overhead = iscsi.BHSLength + 2*iscsi.DigestLength + 3

// fill queues output until there is no room or nothing left, or one PDU when each leaves in a send of its own.
func (s *Session) fill() {
	switch {
	case s.state == stateLogin:
		s.fillLogin()
		return
	case s.state != stateFull:
		return
	case s.Config.Batch:
		for s.fillOne() {
		}
		return
	}
	if s.fillOne() && (s.bursts.size > 0 || s.answers.size > 0 || s.queue.head != nil) {
		s.conn.Dirty()
	}
}

// fillOne queues the next PDU: data that was asked for first, so that tasks end before others begin.
func (s *Session) fillOne() bool {
	s.skipBursts()
	switch {
	case s.answers.size > 0:
		return s.fillAnswer()
	case s.bursts.size > 0:
		return s.fillDataOut()
	case s.queue.head == nil:
		return false
	case s.queue.head.command != nil:
		return s.fillCommand(s.queue.head.command)
	default:
		return s.fillExchange(s.queue.head.exchange)
	}
}

// skipBursts drops sequences whose command has been answered already.
func (s *Session) skipBursts() {
	for s.bursts.size > 0 && s.command(s.bursts.first().itt) != s.bursts.first().command {
		s.bursts.drop()
	}
}

// header takes room for a header and its digest.
func (s *Session) header() (b []byte, h *iscsi.BHS) {
	n := iscsi.BHSLength
	if s.decoder.HeaderDigest {
		n += iscsi.DigestLength
	}
	b = s.conn.Header(n)
	return b, (*iscsi.BHS)(b)
}

// seal writes the header digest.
func (s *Session) seal(b []byte) {
	if s.decoder.HeaderDigest {
		iscsi.PutHeaderDigest(b)
	}
}

// attach queues a data segment that stays where it is, with padding and digest.
func (s *Session) attach(data []byte) {
	if len(data) == 0 {
		return
	}
	s.conn.Attach(data)
	pad, n := iscsi.Padding(len(data)), 0
	if s.decoder.DataDigest {
		n = iscsi.DigestLength
	}
	if pad+n == 0 {
		return
	}
	tail := s.conn.Header(pad + n)
	clear(tail)
	if n != 0 {
		iscsi.Digest(0).Add(data).AddPadding(len(data)).Put(tail[pad:])
	}
}

// admit gives an entry its slot if slot and window allow. Immediate requests take no CmdSN (RFC 7143 4.2.2.1).
func (s *Session) admit(e *entry, immediate bool) (itt uint32, ok bool) {
	if !immediate && !iscsi.SerialLessEqual(s.cmdSN, s.maxCmdSN) {
		return 0, false
	}
	if e.command != nil && len(s.free) <= exchangeSlots {
		return 0, false
	}
	return s.take(e)
}

// number is the CmdSN that a request carries.
func (s *Session) number(immediate bool) uint32 {
	sn := s.cmdSN
	if !immediate {
		s.cmdSN++
	}
	return sn
}

func (s *Session) fillCommand(c *Command) bool {
	ahs := longCDBLength(len(c.LongCDB))
	if !s.conn.Room(overhead+ahs, 2) {
		return false
	}
	itt, ok := s.admit(&c.entry, c.Immediate)
	if !ok {
		return false
	}
	s.queue.pop()
	c.ITT, c.CmdSN = itt, s.number(c.Immediate)
	immediate, unsolicited := s.firstBurst(c)

	n := iscsi.BHSLength + ahs
	if s.decoder.HeaderDigest {
		n += iscsi.DigestLength
	}
	b := s.conn.Header(n)
	h := (*iscsi.BHS)(b)
	h.Clear(iscsi.OpSCSICommand)
	h.SetImmediate(c.Immediate)
	h.SetFinal(unsolicited == 0)
	h.SetRead(len(c.In) > 0 || c.Discard > 0)
	h.SetWrite(len(c.Out) > 0)
	h.SetAttr(c.Attr)
	h.SetTotalAHSLength(ahs)
	h.SetDataSegmentLength(int(immediate))
	h.SetLUN(c.LUN)
	h.SetInitiatorTaskTag(itt)
	h.SetExpectedDataTransferLength(c.expected())
	h.SetCmdSN(c.CmdSN)
	h.SetExpStatSN(s.expStatSN)
	copy(b[32:48], c.CDB[:])
	putLongCDB(b[iscsi.BHSLength:iscsi.BHSLength+ahs], c.LongCDB)
	s.seal(b)
	if immediate > 0 {
		c.fill = s.conn.Sending()
		s.attach(c.Out[:immediate])
	}
	if unsolicited > 0 {
		s.bursts.push(burst{command: c, itt: itt, ttt: iscsi.ReservedTag, lun: c.LUN, offset: immediate, length: unsolicited, dataSN: iscsi.FirstSN()})
	}
	return true
}

// expected is the expected data transfer length.
func (c *Command) expected() uint32 {
	switch {
	case c.HasExpected:
		return c.Expected
	case len(c.Out) > 0:
		return uint32(len(c.Out))
	default:
		return c.capacity()
	}
}

// capacity is how much data-in the command takes.
func (c *Command) capacity() uint32 { return max(c.Discard, uint32(len(c.In))) }

// firstBurst says how much of the data leaves with the command and right behind it (RFC 7143 4.2.5.2).
func (s *Session) firstBurst(c *Command) (immediate, unsolicited uint32) {
	p := &s.params
	first := min(uint32(len(c.Out)), p.FirstBurstLength, c.expected())
	if p.ImmediateData {
		immediate = min(first, p.MaxSendDataSegmentLength)
	}
	if !p.InitialR2T {
		unsolicited = first - immediate
	}
	return immediate, unsolicited
}

// longCDBLength is the length of the AHS for n bytes of CDB beyond sixteen (RFC 7143 11.2.2.3).
func longCDBLength(n int) int {
	if n == 0 {
		return 0
	}
	return 4 + n + iscsi.Padding(n)
}

func putLongCDB(b, rest []byte) {
	if len(b) == 0 {
		return
	}
	clear(b)
	n := len(rest) + 1
	b[0], b[1], b[2] = byte(n>>8), byte(n), 1
	copy(b[4:], rest)
}

// fillDataOut queues the next Data-Out of the first sequence.
func (s *Session) fillDataOut() bool {
	if !s.conn.Room(overhead, 2) {
		return false
	}
	q := s.bursts.first()
	n := min(q.length, s.params.MaxSendDataSegmentLength)
	b, h := s.header()
	h.Clear(iscsi.OpDataOut)
	h.SetFinal(n == q.length)
	h.SetDataSegmentLength(int(n))
	h.SetLUN(q.lun)
	h.SetInitiatorTaskTag(q.itt)
	h.SetTargetTransferTag(q.ttt)
	h.SetExpStatSN(s.expStatSN)
	h.SetDataSN(q.dataSN)
	h.SetBufferOffset(q.offset)
	s.seal(b)
	q.command.fill = s.conn.Sending()
	s.attach(q.command.Out[q.offset : q.offset+n])
	q.offset, q.length, q.dataSN = q.offset+n, q.length-n, q.dataSN+1
	if q.length == 0 {
		s.bursts.drop()
	}
	return true
}

// fillAnswer queues a NOP-Out that answers a NOP-In (RFC 7143 11.18).
func (s *Session) fillAnswer() bool {
	if !s.conn.Room(overhead, 0) {
		return false
	}
	a := s.answers.first()
	b, h := s.header()
	h.Clear(iscsi.OpNOPOut)
	h.SetImmediate(true)
	h.SetFinal(true)
	h.SetLUN(a.lun)
	h.SetInitiatorTaskTag(iscsi.ReservedTag)
	h.SetTargetTransferTag(a.ttt)
	h.SetCmdSN(s.cmdSN)
	h.SetExpStatSN(s.expStatSN)
	s.seal(b)
	s.answers.drop()
	return true
}

// fillExchange queues a request whose data, being short, is copied.
func (s *Session) fillExchange(e *Exchange) bool {
	p := &e.Request
	if !s.conn.Room(overhead+len(p.AHS)+len(p.Data), 0) {
		return false
	}
	if !e.again {
		itt, ok := s.admit(&e.entry, p.Immediate())
		if !ok {
			return false
		}
		p.SetInitiatorTaskTag(itt)
	}
	s.queue.pop()
	e.again = false
	p.SetCmdSN(s.number(p.Immediate()))
	p.SetExpStatSN(s.expStatSN)
	b := p.Append(nil, s.decoder.HeaderDigest, s.decoder.DataDigest)
	copy(s.conn.Header(len(b)), b)
	return true
}

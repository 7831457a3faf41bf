package scsi

import (
	"encoding/binary"

	"pollux/bdev"
)

// modes are the mode parameters of a LUN that can be changed, and what they depend on.
type modes struct {
	hasCache        bool // the device has a volatile cache that can be flushed
	writeThrough    bool // WCE is zero although there is a cache
	descriptorSense bool // D_SENSE
	writeProtect    bool // SWP
	taskAborted     bool // TAS
}

func defaultModes(s *bdev.Spec) modes { return modes{hasCache: s.WriteCache} }

// modePage is a row of the table of mode pages (SPC-5 7.5, SBC-4 6.5).
type modePage struct {
	code, subpage byte
	length        int                      // with the header
	fill          func(m *modes, b []byte) // writes the values
	mask          func(m *modes, b []byte) // sets the bits that can be changed
	apply         func(m *modes, b []byte) // takes the values over
}

var modePages = []modePage{
	{code: 0x02, length: 16}, // disconnect-reconnect
	{code: 0x08, length: 20, fill: fillCaching, mask: maskCaching, apply: applyCaching}, //
	{code: 0x0a, length: 12, fill: fillControl, mask: maskControl, apply: applyControl}, //
	{code: 0x0a, subpage: 0x01, length: 32},                                             // control extension
	{code: 0x1c, length: 12, fill: func(_ *modes, b []byte) { b[2] = 0x08 }},            // informational exceptions: DEXCPT
}

const writeCacheEnable = 0x04

func fillCaching(m *modes, b []byte) {
	if m.hasCache && !m.writeThrough {
		b[2] = writeCacheEnable
	}
}

// maskCaching: the cache can be written through, with FUA on every write; it cannot be made up where there is none.
func maskCaching(m *modes, b []byte) {
	if m.hasCache {
		b[2] = writeCacheEnable
	}
}

func applyCaching(m *modes, b []byte) { m.writeThrough = m.hasCache && b[2]&writeCacheEnable == 0 }

// Bits of the control mode page.
const (
	controlDSense      = 0x04 // byte 2
	controlUnrestrict  = 0x10 // byte 3: QUEUE ALGORITHM MODIFIER 1, commands may be reordered at will
	controlSWP         = 0x08 // byte 4
	controlTaskAborted = 0x40 // byte 5
)

func fillControl(m *modes, b []byte) {
	b[3] = controlUnrestrict
	if m.descriptorSense {
		b[2] |= controlDSense
	}
	if m.writeProtect {
		b[4] |= controlSWP
	}
	if m.taskAborted {
		b[5] |= controlTaskAborted
	}
}

func maskControl(_ *modes, b []byte) {
	b[2], b[4], b[5] = controlDSense, controlSWP, controlTaskAborted
}

func applyControl(m *modes, b []byte) {
	m.descriptorSense = b[2]&controlDSense != 0
	m.writeProtect = b[4]&controlSWP != 0
	m.taskAborted = b[5]&controlTaskAborted != 0
}

// headerLen is the length of the page's header.
func (p *modePage) headerLen() int {
	if p.subpage != 0 {
		return 4
	}
	return 2
}

// putHeader writes the page's header.
func (p *modePage) putHeader(b []byte) {
	b[0] = p.code
	if p.subpage == 0 {
		b[1] = byte(p.length - 2)
		return
	}
	b[0] |= 0x40 // SPF
	b[1] = p.subpage
	binary.BigEndian.PutUint16(b[2:], uint16(p.length-4))
}

// append adds the page with the values of m, or with its mask of changeable bits.
func (p *modePage) append(b []byte, m *modes, changeable bool) []byte {
	page := make([]byte, p.length)
	p.putHeader(page)
	write := p.fill
	if changeable {
		write = p.mask
	}
	if write != nil {
		write(m, page)
	}
	return append(b, page...)
}

// isAsked reports whether MODE SENSE for code and subpage returns p (SPC-5 table 180).
func (p *modePage) isAsked(code, subpage byte) bool {
	return (code == allPages || code == p.code) && (subpage == allSubpages || subpage == p.subpage)
}

const (
	allPages    = 0x3f
	allSubpages = 0xff
)

// Page control of MODE SENSE.
const (
	controlCurrent    = 0
	controlChangeable = 1
	controlDefault    = 2
	controlSaved      = 3
)

func decodeModeSense(t *Task) bool {
	if t.CDB[2]>>6 == controlSaved {
		return t.refuse(senseSavingNotSupported)
	}
	code, subpage := t.CDB[2]&0x3f, t.CDB[3]
	for i := range modePages {
		if modePages[i].isAsked(code, subpage) {
			return true
		}
	}
	if code == allPages || subpage != 0 && subpage != allSubpages {
		return t.refuseField(senseInvalidFieldInCDB, 3, 7)
	}
	return t.refuseField(senseInvalidFieldInCDB, 2, 5)
}

// runModeSense returns header, block descriptor and pages.
func runModeSense(t *Task) {
	m := t.view.mode
	if t.CDB[2]>>6 == controlDefault {
		m = defaultModes(t.unit.lun.spec())
	}
	b := t.appendModeHeader(t.nexus.scratch[:0])
	for i := range modePages {
		if p := &modePages[i]; p.isAsked(t.CDB[2]&0x3f, t.CDB[3]) {
			b = p.append(b, &m, t.CDB[2]>>6 == controlChangeable)
		}
	}
	if t.isSixBytes() {
		b[0] = byte(len(b) - 1)
	} else {
		binary.BigEndian.PutUint16(b, uint16(len(b)-2))
	}
	t.nexus.scratch = b
	t.reply(b)
}

func (t *Task) isSixBytes() bool { return t.CDB[0]>>5 == 0 }

// appendModeHeader writes the mode parameter header and the block descriptor; the length is filled in at the end.
func (t *Task) appendModeHeader(b []byte) []byte {
	const dpofua, wp = 0x10, 0x80
	device := byte(dpofua)
	if t.view.readOnly || t.view.mode.writeProtect {
		device |= wp
	}
	descriptor := t.blockDescriptor()
	if t.isSixBytes() {
		b = append(b, 0, 0, device, byte(len(descriptor)))
	} else {
		var long byte
		if len(descriptor) == longDescriptorLen {
			long = 1
		}
		b = append(b, 0, 0, 0, device, long, 0, 0, byte(len(descriptor)))
	}
	return append(b, descriptor...)
}

const (
	shortDescriptorLen = 8
	longDescriptorLen  = 16
)

// blockDescriptor is the mode parameter block descriptor (SBC-4 6.5.2), unless DBD says none.
func (t *Task) blockDescriptor() []byte {
	const dbd, llbaa = 0x08, 0x10
	size := t.unit.lun.blockSize()
	if t.CDB[1]&dbd != 0 {
		return nil
	}
	if !t.isSixBytes() && t.CDB[1]&llbaa != 0 {
		d := make([]byte, longDescriptorLen)
		binary.BigEndian.PutUint64(d, t.view.blocks)
		binary.BigEndian.PutUint32(d[12:], size)
		return d
	}
	d := make([]byte, shortDescriptorLen)
	binary.BigEndian.PutUint32(d[4:], size) // Byte 4 is reserved, and block sizes fit in the other three.
	binary.BigEndian.PutUint32(d, uint32(min(t.view.blocks, 0xffffffff)))
	return d
}

// runModeSelect checks the whole list and then has the home reactor take it over.
func runModeSelect(t *Task) {
	if t.DataOutLen == 0 {
		t.good()
		return
	}
	list := append([]byte(nil), t.parameterList()...) // It outlives this call.
	t.forward(func(old *state) effect { return old.modeSelect(t.unit.lun, list, t.nexus, t.isSixBytes()) })
}

func checkEffect(s Sense, field int) effect {
	return effect{status: StatusCheckCondition, sense: s, field: field}
}

// modeSelect works out what a mode parameter list changes (on home).
func (s *state) modeSelect(l *LUN, list []byte, by *Nexus, six bool) effect {
	at, e, ok := s.checkModeHeader(l, list, six)
	if !ok {
		return e
	}
	next := *s
	for at < len(list) {
		n, e, ok := next.mode.takePage(list[at:], at)
		if !ok {
			return e
		}
		at += n
	}
	if next.mode == s.mode {
		return effect{}
	}
	return effect{next: &next, attend: everybody(attentionModeChanged, by)}
}

// checkModeHeader checks the header and the block descriptor, which can only repeat what is so, and says where the pages begin.
func (s *state) checkModeHeader(l *LUN, list []byte, six bool) (at int, e effect, ok bool) {
	header, descriptor := 8, 0
	if six {
		header = 4
	}
	if len(list) < header {
		return 0, checkEffect(senseParameterListLength, -1), false
	}
	if six {
		descriptor = int(list[3])
	} else {
		descriptor = int(binary.BigEndian.Uint16(list[6:]))
	}
	at = header + descriptor
	switch {
	case at > len(list):
		return 0, checkEffect(senseParameterListLength, -1), false
	case descriptor == 0:
		return at, effect{}, true
	}
	var size uint32
	switch descriptor {
	case shortDescriptorLen:
		size = binary.BigEndian.Uint32(list[header+4:]) & 0xffffff
	case longDescriptorLen:
		size = binary.BigEndian.Uint32(list[header+12:])
	}
	if size != l.blockSize() {
		return 0, checkEffect(senseInvalidFieldInParameter, header), false
	}
	return at, effect{}, true
}

// takePage applies the page at the beginning of b, which is at field of the list, and returns its length.
func (m *modes) takePage(b []byte, field int) (int, effect, bool) {
	p := findPage(b)
	if p == nil {
		return 0, checkEffect(senseInvalidFieldInParameter, field), false
	}
	if len(b) < p.length {
		return 0, checkEffect(senseParameterListLength, -1), false
	}
	current := p.append(nil, m, false)
	mask := p.append(nil, m, true)
	for i := 1; i < p.length; i++ {
		changeable := mask[i]
		if i < p.headerLen() {
			changeable = 0
		}
		if (b[i]^current[i])&^changeable != 0 {
			return 0, checkEffect(senseInvalidFieldInParameter, field+i), false
		}
	}
	if p.apply != nil {
		p.apply(m, b)
	}
	return p.length, effect{}, true
}

// findPage is the page whose header b begins with; PS is ignored.
func findPage(b []byte) *modePage {
	code, subpage := b[0]&0x3f, byte(0)
	if b[0]&0x40 != 0 && len(b) > 1 {
		subpage = b[1]
	}
	for i := range modePages {
		if p := &modePages[i]; p.code == code && p.subpage == subpage {
			return p
		}
	}
	return nil
}

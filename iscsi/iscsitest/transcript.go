package iscsitest

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"pollux/iscsi"
)

// field is one named field of a PDU's text form.
type field struct {
	name string
	get  func(*iscsi.BHS) uint64
	set  func(*iscsi.BHS, uint64)
	hex  bool
}

type number interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64
}

func num[T number](name string, get func(*iscsi.BHS) T, set func(*iscsi.BHS, T)) field {
	return field{name, func(h *iscsi.BHS) uint64 { return uint64(get(h)) }, func(h *iscsi.BHS, v uint64) { set(h, T(v)) }, false}
}

func hexNum[T number](name string, get func(*iscsi.BHS) T, set func(*iscsi.BHS, T)) field {
	f := num(name, get, set)
	f.hex = true
	return f
}

func bit(name string, get func(*iscsi.BHS) bool, set func(*iscsi.BHS, bool)) field {
	return field{name, func(h *iscsi.BHS) uint64 {
		if get(h) {
			return 1
		}
		return 0
	}, func(h *iscsi.BHS, v uint64) { set(h, v != 0) }, false}
}

// counted is a number that begins at iscsi.FirstSN; its text is how far it has come since.
func counted(name string, get func(*iscsi.BHS) uint32, set func(*iscsi.BHS, uint32)) field {
	return num(name,
		func(h *iscsi.BHS) uint32 { return get(h) - iscsi.FirstSN() },
		func(h *iscsi.BHS, v uint32) { set(h, v+iscsi.FirstSN()) })
}

type bhs = iscsi.BHS

// An ISID is printed as one number of six bytes.
func getISID(h *iscsi.BHS) (v uint64) {
	for _, b := range h.ISID() {
		v = v<<8 | uint64(b)
	}
	return v
}

func setISID(h *iscsi.BHS, v uint64) {
	var id iscsi.ISID
	for i := range id {
		id[i] = byte(v >> (40 - 8*i))
	}
	h.SetISID(id)
}

// The fields that several PDUs share.
var (
	immediate = bit("I", (*bhs).Immediate, (*bhs).SetImmediate)
	final     = bit("F", (*bhs).Final, (*bhs).SetFinal)
	more      = bit("C", (*bhs).Continue, (*bhs).SetContinue)
	transit   = bit("T", (*bhs).Transit, (*bhs).SetTransit)
	csg       = num("CSG", (*bhs).CSG, (*bhs).SetCSG)
	nsg       = num("NSG", (*bhs).NSG, (*bhs).SetNSG)
	lun       = hexNum("LUN", (*bhs).LUN, (*bhs).SetLUN)
	isid      = field{"ISID", getISID, setISID, true}
	tsih      = num("TSIH", (*bhs).TSIH, (*bhs).SetTSIH)
	itt       = hexNum("ITT", (*bhs).InitiatorTaskTag, (*bhs).SetInitiatorTaskTag)
	ttt       = hexNum("TTT", (*bhs).TargetTransferTag, (*bhs).SetTargetTransferTag)
	cid       = num("CID", (*bhs).CID, (*bhs).SetCID)
	cmdSN     = hexNum("CmdSN", (*bhs).CmdSN, (*bhs).SetCmdSN)
	statSN    = hexNum("StatSN", (*bhs).StatSN, (*bhs).SetStatSN)
	expStatSN = hexNum("ExpStatSN", (*bhs).ExpStatSN, (*bhs).SetExpStatSN)
	expCmdSN  = hexNum("ExpCmdSN", (*bhs).ExpCmdSN, (*bhs).SetExpCmdSN)
	maxCmdSN  = hexNum("MaxCmdSN", (*bhs).MaxCmdSN, (*bhs).SetMaxCmdSN)
	response  = num("Response", (*bhs).Response, (*bhs).SetResponse)
	status    = hexNum("Status", (*bhs).Status, (*bhs).SetStatus)
	dataSN    = counted("DataSN", (*bhs).DataSN, (*bhs).SetDataSN)
	offset    = num("BufferOffset", (*bhs).BufferOffset, (*bhs).SetBufferOffset)
	overflow  = bit("O", (*bhs).Overflow, (*bhs).SetOverflow)
	underflow = bit("U", (*bhs).Underflow, (*bhs).SetUnderflow)
	residual  = num("ResidualCount", (*bhs).ResidualCount, (*bhs).SetResidualCount)
	function  = num("Function", (*bhs).Function, (*bhs).SetFunction)
)

// shape is how a PDU's text form looks: its opcode and the fields in wire order.
type shape struct {
	word   string
	op     iscsi.Opcode
	isText bool // the data segment is key=value text
	fields []field
}

// shapes is the table of all PDUs. What a shape does not name is printed as @byte=value.
var shapes = []shape{
	{"NOP-Out", iscsi.OpNOPOut, false, []field{immediate, final, lun, itt, ttt, cmdSN, expStatSN}},
	{"Command", iscsi.OpSCSICommand, false, []field{
		immediate, final,
		bit("R", (*bhs).Read, (*bhs).SetRead), bit("W", (*bhs).Write, (*bhs).SetWrite), num("ATTR", (*bhs).Attr, (*bhs).SetAttr), lun, itt,
		num("EDTL", (*bhs).ExpectedDataTransferLength, (*bhs).SetExpectedDataTransferLength), cmdSN, expStatSN,
	}},
	{"TaskManagement", iscsi.OpTaskManagement, false, []field{
		immediate, final, function, lun, itt,
		hexNum("RTT", (*bhs).ReferencedTaskTag, (*bhs).SetReferencedTaskTag), cmdSN, expStatSN, hexNum("RefCmdSN", (*bhs).RefCmdSN, (*bhs).SetRefCmdSN),
	}},
	{"Login", iscsi.OpLogin, true, []field{
		immediate, transit, more, csg, nsg, num("VersionMax", (*bhs).VersionMax, (*bhs).SetVersionMax),
		num("VersionMin", (*bhs).VersionMin, (*bhs).SetVersionMin), isid, tsih, itt, cid, cmdSN, expStatSN,
	}},
	{"Text", iscsi.OpText, true, []field{immediate, final, more, lun, itt, ttt, cmdSN, expStatSN}},
	{"Data-Out", iscsi.OpDataOut, false, []field{final, lun, itt, ttt, expStatSN, dataSN, offset}},
	{"Logout", iscsi.OpLogout, false, []field{immediate, final, num("Reason", (*bhs).ReasonCode, (*bhs).SetReasonCode), itt, cid, cmdSN, expStatSN}},
	{"SNACK", iscsi.OpSNACK, false, []field{
		immediate, final, num("Type", (*bhs).SNACKType, (*bhs).SetSNACKType), lun, itt, ttt, expStatSN,
		num("BegRun", (*bhs).BegRun, (*bhs).SetBegRun), num("RunLength", (*bhs).RunLength, (*bhs).SetRunLength),
	}},

	{"NOP-In", iscsi.OpNOPIn, false, []field{final, lun, itt, ttt, statSN, expCmdSN, maxCmdSN}},
	{"Response", iscsi.OpSCSIResponse, false, []field{
		final, overflow, underflow, response, status, itt, statSN, expCmdSN, maxCmdSN,
		num("ExpDataSN", (*bhs).ExpDataSN, (*bhs).SetExpDataSN), residual,
	}},
	{"TaskManagementResponse", iscsi.OpTaskManagementResponse, false, []field{final, response, itt, statSN, expCmdSN, maxCmdSN}},
	{"LoginResponse", iscsi.OpLoginResponse, true, []field{
		transit, more, csg, nsg, num("VersionMax", (*bhs).VersionMax, (*bhs).SetVersionMax),
		num("VersionActive", (*bhs).VersionActive, (*bhs).SetVersionActive), isid, tsih, itt, statSN, expCmdSN, maxCmdSN, hexNum("Status", (*bhs).LoginStatus, (*bhs).SetLoginStatus),
	}},
	{"TextResponse", iscsi.OpTextResponse, true, []field{final, more, lun, itt, ttt, statSN, expCmdSN, maxCmdSN}},
	{"Data-In", iscsi.OpDataIn, false, []field{
		final, bit("A", (*bhs).Acknowledge, (*bhs).SetAcknowledge), overflow, underflow,
		bit("S", (*bhs).StatusBit, (*bhs).SetStatusBit), status, lun, itt, ttt, statSN, expCmdSN, maxCmdSN, dataSN, offset, residual,
	}},
	{"LogoutResponse", iscsi.OpLogoutResponse, false, []field{
		final, response, itt, statSN, expCmdSN, maxCmdSN,
		num("Time2Wait", (*bhs).Time2Wait, (*bhs).SetTime2Wait), num("Time2Retain", (*bhs).Time2Retain, (*bhs).SetTime2Retain),
	}},
	{"R2T", iscsi.OpR2T, false, []field{
		final, lun, itt, ttt, statSN, expCmdSN, maxCmdSN, counted("R2TSN", (*bhs).R2TSN, (*bhs).SetR2TSN), offset,
		num("Desired", (*bhs).DesiredDataTransferLength, (*bhs).SetDesiredDataTransferLength),
	}},
	{"Async", iscsi.OpAsync, false, []field{
		final, lun, itt, statSN, expCmdSN, maxCmdSN, num("Event", (*bhs).AsyncEvent, (*bhs).SetAsyncEvent),
		num("Parameter1", (*bhs).Parameter1, (*bhs).SetParameter1), num("Parameter2", (*bhs).Parameter2, (*bhs).SetParameter2), num("Parameter3", (*bhs).Parameter3, (*bhs).SetParameter3),
	}},
	{"Reject", iscsi.OpReject, false, []field{final, hexNum("Reason", (*bhs).Reason, (*bhs).SetReason), itt, statSN, expCmdSN, maxCmdSN, num("DataSN", (*bhs).DataSN, (*bhs).SetDataSN)}},
}

// Print is the PDU as text: a line of fields that are not zero, then a line per CDB, additional header, key or piece of data.
// Parse reads it back to the same bytes.
func Print(p *iscsi.PDU) string {
	var b strings.Builder
	s := shapeOf(p.Opcode())
	var seen iscsi.BHS
	seen.Clear(p.Opcode())
	if s == nil {
		fmt.Fprintf(&b, "%#02x", uint8(p.Opcode()))
		s = &shape{}
	}
	b.WriteString(s.word)
	for _, f := range s.fields {
		printField(&b, f, &p.BHS, &seen)
	}
	cdb := p.Opcode() == iscsi.OpSCSICommand
	if cdb {
		seen.SetCDB(p.CDB())
	}
	for i := range seen {
		if seen[i] != p.BHS[i] && (i < 4 || i > 7) {
			fmt.Fprintf(&b, " @%d=%02x", i, p.BHS[i])
		}
	}
	b.WriteByte('\n')
	if cdb {
		fmt.Fprintf(&b, "  cdb %x\n", p.CDB())
	}
	printLines(&b, "ahs", p.AHS)
	if pairs, ok := iscsi.ParseText(p.Data); s.isText && ok && isCanonical(pairs, p.Data) {
		for _, pair := range pairs {
			fmt.Fprintf(&b, "  %s=%s\n", pair.Key, pair.Value)
		}
		return b.String()
	}
	printLines(&b, "data", p.Data)
	return b.String()
}

func printField(b *strings.Builder, f field, h, seen *iscsi.BHS) {
	v := f.get(h)
	f.set(seen, v)
	switch {
	case v == 0:
	case len(f.name) == 1:
		fmt.Fprintf(b, " %s", f.name)
	case f.hex:
		fmt.Fprintf(b, " %s=%#x", f.name, v)
	default:
		fmt.Fprintf(b, " %s=%d", f.name, v)
	}
}

// printLines prints binary data, 32 bytes a line; a run of one byte is one line.
func printLines(b *strings.Builder, word string, data []byte) {
	for len(data) > 0 {
		run := 1
		for run < len(data) && data[run] == data[0] {
			run++
		}
		if run >= 32 {
			fmt.Fprintf(b, "  %s %02x*%d\n", word, data[0], run)
			data = data[run:]
			continue
		}
		n := min(32, len(data))
		fmt.Fprintf(b, "  %s %x\n", word, data[:n])
		data = data[n:]
	}
}

// isCanonical reports whether printing the pairs loses nothing of text.
func isCanonical(pairs []iscsi.Pair, text []byte) bool {
	var again []byte
	for _, p := range pairs {
		again = iscsi.AppendPair(again, p.Key, p.Value)
	}
	return string(again) == string(text) && !strings.ContainsAny(string(text), "\n\r")
}

func shapeOf(op iscsi.Opcode) *shape {
	for i := range shapes {
		if shapes[i].op == op {
			return &shapes[i]
		}
	}
	return nil
}

// Parse reads one PDU in the form of Print. Lengths in the header are set when it is sent.
func Parse(text string) (*iscsi.PDU, error) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	p := new(iscsi.PDU)
	words := strings.Fields(lines[0])
	if len(words) == 0 {
		return nil, fmt.Errorf("no PDU in %q", text)
	}
	s, err := parseWord(p, words[0])
	if err != nil {
		return nil, err
	}
	for _, w := range words[1:] {
		if err := parseField(p, s, w); err != nil {
			return nil, fmt.Errorf("%s: %w", words[0], err)
		}
	}
	for _, line := range lines[1:] {
		if err := parseLine(p, strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("%s: %w", words[0], err)
		}
	}
	p.SetTotalAHSLength(len(p.AHS))
	p.SetDataSegmentLength(len(p.Data))
	return p, nil
}

func parseWord(p *iscsi.PDU, word string) (*shape, error) {
	for i := range shapes {
		if shapes[i].word == word {
			p.Clear(shapes[i].op)
			for _, f := range shapes[i].fields {
				f.set(&p.BHS, 0)
			}
			return &shapes[i], nil
		}
	}
	op, err := strconv.ParseUint(word, 0, 6)
	if err != nil {
		return nil, fmt.Errorf("no PDU is called %q", word)
	}
	p.Clear(iscsi.Opcode(op))
	return &shape{}, nil
}

func parseField(p *iscsi.PDU, s *shape, word string) error {
	name, value, _ := strings.Cut(word, "=")
	if at, found := strings.CutPrefix(name, "@"); found {
		i, err := strconv.ParseUint(at, 10, 8)
		v, err2 := strconv.ParseUint(value, 16, 8)
		if err != nil || err2 != nil || i >= iscsi.BHSLength {
			return fmt.Errorf("bad byte %q", word)
		}
		p.BHS[i] = byte(v)
		return nil
	}
	for _, f := range s.fields {
		if f.name != name {
			continue
		}
		if len(name) == 1 {
			value = "1"
		}
		v, err := strconv.ParseUint(value, 0, 64)
		f.set(&p.BHS, v)
		return err
	}
	return fmt.Errorf("no field %q", word)
}

func parseLine(p *iscsi.PDU, line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "cdb":
		b, err := hex.DecodeString(rest)
		p.SetCDB(b)
		return err
	case "ahs":
		b, err := parseBytes(rest)
		p.AHS = append(p.AHS, b...)
		return err
	case "data":
		b, err := parseBytes(rest)
		p.Data = append(p.Data, b...)
		return err
	}
	key, value, found := strings.Cut(line, "=")
	if !found {
		return fmt.Errorf("what is %q?", line)
	}
	p.Data = iscsi.AppendPair(p.Data, key, value)
	return nil
}

// parseBytes reads hexadecimal bytes or "xx*count".
func parseBytes(s string) ([]byte, error) {
	digits, count, repeated := strings.Cut(s, "*")
	b, err := hex.DecodeString(digits)
	if err != nil || !repeated {
		return b, err
	}
	n, err := strconv.ParseUint(count, 10, 24)
	return []byte(strings.Repeat(string(b), int(n))), err
}

package iscsi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pollux/iscsi"
	"pollux/iscsi/iscsitest"
	"pollux/scsi"
)

// TestTranscripts plays testdata/target: what the initiator says ("->"), in order, and what the target answers to each ("<-").
// Lines that begin with # are comments; "* 30s" lets time go by; "* closed" is where the target closes. The peer has logged in, unless
// the transcript begins with a login, and has taken the unit attention. -update rewrites the answers.
func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/target/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s differs:\n%s", path, got)
			}
		})
	}
}

// play plays the initiator's side of a transcript and returns all of it with the answers as they are.
func play(t *testing.T, transcript string) string {
	g := newRig(t, 2, nil)
	p := g.connect(0)
	if !strings.Contains(transcript, "-> Login ") {
		enter(p, nil)
		settleAttentions(p)
	}
	var out, block strings.Builder
	closed := false
	flush := func() {
		if block.Len() > 0 {
			pdu, err := iscsitest.Parse(strings.TrimPrefix(block.String(), "-> "))
			g.must(err)
			p.send(pdu)
			block.Reset()
		}
		g.Run()
		for _, pdu := range p.receive() {
			out.WriteString("<- " + iscsitest.Print(pdu))
		}
		if p.far.Ended() && !closed {
			closed = true
			out.WriteString("* closed\n")
			p.far.Close()
		}
	}
	inAnswer := false
	for line := range strings.Lines(transcript) {
		switch {
		case strings.HasPrefix(line, "  "):
			if !inAnswer {
				block.WriteString(line)
				out.WriteString(line)
			}
			continue
		case strings.HasPrefix(line, "<- "), line == "* closed\n":
			inAnswer = true
			continue
		}
		flush()
		inAnswer = false
		out.WriteString(line)
		if strings.HasPrefix(line, "-> ") {
			block.WriteString(line)
		}
		if after, ok := strings.CutPrefix(line, "* "); ok {
			d, err := time.ParseDuration(strings.TrimSpace(after))
			g.must(err)
			g.Advance(d)
		}
	}
	flush()
	p.far.Close()
	g.close()
	return out.String()
}

// settleAttentions takes what a new nexus is told: commands 0 to 3 of the session.
func settleAttentions(p *peer) {
	for i := range uint32(4) {
		var c iscsi.PDU
		c.Clear(iscsi.OpSCSICommand)
		c.SetFinal(true)
		c.SetInitiatorTaskTag(0x10 + i)
		c.SetCmdSN(nearWrap + i)
		p.send(&c)
		p.g.Run()
		if all := p.receive(); len(all) != 1 || i == 3 && all[0].Status() != scsi.StatusGood {
			p.g.t.Fatalf("the LUN does not get ready: %v", all)
		}
	}
}

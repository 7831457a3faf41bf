package iscsi_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pollux/bdev/malloc"
	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/iscsi/iscsitest"
)

// FuzzStream feeds a connection in full feature phase with any bytes, in pieces of a size that the input chooses. The target may
// answer or close, but it must not panic, and nothing may be left in the end. A session on another target goes on.
func FuzzStream(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(script(rand.New(rand.NewPCG(seed, 4))), uint16(100*seed+1))
	}
	for _, b := range transcriptBytes(f) {
		f.Add(b, uint16(977))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		g := newRig(t, 2, nil)
		h := g.neighbour()
		p := g.connect(0)
		enter(p, nil)
		settleAttentions(p)
		for len(stream) > 0 {
			n := min(len(stream), int(piece)+1)
			p.far.Write(stream[:n])
			stream = stream[n:]
			g.Run()
			p.far.Read()
		}
		h.good(readOf(0, 1))
		p.far.CloseWrite()
		g.Advance(time.Minute)
		g.close()
		g.Close()
	})
}

// neighbour is a session on a target of its own.
func (g *rig) neighbour() *host {
	_, err := g.modules.Create(malloc.Options{Name: "Malloc1", BlockSize: rigBlockSize, Blocks: 64})
	g.must(err)
	g.must(g.server.AddTarget(&iscsi.TargetSpec{
		Name: "disk2", Maps: []iscsi.Map{{PortalGroup: 1, InitiatorGroup: 1}}, LUNs: []iscsi.LUNSpec{{BdevName: "Malloc1"}},
	}))
	return g.newHost(1, func(c *initiator.Config) { c.Offers.TargetName = "iqn.2016-06.io.spdk:disk2" }).open(1).ready()
}

// FuzzConnect feeds a new connection with any bytes.
func FuzzConnect(f *testing.F) {
	paths, _ := filepath.Glob("testdata/login/*.txt") // no seeds without them
	for _, path := range paths {
		f.Add(initiatorBytes(f, path), uint16(333))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		g := newRig(t, 2, nil)
		p := g.connect(1)
		for len(stream) > 0 {
			n := min(len(stream), int(piece)+1)
			p.far.Write(stream[:n])
			stream = stream[n:]
			g.Run()
			p.far.Read()
		}
		g.Advance(time.Minute)
		p.far.Close()
		g.close()
		g.Close()
	})
}

// transcriptBytes are the initiator's sides of the transcripts, one stream each.
func transcriptBytes(f *testing.F) (all [][]byte) {
	paths, _ := filepath.Glob("testdata/target/*.txt") // no seeds without them
	for _, path := range paths {
		if b := initiatorBytes(f, path); len(b) > 0 {
			all = append(all, b)
		}
	}
	return all
}

// initiatorBytes is what the initiator sends in a transcript.
func initiatorBytes(f *testing.F, path string) (stream []byte) {
	text, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	var block string
	add := func() {
		if block == "" {
			return
		}
		if pdu, err := iscsitest.Parse(block); err == nil { // what was random in a login is not printed
			stream = pdu.Append(stream, false, false)
		}
		block = ""
	}
	mine := false
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "-> "); ok {
			add()
			block, mine = rest, true
			continue
		}
		if !strings.HasPrefix(line, "  ") {
			mine = false
		} else if mine {
			block += line
		}
	}
	add()
	return stream
}

// TestAnyByteMayBeTheLast cuts the initiator's side of each transcript after every few bytes.
func TestAnyByteMayBeTheLast(t *testing.T) {
	for _, path := range []string{"testdata/target/write.txt", "testdata/target/management.txt", "testdata/target/session.txt"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for cut := 1; cut < len(text); cut += max(1, len(text)/40) {
			g := newRig(t, 1, nil)
			p := g.connect(0)
			enter(p, nil)
			settleAttentions(p)
			stream := streamOf(t, string(text))
			p.far.Write(stream[:min(len(stream), cut*len(stream)/len(text))])
			g.Run()
			p.far.Reset()
			g.Run()
			g.close()
		}
	}
}

func streamOf(t *testing.T, text string) (stream []byte) {
	for _, block := range strings.Split(text, "-> ")[1:] {
		block, _, _ = strings.Cut(block, "\n<- ")
		var own []string
		for i, line := range strings.Split(block, "\n") {
			if i == 0 || strings.HasPrefix(line, "  ") {
				own = append(own, line)
			} else {
				break
			}
		}
		pdu, err := iscsitest.Parse(strings.Join(own, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		stream = pdu.Append(stream, false, false)
	}
	return stream
}

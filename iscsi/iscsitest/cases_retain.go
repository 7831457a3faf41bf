package iscsitest

import (
	"errors"
	"fmt"
	"time"

	"pollux/iscsi"
)

// join logs in to p's session over a connection of its own.
func (p *Peer) join(s *Stage, cid uint16) (*Peer, error) {
	o := s.Options
	o.TSIH, o.CID, o.CmdSN = p.TSIH, cid, p.CmdSN
	return LogIn(o)
}

// moveTo lets p go on over the connection of another peer.
func (p *Peer) moveTo(other *Peer) {
	p.Close()
	*p = *other
}

// secondConnection asks for a connection beside the one that there is: MaxConnections is 1.
func secondConnection(p *Peer, s *Stage) error {
	other, err := p.join(s, 1)
	if err == nil {
		other.Close()
	}
	if !errors.Is(err, iscsi.LoginTooManyConnections) {
		return fmt.Errorf("want %w, got %v", iscsi.LoginTooManyConnections, err)
	}
	return nil
}

// replaced brings another connection with the CID of the one that there is (RFC 7143 6.3.4); the session goes on over that, and the
// first one ends.
func replaced(p *Peer, s *Stage) error {
	other, err := p.join(s, 0)
	if err != nil {
		return err
	}
	if err := p.Gone(); err != nil {
		other.Close()
		return fmt.Errorf("the connection that was replaced: %w", err)
	}
	p.moveTo(other)
	return p.sameNexus(s.LUN)
}

// continued resets the connection and comes back within DefaultTime2Retain, as soon as the target has seen the reset.
func continued(p *Peer, s *Stage) error {
	p.Reset()
	for deadline := time.Now().Add(p.Timeout); ; {
		other, err := p.join(s, 1)
		switch {
		case err == nil:
			p.moveTo(other)
			return p.sameNexus(s.LUN)
		case !errors.Is(err, iscsi.LoginTooManyConnections) || time.Now().After(deadline):
			return err
		}
	}
}

// sameNexus requires that a LUN has no unit attention to tell, as it would to a new nexus.
func (p *Peer) sameNexus(lun uint64) error {
	if err := p.Send(p.Command(lun, make([]byte, 6), 0, false)); err != nil {
		return err
	}
	rsp, err := p.Receive()
	if err == nil && (rsp.Opcode() != iscsi.OpSCSIResponse || rsp.Status() != 0) {
		err = fmt.Errorf("the nexus is not the same:\n%s", Print(rsp))
	}
	return err
}

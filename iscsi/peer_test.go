package iscsi_test

import (
	"pollux/iscsi"
)

// enter logs a raw peer in and returns the last response.
func enter(p *peer, edit func(*iscsi.PDU)) *iscsi.PDU {
	p.g.t.Helper()
	var q iscsi.PDU
	q.Clear(iscsi.OpLogin)
	q.SetImmediate(true)
	q.SetTransit(true)
	q.SetCSG(iscsi.StageOperational)
	q.SetNSG(iscsi.StageFullFeature)
	q.SetISID(iscsi.ISID{0x80, 0, 0, 0, 0, 9})
	q.SetInitiatorTaskTag(1)
	q.SetCmdSN(nearWrap)
	for _, pair := range [][2]string{
		{"InitiatorName", rigInitiator}, {"TargetName", rigTarget}, {"SessionType", "Normal"},
		{"InitialR2T", "No"}, {"ImmediateData", "Yes"}, {"MaxBurstLength", "16384"}, {"FirstBurstLength", "8192"}, {"MaxOutstandingR2T", "2"},
	} {
		q.Data = iscsi.AppendPair(q.Data, pair[0], pair[1])
	}
	if edit != nil {
		edit(&q)
	}
	p.send(&q)
	p.g.Run()
	all := p.receive()
	if len(all) != 1 || all[0].LoginStatus() != iscsi.LoginSuccess || !all[0].Transit() {
		p.g.t.Fatalf("login was not answered as it should be: %v", all)
	}
	return all[0]
}

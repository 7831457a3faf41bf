package gate

import (
	"testing"

	"pollux/iscsi"
	"pollux/iscsi/initiator"
	"pollux/test/target"
)

// prThroughPower is APTPL, in byte 20 of the parameter list.
const prThroughPower = 0x01

// TestFencesSurviveAKill: who was fenced off by a reservation with APTPL stays so when the target has been killed and started again, from
// the first command on.
func TestFencesSurviveAKill(t *testing.T) {
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			cfg.Nodes = []target.Node{{Name: "disk", LUNs: []target.LUN{{Backing: target.AIO, Size: 1 << 20, PTPL: true}}}}
			b := newBed(t, cfg)
			const rounds = 5
			holder := b.dial("disk", port("holder"))
			keys := prOutKeys(0, 1)
			keys[20] = prThroughPower
			b.must(holder, b.lun(0), prOut(prIgnoreRegister, 0), keys, 0)
			b.must(holder, b.lun(0), prOut(prReserve, prWriteExclusiveRegistrants), prOutKeys(1, 0), 0)
			for range rounds {
				if err := b.srv.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := b.srv.Start(); err != nil {
					t.Fatal(err)
				}
				holder, other := b.dial("disk", port("holder")), b.dial("disk", port("other"))
				data := make([]byte, blockSize)
				b.ready(other, b.lun(0))
				if a, err := other.Do(b.ctx, b.lun(0), write16(0, 1), data, 0); err != nil || a.Status != statusConflict {
					t.Fatalf("the fenced one's write ends with %+v, %v", a, err)
				}
				b.must(holder, b.lun(0), write16(0, 1), data, 0)
			}
		})
	}
}

// port logs in as the same initiator port each time: a name and an ISID.
func port(name string) login {
	return func(c *initiator.Config) {
		named(name)(c)
		c.ISID = iscsi.ISID{0x80, 5, 0, 0, 0, 1}
	}
}

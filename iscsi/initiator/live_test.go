package initiator

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"pollux/reactor"
)

// TestLiveTarget runs against a target that somebody has started: POLLUX_TEST_PORTAL=host:port POLLUX_TEST_TARGET=iqn... with
// a disk of at least 16 MiB, which is overwritten, at LUN 1 (or POLLUX_TEST_LUN).
func TestLiveTarget(t *testing.T) {
	portal, target := os.Getenv("POLLUX_TEST_PORTAL"), os.Getenv("POLLUX_TEST_TARGET")
	if portal == "" || target == "" {
		t.Skip("POLLUX_TEST_PORTAL and POLLUX_TEST_TARGET do not name a target")
	}
	lun := uint64(1) << 48
	if os.Getenv("POLLUX_TEST_LUN") == "0" {
		lun = 0
	}
	g, err := reactor.Start(reactor.Config{Cores: []int{-1}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r := g.Reactors()[0]
	list, err := Discover(ctx, r, portal, Config{Offers: Offers("iqn.2024-01.com.example:test", "")})
	if err != nil || len(list) == 0 || len(list[0].Addresses) == 0 {
		t.Fatalf("discovery: %v, %v", list, err)
	}
	for name, edit := range map[string]func(*Config){
		"plain":   func(*Config) {},
		"digests": func(c *Config) { c.Offers.HeaderDigest, c.Offers.DataDigest = "CRC32C", "CRC32C" },
		"R2T": func(c *Config) {
			c.Offers.InitialR2T, c.Offers.ImmediateData, c.Offers.MaxBurstLength = true, false, 65536
		},
		"wrap": func(c *Config) { c.CmdSN = 0xffffffe0; c.Batch = true },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Offers: Offers("iqn.2024-01.com.example:test", target), Strict: os.Getenv("POLLUX_TEST_LENIENT") == ""}
			edit(&cfg)
			c, err := Dial(ctx, r, portal, cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("agreed on %+v", *c.Session.Params())
			exercise(ctx, t, c, lun)
			if err := c.Logout(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// exercise writes, reads and asks for things that fail.
func exercise(ctx context.Context, t *testing.T, c *Client, lun uint64) {
	t.Helper()
	if data, err := c.Ping(ctx, []byte("hello")); err != nil || string(data) != "hello" {
		t.Errorf("ping: %q, %v", data, err)
	}
	for range 40 { // the first commands may meet unit attentions
		if a, err := c.Do(ctx, lun, make([]byte, 6), nil, 0); err != nil {
			t.Fatal(err)
		} else if a.Status == 0 {
			break
		}
	}
	const blocks = 1024 // of 512 bytes
	out := bytes.Repeat([]byte("0123456789abcdef"), blocks*512/16)
	write := []byte{0x2a, 0, 0, 0, 0, 8, 0, blocks >> 8, blocks & 0xff, 0}
	if a, err := c.Do(ctx, lun, write, out, 0); err != nil || a.Status != 0 {
		t.Fatalf("write: %+v, %v", a, err)
	}
	read := bytes.Clone(write)
	read[0] = 0x28
	if a, err := c.Do(ctx, lun, read, nil, len(out)); err != nil || a.Status != 0 || !bytes.Equal(a.In, out) || a.Residual != 0 {
		t.Fatalf("read: status %d, %d bytes, %v", a.Status, len(a.In), err)
	}
	if a, err := c.Do(ctx, lun, []byte{0x12, 0, 0, 0, 255, 0}, nil, 255); err != nil || a.Status != 0 || len(a.In) < 36 || int(a.Residual) != 255-len(a.In) {
		t.Errorf("inquiry: %+v, %v", a, err)
	}
	if a, err := c.Do(ctx, lun, []byte{0xff, 0, 0, 0, 0, 0}, nil, 0); err != nil || a.Status != 2 || len(a.Sense) < 18 || a.Sense[2]&0xf != 5 {
		t.Errorf("unknown opcode: %+v, %v", a, err)
	}
	if response, err := c.Manage(ctx, 1, lun, 0x12345, 0); err != nil || response > 1 {
		t.Errorf("abort of no task: response %d, %v", response, err)
	}
	if os.Getenv("POLLUX_TEST_LENIENT") != "" { // tgt resets the connection here
		return
	}
	if list, err := c.SendTargets(ctx, ""); err != nil || len(list) != 1 {
		t.Errorf("the session's own target: %v, %v", list, err)
	}
}

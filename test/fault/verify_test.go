package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"pollux/test/target"
)

// Bounds of the runs here.
const (
	benchLimit      = 2 * time.Minute
	killRounds      = 3    // of each configuration
	killRoundsFull  = 1000 // of all of them
	killCommands    = 15000
	killReads       = 30 // percent
	killWritesFirst = 500
	killWritesLast  = 5000 // a round's server is killed after so many writes at the latest
	benchBetweenOps = 5000
)

// bench runs `pollux bench` and returns its report, what it said, and its exit status.
func bench(t *testing.T, args ...string) (report map[string]any, words string, status int) {
	t.Helper()
	binary, err := target.PolluxBinary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), benchLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"bench", "--json", "--wait", "block"}, args...)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			t.Fatalf("%v: %s", err, out.String())
		}
	}
	return report, said.String(), cmd.ProcessState.ExitCode()
}

// TestStampsAreFound writes and reads stamped blocks over every kind of session.
func TestStampsAreFound(t *testing.T) {
	mutual := &target.CHAP{User: "bob", Secret: "bobs-secret-12", MutualUser: "target", MutualSecret: "targets-secret"}
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			cfg.Nodes = []target.Node{
				{Name: "disk", LUNs: []target.LUN{{Backing: target.Malloc, BlockSize: 512, Size: lunSize}}},
				{Name: "large", LUNs: []target.LUN{{Backing: target.Malloc, BlockSize: 4096, Size: lunSize}}},
				{Name: "known", CHAP: &target.CHAP{User: "alice", Secret: "alices-secret-1"}, LUNs: []target.LUN{{Backing: target.Malloc, BlockSize: 512, Size: lunSize}}},
				{Name: "safe", CHAP: mutual, HeaderDigest: true, DataDigest: true, LUNs: []target.LUN{{Backing: target.AIO, BlockSize: 512, Size: lunSize}}},
			}
			server := target.Start(t, cfg)
			for name, args := range map[string][]string{
				"4K":        {server.URL("disk", 0)},
				"batch":     {"--batch", "--connections", "3", server.URL("disk", 0)},
				"64K":       {"--block-size", "64K", "--connections", "2", "--depth", "8", "--cmdsn", "4294967264", server.URL("disk", 0)},
				"1M":        {"--block-size", "1M", "--depth", "2", server.URL("large", 0)},
				"chap":      {server.URL("known", 0)},
				"mutual":    {"--header-digest", "--data-digest", "--target-secret", mutual.MutualSecret, server.URL("safe", 0)},
				"discovery": {"--portal", server.Portal(), "--lun", "0"},
			} {
				t.Run(name, func(t *testing.T) {
					report, words, status := bench(t, append([]string{"--verify", "--read-share", "40", "--count", "3000"}, args...)...)
					if status != 0 || report["mismatches"] != 0.0 || report["commands"] != 3000.0 || report["checked"].(float64) < 1200 {
						t.Errorf("status %d, %v\n%s", status, report, words)
					}
				})
			}
			for name, args := range map[string][]string{
				"secret":        {strings.Replace(server.URL("safe", 0), mutual.Secret, "not-the-secret", 1)},
				"target secret": {"--target-secret", "not-the-targets", server.URL("safe", 0)},
				"LUN":           {strings.TrimSuffix(server.URL("disk", 0), "0") + "9"},
			} {
				if _, words, status := bench(t, append([]string{"--count", "10"}, args...)...); status != 1 || words == "" {
					t.Errorf("wrong %s: status %d, %q", name, status, words)
				}
			}
		})
	}
}

// TestAcknowledgedWritesSurviveKill: what was acknowledged is in the file, whenever the server dies; the generator logs in again.
func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	configs := target.UnderTest(t)
	rounds := killRounds
	if target.Full() {
		rounds = killRoundsFull / len(configs)
	}
	for _, cfg := range configs {
		t.Run(cfg.String(), func(t *testing.T) {
			cfg.Nodes = []target.Node{{Name: "disk", LUNs: []target.LUN{{Backing: target.AIO, BlockSize: 512, Size: lunSize}}}}
			server := target.Start(t, cfg)
			var sum killed
			for round := range rounds {
				sum.add(killUnderLoad(t, server, round))
				if t.Failed() {
					t.Fatalf("in round %d", round)
				}
				if (round+1)%100 == 0 {
					t.Logf("after %d rounds: %+v", round+1, sum)
				}
			}
			t.Logf("%d rounds: %+v", rounds, sum)
		})
	}
}

// killed is what the generator reports of a round, or of many.
type killed struct {
	Writes     int `json:"writes"`
	Checked    int `json:"checked"` // reads whose blocks were compared with what had been acknowledged
	Mismatches int `json:"mismatches"`
	Reconnects int `json:"reconnects"`
}

func (k *killed) add(o killed) {
	k.Writes, k.Checked = k.Writes+o.Writes, k.Checked+o.Checked
	k.Mismatches, k.Reconnects = k.Mismatches+o.Mismatches, k.Reconnects+o.Reconnects
}

// killUnderLoad kills the server in the middle of the generator's writes, at a point that differs from round to round.
func killUnderLoad(t *testing.T, server *target.Server, round int) killed {
	t.Helper()
	const connections = 2
	type result struct {
		report map[string]any
		words  string
		status int
	}
	done := make(chan result, 1)
	after := writes(t, server) + killWritesFirst + rand.New(rand.NewPCG(1, uint64(round))).IntN(killWritesLast-killWritesFirst+1)
	go func() {
		report, words, status := bench(t, "--verify", "--read-share", strconv.Itoa(killReads), "--connections", strconv.Itoa(connections),
			"--depth", "16", "--count", strconv.Itoa(killCommands), "--seed", strconv.Itoa(round+1), server.URL("disk", 0))
		done <- result{report, words, status}
	}()
	for until := time.Now().Add(benchLimit); writes(t, server) < after; {
		if time.Now().After(until) {
			t.Fatal("the load does not write")
		}
	}
	if err := server.Kill(); err != nil {
		t.Error(err)
	}
	if err := server.Start(); err != nil {
		t.Error(err)
	}
	r := <-done
	var sum killed
	text, err := json.Marshal(r.report)
	if err == nil {
		err = json.Unmarshal(text, &sum)
	}
	if err != nil || r.status != 0 || sum.Mismatches != 0 || sum.Checked == 0 || sum.Reconnects != connections {
		t.Errorf("round %d: status %d, %v, %v\n%s", round, r.status, r.report, err, r.words)
	}
	return sum
}

// writes is how many the server's bdevs have done since it started.
func writes(t *testing.T, server *target.Server) (sum int) {
	t.Helper()
	var stat struct {
		Bdevs []struct {
			Writes int `json:"num_write_ops"`
		} `json:"bdevs"`
	}
	if err := server.RPC("bdev_get_iostat", nil, &stat); err != nil {
		t.Fatal(err)
	}
	for _, b := range stat.Bdevs {
		sum += b.Writes
	}
	return sum
}

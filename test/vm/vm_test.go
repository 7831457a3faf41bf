package vm

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pollux/test/target"
)

const lunSize = 512 << 20

// disk is a node of one LUN, and what the guest does with it.
type disk struct {
	name    string
	lun     target.LUN
	fs      string
	digests bool
}

var disks = []disk{
	{"file", target.LUN{Backing: target.AIO, BlockSize: 512, Size: lunSize}, "ext4", false},
	{"file4k", target.LUN{Backing: target.AIO, BlockSize: 4096, Size: lunSize}, "xfs", true},
	{"memory", target.LUN{Backing: target.Malloc, BlockSize: 512, Size: lunSize}, "xfs", false},
	{"memory4k", target.LUN{Backing: target.Malloc, BlockSize: 4096, Size: lunSize}, "ext4", true},
}

var secrets = &target.CHAP{User: "alice", Secret: "alices-secret-1", MutualUser: "target", MutualSecret: "targets-secret"}

func (d disk) node() target.Node {
	return target.Node{Name: d.name, LUNs: []target.LUN{d.lun}, HeaderDigest: d.digests, DataDigest: d.digests}
}

// String is the disk's line for guest/initiator.sh.
func (d disk) String() string {
	digests, kept := "none", "memory"
	if d.digests {
		digests = "digests"
	}
	if d.lun.Backing == target.AIO {
		kept = "file"
	}
	return strings.Join([]string{target.IQN(d.name), d.fs, digests, kept}, " ")
}

// TestInitiator runs guest/initiator.sh: file systems, digests, CHAP, verified I/O.
func TestInitiator(t *testing.T) {
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			t.Parallel()
			cfg.Nodes = []target.Node{{Name: "chap", LUNs: []target.LUN{disks[0].lun}, CHAP: secrets}}
			var lines []string
			for _, d := range disks {
				cfg.Nodes = append(cfg.Nodes, d.node())
				lines = append(lines, d.String())
			}
			srv := target.Start(t, cfg)
			guest{
				script: "initiator.sh",
				env: map[string]string{
					"PORT": strconv.Itoa(srv.Port()), "NODES": strings.Join(lines, "\n"),
					"CHAP_NODE": target.IQN("chap"), "CHAP_ALGORITHMS": chapAlgorithms(cfg.Kind),
					"USER": secrets.User, "SECRET": secrets.Secret,
					"MUTUAL_USER": secrets.MutualUser, "MUTUAL_SECRET": secrets.MutualSecret,
				},
				host: func(words []string) (string, error) { return hostCall(srv, words) },
			}.run(t)
		})
	}
}

// TestRecovery runs guest/recovery.sh: the target is stopped and killed under a mounted file system, and started again.
func TestRecovery(t *testing.T) {
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			t.Parallel()
			cfg.Nodes = []target.Node{disks[0].node()}
			srv := target.Start(t, cfg)
			guest{
				script: "recovery.sh",
				env:    map[string]string{"PORT": strconv.Itoa(srv.Port()), "FILE_NODE": target.IQN("file")},
				host:   func(words []string) (string, error) { return hostCall(srv, words) },
			}.run(t)
		})
	}
}

// chapAlgorithms are the hashes that the kernel's initiator is to log in with, one after the other.
func chapAlgorithms(kind target.Kind) string {
	if kind == target.Pollux {
		return "SHA256 SHA1 MD5"
	}
	return "MD5"
}

// hostCall is what a script in the guest can ask of the test.
func hostCall(srv *target.Server, words []string) (string, error) {
	call := strings.Join(words, " ")
	switch call {
	case "stop term":
		return "", srv.Stop()
	case "stop kill":
		return "", srv.Kill()
	case "start":
		return "", srv.Start()
	}
	if iqn, ok := strings.CutPrefix(call, "used "); ok {
		return used(srv.File(strings.TrimPrefix(iqn, target.IQN("")), 0))
	}
	return "", fmt.Errorf("no such call: %q", call)
}

// used is how many KiB a file takes on its disk.
func used(path string) (string, error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		return "", err
	}
	const statBlock = 512 // the unit of st_blocks
	return fmt.Sprintln(stat.Blocks * statBlock / 1024), nil
}

package vm

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pollux/test/target"
)

const lunSize = 512 << 20

var (
	fileLUN   = target.LUN{Backing: target.AIO, Size: lunSize}
	memoryLUN = target.LUN{Backing: target.Malloc, BlockSize: 4096, Size: lunSize}
	secrets   = &target.CHAP{User: "alice", Secret: "alices-secret-1", MutualUser: "target", MutualSecret: "targets-secret"}
)

// TestInitiator runs guest/initiator.sh: file systems, digests, CHAP, verified I/O.
func TestInitiator(t *testing.T) {
	for _, cfg := range target.UnderTest(t) {
		t.Run(cfg.String(), func(t *testing.T) {
			t.Parallel()
			cfg.Nodes = []target.Node{
				{Name: "file", LUNs: []target.LUN{fileLUN}},
				{Name: "memory", LUNs: []target.LUN{memoryLUN}, HeaderDigest: true, DataDigest: true},
				{Name: "chap", LUNs: []target.LUN{memoryLUN}, CHAP: secrets},
			}
			srv := target.Start(t, cfg)
			guest{
				script: "initiator.sh",
				env: map[string]string{
					"PORT": strconv.Itoa(srv.Port()), "CHAP_ALGORITHMS": chapAlgorithms(cfg.Kind),
					"FILE_NODE": target.IQN("file"), "MEMORY_NODE": target.IQN("memory"), "CHAP_NODE": target.IQN("chap"),
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
			cfg.Nodes = []target.Node{{Name: "file", LUNs: []target.LUN{fileLUN}}}
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
	switch strings.Join(words, " ") {
	case "stop term":
		return "", srv.Stop()
	case "stop kill":
		return "", srv.Kill()
	case "start":
		return "", srv.Start()
	case "used " + target.IQN("file"):
		return used(filepath.Join(srv.Dir(), "file-0.img"))
	default:
		return "", fmt.Errorf("no such call: %q", words)
	}
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

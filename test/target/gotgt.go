package target

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// gotgtDriver serves by gostor/gotgt, the Go peer, a tool of go.mod. It is configured by a file and knows no CHAP.
type gotgtDriver struct{}

// gotgtBinary has the go command build the tool into its cache, and returns the path: the program itself is started, not
// "go tool", so that its process can be pinned and its time read.
var gotgtBinary = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-n", "gotgt")
	cmd.Dir = Root()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool gotgt: %w: %w", err, ErrMissing)
	}
	return strings.TrimSpace(string(out)), nil
})

func (gotgtDriver) command(s *Server) (*exec.Cmd, error) {
	path, err := gotgtBinary()
	if err != nil {
		return nil, err
	}
	if err := gotgtConfig(s); err != nil {
		return nil, err
	}
	// Its own HTTP interface is not used; port 0 keeps servers from meeting there.
	cmd := exec.Command(path, "daemon", "--log", "error", "--port", strconv.Itoa(s.port), "--host", "tcp://127.0.0.1:0")
	cmd.Env = append(os.Environ(), "GOSTOR_CONFIG="+s.dir)
	return cmd, nil
}

func gotgtConfig(s *Server) error {
	const firstDevice = 1000
	storages, targets := []object{}, object{}
	for _, n := range s.cfg.Nodes {
		if n.CHAP != nil || n.HeaderDigest || n.DataDigest || n.Initiators != nil {
			return fmt.Errorf("gotgt: CHAP, digests, initiator names: %w", ErrMissing)
		}
		luns := object{}
		for i, l := range n.LUNs {
			path, err := s.backingFile(l, lunName(n.Name, i))
			if err != nil {
				return err
			}
			id := firstDevice + len(storages)
			storages = append(storages, object{
				"deviceID": id, "path": "file:" + path, "online": true,
				"thinProvisioning": true, "blockShift": bits.TrailingZeros64(uint64(l.blockSize())),
			})
			luns[strconv.Itoa(s.LUN(i))] = id
		}
		targets[IQN(n.Name)] = object{"tpgts": object{"1": []int{0}}, "luns": luns}
	}
	text, err := json.Marshal(object{
		"storages":     storages,
		"iscsiportals": []object{{"id": 0, "portal": s.Portal()}},
		"iscsitargets": targets,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "config.json"), text, 0o600)
}

func (gotgtDriver) ready(s *Server) error { return s.portalAnswers() }

func (gotgtDriver) configure(*Server) error { return nil }

func (gotgtDriver) clean(*Server) {}

func (gotgtDriver) firstLUN() int { return 0 }

func (gotgtDriver) stopSignal() (syscall.Signal, bool) { return syscall.SIGKILL, false }

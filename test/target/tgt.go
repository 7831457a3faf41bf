package target

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// tgtDriver serves by tgtd, the user-space target of Debian's package tgt.
type tgtDriver struct{}

const tgtControlPort = "1"

// tgtEnv puts tgtd's control socket into the server's folder, so that servers do not meet and no root is needed.
func tgtEnv(s *Server) []string {
	return append(os.Environ(), "TGT_IPC_SOCKET="+filepath.Join(s.dir, "tgt.sock"))
}

func (tgtDriver) command(s *Server) (*exec.Cmd, error) {
	path, err := Program("tgtd")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "-f", "-C", tgtControlPort, "--iscsi", "portal="+s.Portal())
	cmd.Env = tgtEnv(s)
	return cmd, nil
}

func tgtadm(s *Server, args ...string) error {
	path, err := Program("tgtadm")
	if err != nil {
		return err
	}
	cmd := exec.Command(path, append([]string{"-C", tgtControlPort, "--lld", "iscsi"}, args...)...)
	cmd.Env = tgtEnv(s)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tgtadm %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return nil
}

func (tgtDriver) ready(s *Server) error { return tgtadm(s, "--op", "show", "--mode", "sys") }

func (tgtDriver) configure(s *Server) error {
	for i, n := range s.cfg.Nodes {
		if err := tgtNode(s, n, strconv.Itoa(i+1)); err != nil {
			return err
		}
	}
	return nil
}

func tgtNode(s *Server, n Node, tid string) error {
	calls := [][]string{{"--op", "new", "--mode", "target", "--tid", tid, "-T", IQN(n.Name)}}
	for i, l := range n.LUNs {
		path, err := s.backingFile(l, lunName(n.Name, i))
		if err != nil {
			return err
		}
		lun := strconv.Itoa(s.LUN(i))
		calls = append(calls,
			[]string{"--op", "new", "--mode", "logicalunit", "--tid", tid, "--lun", lun, "-b", path, "--blocksize", fmt.Sprint(l.blockSize())},
			[]string{"--op", "update", "--mode", "logicalunit", "--tid", tid, "--lun", lun, "--params", "thin_provisioning=1"})
	}
	for name, on := range map[string]bool{"HeaderDigest": n.HeaderDigest, "DataDigest": n.DataDigest} {
		if on {
			calls = append(calls, []string{"--op", "update", "--mode", "target", "--tid", tid, "-n", name, "-v", "CRC32C"})
		}
	}
	if c := n.CHAP; c != nil {
		calls = append(calls, tgtAccount(tid, c.User, c.Secret)...)
		if c.MutualUser != "" {
			mutual := tgtAccount(tid, c.MutualUser, c.MutualSecret)
			mutual[1] = append(mutual[1], "--outgoing")
			calls = append(calls, mutual...)
		}
	}
	if len(n.Initiators) == 0 {
		calls = append(calls, []string{"--op", "bind", "--mode", "target", "--tid", tid, "-I", "ALL"})
	}
	for _, name := range n.Initiators {
		calls = append(calls, []string{"--op", "bind", "--mode", "target", "--tid", tid, "-Q", name})
	}
	for _, c := range calls {
		if err := tgtadm(s, c...); err != nil {
			return err
		}
	}
	return nil
}

func tgtAccount(tid, user, secret string) [][]string {
	return [][]string{
		{"--op", "new", "--mode", "account", "--user", user, "--password", secret},
		{"--op", "bind", "--mode", "account", "--tid", tid, "--user", user},
	}
}

func (tgtDriver) clean(s *Server) {
	for _, end := range []string{"", ".lock"} {
		os.Remove(filepath.Join(s.dir, "tgt.sock."+tgtControlPort+end))
	}
}

// firstLUN is 1: LUN 0 of tgt is a controller.
func (tgtDriver) firstLUN() int { return 1 }

// stopSignal is SIGKILL: tgtd heeds SIGTERM only when it has no target left.
func (tgtDriver) stopSignal() (syscall.Signal, bool) { return syscall.SIGKILL, false }

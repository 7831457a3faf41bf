package target

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// polluxDriver serves by the program under test, set up over its RPC socket under SPDK's names.
type polluxDriver struct{}

// object is a JSON object of parameters.
type object = map[string]any

const (
	portalTag         = 1
	defaultQueueDepth = 64
)

func (polluxDriver) command(s *Server) (*exec.Cmd, error) {
	binary := s.cfg.Binary
	if binary == "" {
		var err error
		if binary, err = PolluxBinary(); err != nil {
			return nil, err
		}
	}
	args := []string{"serve", "-m", coreMask(s.cfg), "-r", s.rpcSocket()}
	if s.cfg.Mode != "" {
		args = append(args, "--mode", s.cfg.Mode)
	}
	if s.cfg.StatSN != 0 {
		path, err := s.firstStatSN()
		if err != nil {
			return nil, err
		}
		args = append(args, "-c", path)
	}
	return exec.Command(binary, append(args, s.cfg.Args...)...), nil
}

// firstStatSN writes a configuration that says where StatSN begins, which is an option of the start, and returns its path.
func (s *Server) firstStatSN() (path string, err error) {
	path = filepath.Join(s.dir, "options.json")
	call := object{"method": "iscsi_set_options", "params": object{"initial_stat_sn": s.cfg.StatSN}}
	text, err := json.Marshal(object{"subsystems": []object{{"subsystem": "iscsi", "config": []object{call}}}})
	return path, errors.Join(err, os.WriteFile(path, text, 0o600))
}

// coreMask has one reactor on each of the first cores, or on the core that the server is confined to.
func coreMask(cfg Config) string {
	mask := uint64(1)<<max(cfg.Reactors, 1) - 1
	if first, err := strconv.Atoi(cfg.Cores); err == nil {
		mask <<= first
	}
	return fmt.Sprintf("0x%x", mask)
}

func (polluxDriver) ready(s *Server) error { return s.RPC("framework_wait_init", nil, nil) }

func (polluxDriver) configure(s *Server) error {
	portals := []object{{"host": s.Host(), "port": strconv.Itoa(s.port)}}
	if err := s.RPC("iscsi_create_portal_group", object{"tag": portalTag, "portals": portals}, nil); err != nil {
		return err
	}
	for i, n := range s.cfg.Nodes {
		if err := createNode(s, n, i+1); err != nil {
			return err
		}
	}
	return nil
}

// createNode makes a node with an initiator group and an auth group of its own, which have its tag.
func createNode(s *Server, n Node, tag int) error {
	initiators := n.Initiators
	if len(initiators) == 0 {
		initiators = []string{"ANY"}
	}
	group := object{"tag": tag, "initiators": initiators, "netmasks": []string{"ANY"}}
	if err := s.RPC("iscsi_create_initiator_group", group, nil); err != nil {
		return err
	}
	luns := []object{}
	for i, l := range n.LUNs {
		name := lunName(n.Name, i)
		if err := createBdev(s, l, name); err != nil {
			return err
		}
		lun := object{"bdev_name": name, "lun_id": i}
		if l.PTPL {
			lun["ptpl_file"] = filepath.Join(s.dir, name+".ptpl")
		}
		luns = append(luns, lun)
	}
	node := object{
		"name": IQN(n.Name), "alias_name": n.Name, "luns": luns, "queue_depth": cmp.Or(n.QueueDepth, defaultQueueDepth),
		"pg_ig_maps":   []object{{"pg_tag": portalTag, "ig_tag": tag}},
		"disable_chap": n.CHAP == nil, "header_digest": n.HeaderDigest, "data_digest": n.DataDigest,
	}
	if n.CHAP != nil {
		secret := object{"user": n.CHAP.User, "secret": n.CHAP.Secret}
		if n.CHAP.MutualUser != "" {
			secret["muser"], secret["msecret"] = n.CHAP.MutualUser, n.CHAP.MutualSecret
			node["mutual_chap"] = true
		}
		if err := s.RPC("iscsi_create_auth_group", object{"tag": tag, "secrets": []object{secret}}, nil); err != nil {
			return err
		}
		node["require_chap"], node["chap_group"] = true, tag
	}
	return s.RPC("iscsi_create_target_node", node, nil)
}

func createBdev(s *Server, l LUN, name string) error {
	if l.Backing == Malloc {
		bdev := object{"name": name, "block_size": l.blockSize(), "num_blocks": l.Size / l.blockSize()}
		if l.Physical != 0 {
			bdev["physical_block_size"] = l.Physical
		}
		return s.RPC("bdev_malloc_create", bdev, nil)
	}
	path, err := s.backingFile(l, name)
	if err != nil {
		return err
	}
	return s.RPC("bdev_aio_create", object{"name": name, "filename": path, "block_size": l.blockSize()}, nil)
}

func (polluxDriver) clean(*Server) {}

func (polluxDriver) firstLUN() int { return 0 }

func (polluxDriver) stopSignal() (syscall.Signal, bool) { return syscall.SIGTERM, true }

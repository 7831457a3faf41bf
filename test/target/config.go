package target

import (
	"fmt"
	"slices"
	"strings"
)

// Kind names a server program.
type Kind string

// The servers that there is a driver for.
const (
	Pollux Kind = "pollux"
	Tgt    Kind = "tgt"
	Gotgt  Kind = "gotgt"
)

// Backing says where a LUN keeps its data.
type Backing string

// Malloc is memory of the server (for peers, a file in /dev/shm); AIO is a file in the server's folder, through the module aio.
const (
	Malloc Backing = "malloc"
	AIO    Backing = "aio"
)

// Config is what a server serves, and how it runs.
type Config struct {
	Kind     Kind
	Reactors int    // Pollux: how many; 0 is one
	Mode     string // Pollux: poll, adaptive, interrupt; empty is the program's default
	StatSN   uint32 // Pollux: where the StatSN of each connection begins; 0 is the program's default
	Args     []string
	Binary   string   // Pollux: the program; empty builds it
	Wrap     []string // a program with arguments that the server's command line is appended to, and that becomes it
	Cores    string   // cores for the whole process, as taskset -c takes them; empty is all
	Nodes    []Node
	Host     string // address of the portal; empty is 127.0.0.1
	Dir      string // the server's folder; empty makes one
}

// Node is one iSCSI target node. Its IQN is [IQN] of its name.
type Node struct {
	Name                     string
	LUNs                     []LUN
	CHAP                     *CHAP
	HeaderDigest, DataDigest bool     // the target insists on them
	QueueDepth               int      // Pollux: commands in flight; 0 is 64
	Initiators               []string // the names that are let in; empty is all
}

// LUN is one logical unit, numbered from 0 in order.
type LUN struct {
	Backing   Backing
	BlockSize int64 // 0 is 512
	Size      int64 // bytes
	Physical  int64 // Pollux, malloc: bytes of a physical block; 0 is BlockSize
	Path      string
	PTPL      bool // Pollux: registrations persist through power loss, in the server's folder
}

// CHAP holds the secrets: the initiator's, and for mutual CHAP the target's.
type CHAP struct {
	User, Secret             string
	MutualUser, MutualSecret string
}

const iqnPrefix = "iqn.2026-01.test.pollux:"

// IQN is the target name of the node with that name.
func IQN(node string) string { return iqnPrefix + node }

// OneLUN is a config of one node "disk" with one LUN.
func OneLUN(kind Kind, l LUN) Config {
	return Config{Kind: kind, Nodes: []Node{{Name: "disk", LUNs: []LUN{l}}}}
}

func (l LUN) blockSize() int64 {
	if l.BlockSize == 0 {
		return 512
	}
	return l.BlockSize
}

// String is a name for subtests, such as "aio-4096".
func (l LUN) String() string { return fmt.Sprintf("%s-%d", l.Backing, l.blockSize()) }

// String is a name for subtests, such as "pollux-2".
func (c Config) String() string {
	if c.Kind != Pollux {
		return string(c.Kind)
	}
	name := strings.Join(slices.DeleteFunc([]string{"pollux", fmt.Sprint(max(c.Reactors, 1)), c.Mode}, func(s string) bool { return s == "" }), "-")
	if c.StatSN != 0 {
		name += fmt.Sprintf("-StatSN-%#x", c.StatSN)
	}
	return name
}

func (c Config) check() error {
	if len(c.Nodes) == 0 {
		return fmt.Errorf("nothing to serve")
	}
	for _, n := range c.Nodes {
		for i, l := range n.LUNs {
			if l.Backing != Malloc && l.Backing != AIO {
				return fmt.Errorf("node %s LUN %d: backing %q is not known", n.Name, i, l.Backing)
			}
			if l.Size <= 0 || l.Size%l.blockSize() != 0 {
				return fmt.Errorf("node %s LUN %d: size %d is not a multiple of %d", n.Name, i, l.Size, l.blockSize())
			}
		}
	}
	return nil
}

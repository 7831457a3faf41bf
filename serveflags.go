package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"pollux/reactor"
	"pollux/reactor/uring"
	"pollux/rpc"
)

// serveFlags are what `pollux serve` was told.
type serveFlags struct {
	cores          []int
	socket         string
	config         string
	ignoreInitErrs bool
	mode           reactor.Mode
	spin           time.Duration
	waitForRPC     bool
	rpcsAllowed    []string
	logFlags       []string
	without        uring.Features
	maxDataMemory  uint64
	memoryAsked    bool // for maxDataMemory; else it may become less
	coalesce       bool

	quick quickLUN
}

// quickLUN is a LUN asked for on the command line instead of by RPC.
type quickLUN struct {
	malloc bool
	file   string
	size   uint64 // bytes; 0: the file's own
	listen string // address:port
}

func (q quickLUN) wanted() bool { return q.malloc || q.file != "" }

// defaultListen is loopback alone: whoever wants more says so.
const defaultListen = "127.0.0.1:3260"

const serveUsage = `usage: pollux serve [OPTION...]

Runs the target until SIGINT or SIGTERM; then sessions are asked to log out, I/O is drained and flushed.

A LUN at once:
      --malloc SIZE           serve SIZE bytes of memory (64M, 1G, ...) on --listen
      --file PATH             serve a file or block device; created with --size if absent
      --size SIZE             size of a file to create
      --listen ADDRESS:PORT   where (default 127.0.0.1:3260)

Configured by JSON-RPC:
  -r, --rpc-socket PATH       JSON-RPC socket (default /var/tmp/spdk.sock)
  -c, --config FILE           SPDK JSON configuration to load at start (also --json)
      --json-ignore-init-errors   go on when a call of the configuration fails
      --wait-for-rpc          wait for framework_start_init before starting
      --rpcs-allowed A,B      the only methods that clients may call

Reactors:
  -m, --cpumask MASK          cores: 0x3, [0,1], [0-3] (default: one reactor up to 3 cores, else all but one)
      --mode MODE             adaptive (spin, then sleep), poll (never sleep), interrupt (sleep at once)
      --spin DURATION         adaptive: how long to spin (default 100us)
      --without A,B           kernel features to leave unused: ` + "%s" + `
      --coalesce=false        send each answer at once, also when more are about to follow
      --max-data-memory SIZE  bound of all I/O buffers (default 1G, or what a memory cgroup leaves)

  -L, --logflag NAME          debug lines of one part (all: every part)

Flags of spdk_tgt that mean nothing here (-s, -i, -p, -u, --no-huge, ...) are accepted and ignored.
`

// parseServeFlags reads the command line. done is true when --help was answered.
func parseServeFlags(args []string, stdout io.Writer) (f serveFlags, done bool, err error) {
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	fs.Usage = func() {}
	fs.SetOutput(io.Discard)
	var mask, mode, malloc, size, memory, json, without string
	fs.StringVarP(&mask, "cpumask", "m", "", "")
	fs.StringVarP(&f.socket, "rpc-socket", "r", rpc.DefaultSocket, "")
	fs.StringVarP(&f.config, "config", "c", "", "")
	fs.StringVar(&json, "json", "", "")
	fs.BoolVar(&f.ignoreInitErrs, "json-ignore-init-errors", false, "")
	fs.StringVar(&mode, "mode", "adaptive", "")
	fs.DurationVar(&f.spin, "spin", reactor.DefaultSpin, "")
	fs.BoolVar(&f.waitForRPC, "wait-for-rpc", false, "")
	fs.StringSliceVar(&f.rpcsAllowed, "rpcs-allowed", nil, "")
	fs.StringArrayVarP(&f.logFlags, "logflag", "L", nil, "")
	fs.StringVar(&without, "without", "", "")
	fs.BoolVar(&f.coalesce, "coalesce", true, "")
	fs.StringVar(&memory, "max-data-memory", "", "")
	fs.StringVar(&malloc, "malloc", "", "")
	fs.StringVar(&f.quick.file, "file", "", "")
	fs.StringVar(&size, "size", "", "")
	fs.StringVar(&f.quick.listen, "listen", defaultListen, "")
	ignoreForeignFlags(fs)

	switch err := fs.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprintf(stdout, serveUsage, uring.FeaturesAll)
		return f, true, nil
	case err != nil:
		return f, false, err
	case fs.NArg() > 0:
		return f, false, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if json != "" {
		f.config = json
	}
	return f, false, errors.Join(
		f.setReactors(mask, mode, without),
		f.setMemory(memory),
		f.setQuick(malloc, size),
	)
}

func (f *serveFlags) setReactors(mask, mode, without string) (err error) {
	if f.mode, err = parseMode(mode); err != nil {
		return err
	}
	if f.without, err = uring.ParseFeatures(without); err != nil {
		return fmt.Errorf("--without: %w", err)
	}
	if mask == "" {
		f.cores, err = reactor.DefaultCores()
		return err
	}
	f.cores, err = reactor.ParseMask(mask)
	return err
}

func (f *serveFlags) setMemory(memory string) (err error) {
	if f.memoryAsked = memory != ""; !f.memoryAsked {
		f.maxDataMemory = memoryDefault
		return nil
	}
	if f.maxDataMemory, err = parseSize(memory); err != nil {
		return fmt.Errorf("--max-data-memory: %w", err)
	}
	return nil
}

func (f *serveFlags) setQuick(malloc, size string) (err error) {
	switch {
	case malloc != "" && f.quick.file != "":
		return errors.New("--malloc and --file exclude one another")
	case malloc != "" && size != "":
		return errors.New("--size belongs to --file; --malloc has a size of its own")
	case malloc != "":
		f.quick.malloc, size = true, malloc
	case size == "":
		return nil
	}
	if f.quick.size, err = parseSize(size); err != nil {
		return fmt.Errorf("size of the LUN: %w", err)
	}
	return nil
}

// ignoreForeignFlags accepts what spdk_tgt takes and this program has no use for: no hugepages, no PCI, no shared memory.
func ignoreForeignFlags(fs *pflag.FlagSet) {
	for _, s := range []struct{ name, short string }{
		{"mem-size", "s"},
		{"shm-id", "i"},
		{"main-core", "p"},
		{"tpoint-group", "e"},
		{"huge-dir", ""},
		{"mem-channels", "n"},
		{"pci-allowed", "A"},
		{"pci-blocked", "B"},
		{"iova-mode", ""},
		{"base-virtaddr", ""},
		{"num-trace-entries", ""},
		{"env-context", ""},
		{"msg-mempool-size", ""},
		{"lcores", ""},
		{"vfio-vf-token", ""},
	} {
		fs.StringP(s.name, s.short, "", "")
	}
	for _, b := range []struct{ name, short string }{
		{"no-pci", "u"},
		{"no-huge", ""},
		{"single-file-segments", "g"},
		{"huge-unlink", "R"},
		{"limit-coredump", ""},
		{"interrupt-mode", ""},
		{"silence-noticelog", "q"},
		{"disable-cpumask-locks", ""},
		{"no-rpc-server", ""},
	} {
		fs.BoolP(b.name, b.short, false, "")
	}
}

func parseMode(s string) (reactor.Mode, error) {
	modes := map[string]reactor.Mode{
		"adaptive": reactor.ModeAdaptive, "poll": reactor.ModePoll, "interrupt": reactor.ModeInterrupt,
	}
	m, ok := modes[s]
	if !ok {
		return 0, fmt.Errorf("--mode %q: must be poll, adaptive or interrupt", s)
	}
	return m, nil
}

// parseSize reads a number of bytes with an optional binary unit: 4096, 64K, 128M, 1G, 2T.
func parseSize(s string) (uint64, error) {
	digits, shift := s, 0
	upper := strings.ToUpper(strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "IB"), "B"))
	if upper != "" {
		if i := strings.IndexByte("KMGTP", upper[len(upper)-1]); i >= 0 {
			digits, shift = upper[:len(upper)-1], 10*(i+1)
		} else {
			digits = upper
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || n > 1<<63>>shift {
		return 0, fmt.Errorf("%q is not a size: write bytes or 64K, 128M, 1G, 2T", s)
	}
	return n << shift, nil
}

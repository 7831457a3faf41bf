package bench

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Bounds of the options.
const (
	connectionsMax = 1024
	depthMax       = 1024
	blockSizeMax   = 4 << 20
	unitsMax       = 1 << 26 // units that --verify keeps a record of
)

// Options are what the command line says.
type Options struct {
	Portal, Target, Initiator string
	LUN                       uint64
	Connections, Depth        int
	BlockSize                 int64
	ReadShare                 int
	Duration, Warmup          time.Duration
	Count                     uint64
	Sequential, Batch         bool
	Span                      int64
	Spin                      bool
	Core                      int
	JSON, Verify              bool
	Reconnect                 time.Duration
	User, Secret              string
	TargetSecret              string
	HeaderDigest, DataDigest  bool
	Seed                      uint64
	CmdSN                     uint64
}

const usage = `usage: pollux bench [options] [iscsi://[USER%SECRET@]HOST:PORT/IQN/LUN]

Loads an iSCSI LUN in a closed loop from one reactor. WRITES DESTROY WHAT IS ON THE LUN.

  --portal HOST:PORT    where the target listens (127.0.0.1:3260)
  --target IQN          target name (the first one that discovery finds)
  --initiator IQN       our name (iqn.2016-06.io.pollux:bench)
  --lun N               logical unit (0)
  --connections N       sessions with one connection each (1)
  --depth N             commands in flight per connection (32)
  --block-size SIZE     bytes per command, with K or M (4K)
  --read-share PERCENT  reads; the rest are writes (100)
  --duration TIME       how long (10s); --warmup TIME goes before, not counted
  --count N             end after N commands instead
  --sequential          each connection goes through its part in order, not at random; --random is the default
  --span SIZE           use only the first bytes of the LUN, with K, M, G or T (all)
  --batch               all commands that are ready leave in one send, not one send per command
  --wait spin|block     what to do without work (spin); --core N pins the reactor
  --verify              stamp what is written and check what is read; exit 1 if anything acknowledged is missing
  --reconnect TIME      log in again for so long after a connection was lost (0: end; 60s with --verify)
  --chap USER:SECRET    authenticate; --target-secret SECRET asks the target to do so too
  --header-digest, --data-digest
  --seed N              order of blocks (1); --cmdsn N first CmdSN
  --json                print one JSON object

Exit status: 0 done, 1 failed or something is missing, 2 misused.
`

var errUsage = errors.New("misused")

// parse reads the command line; with errUsage it has said what is wrong, with flag.ErrHelp it has printed the help.
func parse(args []string, stdout, stderr io.Writer) (*Options, error) {
	o := &Options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {}
	var blockSize, span, wait, chap string
	f.StringVar(&o.Portal, "portal", "127.0.0.1:3260", "")
	f.StringVar(&o.Target, "target", "", "")
	f.StringVar(&o.Initiator, "initiator", "iqn.2016-06.io.pollux:bench", "")
	f.Uint64Var(&o.LUN, "lun", 0, "")
	f.IntVar(&o.Connections, "connections", 1, "")
	f.IntVar(&o.Depth, "depth", 32, "")
	f.StringVar(&blockSize, "block-size", "4K", "")
	f.IntVar(&o.ReadShare, "read-share", 100, "")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "")
	f.DurationVar(&o.Warmup, "warmup", 0, "")
	f.Uint64Var(&o.Count, "count", 0, "")
	f.BoolVar(&o.Sequential, "sequential", false, "")
	random := f.Bool("random", false, "")
	f.StringVar(&span, "span", "0", "")
	f.BoolVar(&o.Batch, "batch", false, "")
	f.StringVar(&wait, "wait", "spin", "")
	f.IntVar(&o.Core, "core", -1, "")
	f.BoolVar(&o.JSON, "json", false, "")
	f.BoolVar(&o.Verify, "verify", false, "")
	f.DurationVar(&o.Reconnect, "reconnect", -1, "")
	f.StringVar(&chap, "chap", "", "")
	f.StringVar(&o.TargetSecret, "target-secret", "", "")
	f.BoolVar(&o.HeaderDigest, "header-digest", false, "")
	f.BoolVar(&o.DataDigest, "data-digest", false, "")
	f.Uint64Var(&o.Seed, "seed", 1, "")
	f.Uint64Var(&o.CmdSN, "cmdsn", 0, "")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return nil, err
	} else if err != nil {
		fmt.Fprintln(stderr, "pollux bench --help shows the options")
		return nil, errUsage
	}
	err := errors.Join(size(&o.BlockSize, "block-size", blockSize), size(&o.Span, "span", span))
	o.User, o.Secret, _ = strings.Cut(chap, ":")
	o.Spin = wait == "spin"
	if o.Reconnect < 0 {
		o.Reconnect = 0
		if o.Verify {
			o.Reconnect = time.Minute
		}
	}
	if f.NArg() > 0 {
		err = errors.Join(err, o.fromURL(f.Arg(0)))
	}
	switch {
	case err != nil:
	case f.NArg() > 1:
		err = fmt.Errorf("what is %q?", f.Arg(1))
	case wait != "spin" && wait != "block":
		err = fmt.Errorf("--wait %s: want spin or block", wait)
	case o.Sequential && *random:
		err = errors.New("--sequential and --random exclude one another")
	default:
		err = o.check()
	}
	if err != nil {
		fmt.Fprintf(stderr, "pollux bench: %v (pollux bench --help shows the options)\n", err)
		return nil, errUsage
	}
	return o, nil
}

// check holds the numbers to their bounds.
func (o *Options) check() error {
	switch {
	case o.Connections < 1 || o.Connections > connectionsMax:
		return fmt.Errorf("--connections %d: want 1 to %d", o.Connections, connectionsMax)
	case o.Depth < 1 || o.Depth > depthMax:
		return fmt.Errorf("--depth %d: want 1 to %d", o.Depth, depthMax)
	case o.BlockSize < 512 || o.BlockSize > blockSizeMax || o.BlockSize%512 != 0:
		return fmt.Errorf("--block-size %d: want a multiple of 512, up to %d", o.BlockSize, blockSizeMax)
	case o.ReadShare < 0 || o.ReadShare > 100:
		return fmt.Errorf("--read-share %d: want 0 to 100", o.ReadShare)
	case o.LUN > 16383:
		return fmt.Errorf("--lun %d: want 0 to 16383", o.LUN)
	case o.CmdSN > 1<<32-1:
		return fmt.Errorf("--cmdsn %d: want a 32-bit number", o.CmdSN)
	case o.Duration <= 0 && o.Count == 0:
		return errors.New("neither --duration nor --count")
	}
	return nil
}

// fromURL takes portal, target, LUN and secret from a URL as libiscsi writes it; what it has replaces the flags.
func (o *Options) fromURL(s string) error {
	rest, found := strings.CutPrefix(s, "iscsi://")
	if !found {
		return fmt.Errorf("what is %q? A LUN is iscsi://HOST:PORT/IQN/LUN", s)
	}
	if login, after, found := strings.Cut(rest, "@"); found {
		o.User, o.Secret, _ = strings.Cut(login, "%")
		rest = after
	}
	parts := strings.Split(rest, "/")
	lun, err := strconv.ParseUint(parts[len(parts)-1], 10, 14)
	if len(parts) != 3 || err != nil {
		return fmt.Errorf("%s: want iscsi://HOST:PORT/IQN/LUN", s)
	}
	o.Portal, o.Target, o.LUN = parts[0], parts[1], lun
	return nil
}

// size reads bytes with K, M, G or T behind them.
func size(v *int64, name, s string) error {
	digits, shift := strings.TrimSuffix(strings.ToUpper(s), "IB"), 0
	if n := len(digits); n > 1 {
		if i := strings.IndexByte("KMGT", digits[n-1]); i >= 0 {
			digits, shift = digits[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return fmt.Errorf("--%s %s: want a number of bytes, with K, M, G or T behind it if need be", name, s)
	}
	*v = n << shift
	return nil
}

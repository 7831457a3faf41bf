package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"pollux/test/target"
)

// bench is a comparison as the flags describe it.
type bench struct {
	targets     []target.Kind
	loads       []load
	rounds      int
	duration    time.Duration
	mode        string
	serverCores string
	clientCores string
	tcmur       bool   // compare the handlers of bdev/tcmur with aio instead of servers
	dir         string // of the file for that; empty: the temporary folder
	generator   generator
	progress    io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if err := b.compare(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// compare measures and prints.
func (b bench) compare(ctx context.Context, w io.Writer) error {
	if b.tcmur {
		return b.runTcmur(ctx, w)
	}
	results, err := b.run(ctx)
	if err != nil {
		return err
	}
	report(w, b, results)
	return nil
}

func parse(args []string) (bench, error) {
	b := bench{progress: os.Stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	targets := flags.String("targets", "pollux,tgt,gotgt", "servers to compare, in turn")
	patterns := flags.String("loads", "*", "loads, by name or pattern, such as 4k-*-32")
	name := flags.String("generator", "pollux", "pollux, or libiscsi (iscsi-perf: reads alone)")
	flags.IntVar(&b.rounds, "rounds", 5, "how often each load visits each server")
	flags.DurationVar(&b.duration, "duration", 2*time.Second, "how long a visit is measured")
	flags.StringVar(&b.mode, "mode", "", "Pollux's --mode: poll, adaptive, interrupt")
	flags.StringVar(&b.serverCores, "server-cores", "0", "cores of the server under test")
	flags.StringVar(&b.clientCores, "client-cores", "1", "cores of the generator")
	flags.BoolVar(&b.tcmur, "tcmur", false, "compare handlers of bdev/tcmur with aio, without initiators")
	flags.StringVar(&b.dir, "dir", "", "folder of the file for -tcmur (default: the temporary folder)")
	if err := flags.Parse(args); err != nil {
		return b, err
	}
	for kind := range strings.SplitSeq(*targets, ",") {
		b.targets = append(b.targets, target.Kind(kind))
	}
	var ok bool
	if b.generator, ok = generators[*name]; !ok {
		return b, fmt.Errorf("no generator %q", *name)
	}
	if b.rounds < 1 || b.duration < settle {
		return b, fmt.Errorf("at least one round of at least %s", settle)
	}
	var err error
	b.loads, err = choose(*patterns)
	return b, err
}

// results holds the samples of each load by server, one per round.
type results map[string]map[target.Kind][]sample

// run launches the servers and lets every load visit each in turn.
func (b bench) run(ctx context.Context) (results, error) {
	servers, err := b.launch(ctx)
	defer func() {
		for _, s := range servers {
			s.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	all := results{}
	for _, l := range b.loads {
		if l.read < 100 && !b.generator.writes {
			continue
		}
		all[l.name] = map[target.Kind][]sample{}
		for round := range b.rounds {
			for _, s := range servers {
				one, err := b.visit(ctx, s, l)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w\n%s", s.Kind(), l.name, err, s.Log())
				}
				all[l.name][s.Kind()] = append(all[l.name][s.Kind()], one)
			}
			fmt.Fprintf(b.progress, "\r%-14s round %d of %d ", l.name, round+1, b.rounds)
		}
	}
	fmt.Fprint(b.progress, "\r\033[K")
	return all, nil
}

// launch starts every server with one memory LUN, fills it, and puts the server to sleep until its turn.
func (b bench) launch(ctx context.Context) ([]*target.Server, error) {
	var servers []*target.Server
	for _, kind := range b.targets {
		cfg := target.OneLUN(kind, target.LUN{Backing: target.Malloc, BlockSize: blockSize, Size: lunSize})
		cfg.Cores, cfg.Mode = b.serverCores, b.mode
		cfg.Nodes[0].QueueDepth = maxDepth
		s, err := target.Launch(cfg)
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
		if b.generator.writes {
			if err := fill(ctx, b.clientCores, s); err != nil {
				return servers, fmt.Errorf("fill the LUN of %s: %w\n%s", kind, err, s.Log())
			}
		}
		if err := s.Pause(); err != nil {
			return servers, err
		}
	}
	return servers, nil
}

// maxDepth is the largest queue depth of the loads, which the target must allow.
const maxDepth = 128

func (b bench) visit(ctx context.Context, s *target.Server, l load) (sample, error) {
	if err := s.Resume(); err != nil {
		return sample{}, err
	}
	one, err := b.measure(ctx, s, l, b.duration)
	return one, errors.Join(err, s.Pause(), ctx.Err())
}

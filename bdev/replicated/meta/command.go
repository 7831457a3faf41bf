package meta

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"syscall"
)

const usage = `usage: pollux replicated md COMMAND [OPTION...] FILE

Looks at and makes the metadata of replicated volumes. FILE is a file or a block device.

  create  write fresh metadata at the tail of FILE, with clean bitmaps
    --force           overwrite what is there: metadata, a file system
    --data-size N     FILE is for the metadata alone, of N bytes of data elsewhere
    --size N          bytes of the volume (default: all there is room for)
    --slots N         bitmaps, one for each peer, tracker and further leg (default 4)
    --bm-shift N      one bit stands for 2^N bytes, 12 to 20 (default 12)
    --al-pages N      pages of the activity log, 4 to 1024 (default 64)
    --al-extents N    extents that may be written to at once, 1 to 65535 (default 1237)
  dump    print metadata of the format GREP v1, or of DRBD 8.4 (v08)
    --bits            print every hot extent and every dirty bit too
    --index N         DRBD's index on a disk of external metadata
  check   read every page; what is damaged is printed, and the exit status is 1
    --index N         as above

Exit status: 0 done, 1 failed or damaged, 2 misused.
`

// Command is `pollux replicated md`: results on stdout, words on stderr, exit status 0, 1 or 2.
func Command(args []string, stdout, stderr io.Writer) int {
	commands := map[string]func(name string, o *options, stdout io.Writer) error{
		"create": commandCreate, "dump": commandDump, "check": commandCheck,
	}
	if len(args) > 0 && (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
		fmt.Fprint(stdout, usage)
		return 0
	}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprint(stderr, usage)
		return 2
	}
	o, flags := parseOptions(args[0])
	switch err := flags.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		return misuse(stderr, args[0], err)
	case flags.NArg() != 1:
		return misuse(stderr, args[0], fmt.Errorf("%d files are named, not one", flags.NArg()))
	}
	name := flags.Arg(0)
	if err := commands[args[0]](name, o, stdout); err != nil {
		if !errors.Is(err, errDamaged) { // it is printed already
			fmt.Fprintf(stderr, "%s: %v\n", name, err)
		}
		return 1
	}
	return 0
}

func misuse(stderr io.Writer, command string, err error) int {
	fmt.Fprintf(stderr, "pollux replicated md %s: %v; --help tells how\n", command, err)
	return 2
}

// errDamaged is the result of a check that has found something.
var errDamaged = errors.New("damaged")

type options struct {
	Options
	force     bool
	bits      bool
	index     int
	shift     uint
	alExtents uint
}

// parseOptions are the options of a command.
func parseOptions(command string) (*options, *flag.FlagSet) {
	o := &options{}
	f := flag.NewFlagSet(command, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	switch command {
	case "create":
		f.BoolVar(&o.force, "force", false, "")
		f.IntVar(&o.Slots, "slots", slotsDefault, "")
		f.UintVar(&o.shift, "bm-shift", bmShiftDefault, "")
		f.IntVar(&o.ALPages, "al-pages", ALPages, "")
		f.UintVar(&o.alExtents, "al-extents", alSlotsDefault, "")
		f.Int64Var(&o.Data, "data-size", 0, "")
		f.Uint64Var(&o.Size, "size", 0, "")
	case "dump":
		f.BoolVar(&o.bits, "bits", false, "")
		f.IntVar(&o.index, "index", 0, "")
	case "check":
		f.IntVar(&o.index, "index", 0, "")
	}
	return o, f
}

// openFile returns the disk and its size, of a file or a block device.
func openFile(name string, mode int) (*os.File, int64, error) {
	f, err := os.OpenFile(name, mode, 0)
	if err != nil {
		return nil, 0, errors.Unwrap(err) // the caller names the file
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size < sizeMin {
		err = fmt.Errorf("%d bytes: %w, which takes %d at least", size, ErrTooSmall, sizeMin)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// sizeMin is less than any metadata takes.
const sizeMin = 2 * PageSize

// openToCreate opens for writing. A block device that is mounted, or is part of another, is not to be had.
func openToCreate(name string) (*os.File, int64, error) {
	mode := os.O_RDWR
	if info, err := os.Stat(name); err == nil && info.Mode()&os.ModeDevice != 0 {
		mode |= os.O_EXCL
	}
	f, size, err := openFile(name, mode)
	if errors.Is(err, syscall.EBUSY) {
		err = fmt.Errorf("%w: unmount it, or take it out of the device that it is part of", err)
	}
	return f, size, err
}

func commandCreate(name string, o *options, stdout io.Writer) error {
	f, size, err := openToCreate(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if !o.force {
		if err := Vacant(f, size); err != nil {
			return fmt.Errorf("%w; --force overwrites it", err)
		}
	}
	o.BMShift, o.ALSlots = uint8(min(o.shift, 1<<8-1)), uint32(min(o.alExtents, 1<<32-1))
	rand.Read(o.Set[:])
	rand.Read(o.Node[:])
	s, err := Create(f, size, o.Options)
	if err != nil {
		return err
	}
	Dump(stdout, s, false)
	return nil
}

func commandDump(name string, o *options, stdout io.Writer) error {
	f, size, err := openFile(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	s, d, err := openAny(f, size, o.index)
	switch {
	case err != nil:
		return err
	case d != nil:
		return DumpDRBD08(stdout, d, f, o.bits)
	}
	Dump(stdout, s, o.bits)
	return nil
}

// openAny opens metadata of either format.
func openAny(f *os.File, size int64, index int) (*Store, *DRBD08, error) {
	s, err := Open(f, size)
	if !errors.Is(err, ErrNoSuper) {
		return s, nil, err
	}
	d, drbd := OpenDRBD08(f, size, index)
	switch {
	case drbd == nil:
		return nil, d, nil
	case !errors.Is(drbd, ErrNotDRBD):
		return nil, nil, drbd
	}
	return nil, nil, fmt.Errorf("%w; %w; if the disk was a replica's, make fresh metadata with create, which costs a full resync", err, drbd)
}

func commandCheck(name string, o *options, stdout io.Writer) error {
	f, size, err := openFile(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	var problems []Problem
	switch s, d, err := openAny(f, size, o.index); {
	case err != nil:
		problems = []Problem{{true, err.Error()}}
	case d != nil:
		problems = CheckDRBD08(d, f)
	default:
		problems = s.Check()
	}
	for _, p := range problems {
		kind := "warning"
		if p.Fatal {
			kind = "error"
		}
		fmt.Fprintf(stdout, "%s: %s\n", kind, p.Text)
	}
	if len(problems) > 0 {
		return errDamaged
	}
	fmt.Fprintln(stdout, "ok")
	return nil
}

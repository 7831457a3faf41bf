package meta

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

const usage = `usage: pollux replicated md COMMAND [options] FILE

  create  write fresh metadata; refuses to overwrite what is there without --force
  dump    print GREP v1 or DRBD v08 metadata
  check   read every page; exit status 1 if anything is damaged

FILE is a file or a block device. Options of create:
`

// Command is `pollux replicated md`: results on stdout, words on stderr, exit status 0, 1 or 2.
func Command(args []string, stdout, stderr io.Writer) int {
	if len(args) < 1 {
		return misuse(stderr)
	}
	switch args[0] {
	case "create":
		return commandCreate(args[1:], stdout, stderr)
	case "dump":
		return commandDump(args[1:], stdout, stderr)
	case "check":
		return commandCheck(args[1:], stdout, stderr)
	}
	return misuse(stderr)
}

func misuse(stderr io.Writer) int {
	fmt.Fprint(stderr, usage)
	f, _ := createFlags(stderr)
	f.PrintDefaults()
	return 2
}

func failed(stderr io.Writer, name string, err error) int {
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	return 1
}

type createOptions struct {
	Options
	force    bool
	shift    uint
	external int64
}

func createFlags(stderr io.Writer) (*flag.FlagSet, *createOptions) {
	o := &createOptions{}
	f := flag.NewFlagSet("create", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.force, "force", false, "overwrite metadata that is there")
	f.IntVar(&o.Slots, "slots", 4, "bitmaps: one for each peer, tracker and further leg")
	f.UintVar(&o.shift, "bm-shift", 12, "one bit stands for 2^N bytes, 12 to 20")
	f.IntVar(&o.ALPages, "al-pages", ALPages, "pages of the activity log")
	f.Int64Var(&o.external, "data-size", 0, "size of the data on another device; 0 is metadata at the tail of the data")
	f.Uint64Var(&o.Size, "size", 0, "bytes of the volume; 0 is all there is room for")
	return f, o
}

// openFile returns the disk and its size, of a file or a block device.
func openFile(name string, mode int) (*os.File, int64, error) {
	f, err := os.OpenFile(name, mode, 0)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
	}
	return f, size, err
}

func commandCreate(args []string, stdout, stderr io.Writer) int {
	flags, o := createFlags(stderr)
	if flags.Parse(args) != nil || flags.NArg() != 1 {
		return 2
	}
	name := flags.Arg(0)
	f, size, err := openFile(name, os.O_RDWR)
	if err != nil {
		return failed(stderr, name, err)
	}
	defer f.Close()
	if size < 8*PageSize {
		return failed(stderr, name, ErrTooSmall)
	}
	if _, err := Open(f, size); !errors.Is(err, ErrNoSuper) && !o.force {
		return failed(stderr, name, errors.New("there is metadata already; --force overwrites it"))
	}
	if d, _ := OpenDRBD08(f, size); d != nil && !o.force {
		return failed(stderr, name, errors.New("there is DRBD metadata; --force overwrites it"))
	}
	o.BMShift, o.Data = uint8(o.shift), o.external
	rand.Read(o.Set[:])
	rand.Read(o.Node[:])
	s, err := Create(f, size, o.Options)
	if err != nil {
		return failed(stderr, name, err)
	}
	Dump(stdout, s)
	return 0
}

func commandDump(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 {
		return misuse(stderr)
	}
	f, size, err := openFile(args[0], os.O_RDONLY)
	if err != nil {
		return failed(stderr, args[0], err)
	}
	defer f.Close()
	if size < 2*PageSize {
		return failed(stderr, args[0], ErrTooSmall)
	}
	s, err := Open(f, size)
	if err == nil {
		Dump(stdout, s)
		return 0
	}
	d, drbd := OpenDRBD08(f, size)
	if drbd != nil {
		return failed(stderr, args[0], errors.Join(err, drbd))
	}
	if err := DumpDRBD08(stdout, d, f); err != nil {
		return failed(stderr, args[0], err)
	}
	return 0
}

func commandCheck(args []string, stdout, stderr io.Writer) int {
	if len(args) != 1 {
		return misuse(stderr)
	}
	f, size, err := openFile(args[0], os.O_RDONLY)
	if err != nil {
		return failed(stderr, args[0], err)
	}
	defer f.Close()
	if size < 2*PageSize {
		return failed(stderr, args[0], ErrTooSmall)
	}
	problems := Check(f, size)
	for _, p := range problems {
		kind := "warning"
		if p.Fatal {
			kind = "error"
		}
		fmt.Fprintf(stdout, "%s: %s\n", kind, p.Text)
	}
	if len(problems) > 0 {
		return 1
	}
	fmt.Fprintln(stdout, "ok")
	return 0
}

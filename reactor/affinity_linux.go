package reactor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// taskDir has one entry per thread of the process.
const taskDir = "/proc/self/task"

// threadName is what the threads of reactors are called, with the ID behind it; top -H shows it.
const threadName = "reactor_"

// smallMachine is the number of cores up to which one reactor is the default: the rest is needed by everything else.
const smallMachine = 3

// DefaultCores is where reactors run unless the user says otherwise: one on small machines, else on all cores but the
// first, which is left to everything else. Without a core to leave over, the one reactor is not pinned.
func DefaultCores() ([]int, error) {
	allowed, err := allowedCores()
	if err != nil {
		return nil, err
	}
	return defaultCores(coreList(allowed)), nil
}

func defaultCores(allowed []int) []int {
	switch {
	case len(allowed) == 1:
		return []int{-1}
	case len(allowed) <= smallMachine:
		return allowed[1:2]
	}
	return allowed[1:]
}

// ParseMask reads a set of cores as SPDK's -m option has it: a hexadecimal mask (0x3, 3) or a list ([0,1], [0-3,8]).
func ParseMask(s string) ([]int, error) {
	var cores []int
	var err error
	if inner, ok := strings.CutPrefix(s, "["); ok {
		cores, err = parseList(inner)
	} else {
		cores, err = parseHex(s)
	}
	if err != nil {
		return nil, fmt.Errorf("core mask %q: %w", s, err)
	}
	if len(cores) == 0 {
		return nil, fmt.Errorf("core mask %q: no core in it", s)
	}
	return cores, nil
}

// coreMax is the highest core number that a unix.CPUSet can hold.
const coreMax = 1023

func parseHex(s string) ([]int, error) {
	digits := strings.TrimPrefix(strings.TrimPrefix(s, "0x"), "0X")
	if digits == "" || len(digits) > (coreMax+1)/4 {
		return nil, errors.New("want a hexadecimal mask (0x3) or a list ([0,1])")
	}
	var cores []int
	for i := range len(digits) {
		digit, err := strconv.ParseUint(digits[len(digits)-1-i:len(digits)-i], 16, 4)
		if err != nil {
			return nil, errors.New("want a hexadecimal mask (0x3) or a list ([0,1])")
		}
		for bit := range 4 {
			if digit>>bit&1 != 0 {
				cores = append(cores, 4*i+bit)
			}
		}
	}
	return cores, nil
}

func parseList(s string) ([]int, error) {
	s, closed := strings.CutSuffix(s, "]")
	if !closed {
		return nil, errors.New("the list has no ]")
	}
	var cores []int
	for part := range strings.SplitSeq(s, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil || from < 0 || to < from || to > coreMax {
			return nil, fmt.Errorf("%q is neither a core nor a range of cores", part)
		}
		for core := from; core <= to; core++ {
			cores = append(cores, core)
		}
	}
	slices.Sort(cores)
	return slices.Compact(cores), nil
}

// allowedCores are those that any thread of the process may use. (The calling thread alone may be confined already.)
func allowedCores() (*unix.CPUSet, error) {
	all := &unix.CPUSet{}
	err := eachThread(func(tid int, _ string) error {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(tid, &set); err != nil {
			return err
		}
		for i := range set {
			all[i] |= set[i]
		}
		return nil
	})
	return all, err
}

// eachThread calls fn for every thread of the process; one that ends meanwhile is no error.
func eachThread(fn func(tid int, name string) error) error {
	entries, err := os.ReadDir(taskDir)
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	for _, entry := range entries {
		tid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(taskDir, entry.Name(), "comm"))
		if err := fn(tid, strings.TrimSpace(string(name))); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("affinity of thread %d: %w", tid, err)
		}
	}
	return nil
}

func coreList(set *unix.CPUSet) []int {
	var cores []int
	for core := range coreMax + 1 {
		if set.IsSet(core) {
			cores = append(cores, core)
		}
	}
	return cores
}

// placement says where the threads of a process run. The zero placement leaves them alone.
type placement struct {
	cores   []int // by reactor; -1 is anywhere
	allowed unix.CPUSet
	house   unix.CPUSet // for everything but reactors
	pinned  bool
}

// place checks the cores that are wanted. Where pinning would leave no core over, nothing is pinned: a starved Go runtime
// stalls the reactors with it.
func place(want []int) (*placement, error) {
	p := &placement{cores: slices.Clone(want)}
	if !slices.ContainsFunc(want, func(core int) bool { return core >= 0 }) {
		return p, nil
	}
	allowed, err := allowedCores()
	if err != nil {
		return nil, err
	}
	p.allowed, p.house, p.pinned = *allowed, *allowed, true
	for _, core := range want {
		if core < 0 {
			continue
		}
		if !p.house.IsSet(core) {
			return nil, fmt.Errorf("core %d is not available, or named twice (the process may use %v)", core, coreList(allowed))
		}
		p.house.Clear(core)
	}
	if p.house.Count() == 0 {
		p.pinned = false
		for i := range p.cores {
			p.cores[i] = -1
		}
	}
	return p, nil
}

// confine moves every thread that is not a reactor's to set. Threads made later inherit it from those.
func confine(set *unix.CPUSet) error {
	return eachThread(func(tid int, name string) error {
		if strings.HasPrefix(name, threadName) || strings.HasPrefix(name, "iou-") {
			return nil
		}
		return unix.SchedSetaffinity(tid, set)
	})
}

// pin names the calling thread, and confines it to one core; -1 leaves it where it is.
func pin(id, core int) error {
	comm := filepath.Join(taskDir, strconv.Itoa(unix.Gettid()), "comm")
	_ = os.WriteFile(comm, []byte(threadName+strconv.Itoa(id)), 0) // A name is a courtesy.
	if core < 0 {
		return nil
	}
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	return nil
}

// spareProcs lets the control plane and the collector run while all reactors spin.
func spareProcs(reactors int) {
	if want := reactors + 1; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
}

package reactor

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseMask(t *testing.T) {
	cases := []struct {
		in   string
		want []int
		err  string
	}{
		{in: "0x1", want: []int{0}},
		{in: "0x3", want: []int{0, 1}},
		{in: "f0", want: []int{4, 5, 6, 7}},
		{in: "0X8000000000000001", want: []int{0, 63}},
		{in: "0x10000000000000000", want: []int{64}},
		{in: "[0,1]", want: []int{0, 1}},
		{in: "[0-2, 8]", want: []int{0, 1, 2, 8}},
		{in: "[1,0,1]", want: []int{0, 1}},
		{in: "0x0", err: "no core"},
		{in: "", err: "hexadecimal"},
		{in: "0x", err: "hexadecimal"},
		{in: "zz", err: "hexadecimal"},
		{in: "[0,1", err: "no ]"},
		{in: "[]", err: "neither"},
		{in: "[2-1]", err: "neither"},
		{in: "[-1]", err: "neither"},
		{in: "[5000]", err: "neither"},
	}
	for _, c := range cases {
		got, err := ParseMask(c.in)
		if c.err == "" && (err != nil || !slices.Equal(got, c.want)) {
			t.Errorf("%q: got %v, %v, want %v", c.in, got, err, c.want)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: got %v, %v, want an error with %q", c.in, got, err, c.err)
		}
	}
}

func TestDefaultCores(t *testing.T) {
	for _, c := range []struct{ allowed, want []int }{
		{[]int{0}, []int{-1}},
		{[]int{0, 1}, []int{1}},
		{[]int{2, 5, 7}, []int{5}},
		{[]int{0, 1, 2, 3}, []int{1, 2, 3}},
	} {
		if got := defaultCores(c.allowed); !slices.Equal(got, c.want) {
			t.Errorf("of %v: got %v, want %v", c.allowed, got, c.want)
		}
	}
}

func TestPinnedReactorHasItsCoreAlone(t *testing.T) {
	allowed, err := allowedCores()
	if err != nil {
		t.Fatal(err)
	}
	if allowed.Count() < 2 {
		t.Skip("needs two cores")
	}
	core := coreList(allowed)[1]
	g, err := Start(Config{Cores: []int{core}})
	if err != nil {
		t.Fatal(err)
	}
	reactors := 0
	err = eachThread(func(tid int, name string) error {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(tid, &set); err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(name, threadName):
			reactors++
			if !slices.Equal(coreList(&set), []int{core}) {
				t.Errorf("%s runs on %v, want core %d", name, coreList(&set), core)
			}
		case set.IsSet(core):
			t.Errorf("thread %d (%s) may run on the reactor's core %d", tid, name, core)
		}
		return nil
	})
	if err != nil || reactors != 1 {
		t.Errorf("%d reactor threads, err %v", reactors, err)
	}
	g.Stop()
	if after, err := allowedCores(); err != nil || *after != *allowed {
		t.Errorf("after Stop the process may use %v, before %v", coreList(after), coreList(allowed))
	}
}

func TestNoCoreLeftOverMeansNoPinning(t *testing.T) {
	allowed, err := allowedCores()
	if err != nil {
		t.Fatal(err)
	}
	p, err := place(coreList(allowed))
	if err != nil || p.pinned || slices.ContainsFunc(p.cores, func(core int) bool { return core != -1 }) {
		t.Errorf("pinned %v, cores %v, err %v", p.pinned, p.cores, err)
	}
	if _, err := place([]int{0, 0}); err == nil {
		t.Error("the same core twice is no error")
	}
	if _, err := Start(Config{Cores: []int{coreMax}}); err == nil {
		t.Error("a core that does not exist is no error")
	}
}

func TestDefaultCoresAreAvailable(t *testing.T) {
	cores, err := DefaultCores()
	if err != nil || len(cores) == 0 {
		t.Fatalf("%v, %v", cores, err)
	}
	if _, err := place(cores); err != nil {
		t.Error(err)
	}
}

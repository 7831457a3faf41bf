package test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// layers is the import table: what the non-test files of a package may import of ours. Patterns are those of path.Match;
// the first row that matches a package is its row. A row for a package that does not exist says where it would stand.
var layers = []struct {
	pkg string
	may []string
}{
	{"rpc", nil},
	{"reactor/uring", nil},
	{"reactor/iobuf", nil},
	{"reactor", []string{"reactor/uring", "reactor/iobuf", "rpc"}},
	{"reactor/sock", []string{"reactor", "reactor/uring", "reactor/iobuf"}},
	{"bdev", []string{"reactor", "reactor/iobuf", "rpc"}},
	{"bdev/replicated/engine", nil},
	{"bdev/replicated/meta", nil},
	{"bdev/replicated/leg", []string{"bdev/replicated/engine", "bdev/replicated/meta"}},
	{"bdev/replicated", []string{"bdev", "reactor", "reactor/*", "rpc", "bdev/replicated/*"}},
	{"bdev/*", []string{"bdev", "reactor", "reactor/*", "rpc"}},
	{"scsi", []string{"bdev", "reactor", "reactor/iobuf", "rpc"}},
	{"iscsi", []string{"scsi", "bdev", "reactor", "reactor/*", "rpc"}},
	{"iscsi/initiator", []string{"iscsi", "reactor", "reactor/*"}},
	{"iscsi/initiator/bench", []string{"iscsi", "iscsi/initiator", "reactor", "reactor/*"}},
	{"nbd", []string{"bdev", "reactor", "reactor/*", "rpc"}},
	{"nvmf", []string{"bdev", "reactor", "reactor/*", "rpc"}},
	{"", []string{"*", "*/*", "*/*/*"}},
}

// unsafeUsers are the packages that may import unsafe: they share memory with the kernel or with C.
var unsafeUsers = []string{"reactor/uring", "reactor/iobuf", "bdev/tcmur"}

// dataPath are the packages whose I/O runs on reactors: the standard library, these modules and our own code only.
var (
	dataPath        = []string{"reactor", "reactor/*", "bdev", "bdev/*", "scsi", "iscsi", "iscsi/*", "nbd", "nvmf"}
	dataPathModules = []string{"golang.org/x/sys", "github.com/libp2p/go-reuseport"}
)

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestImportsFollowTheLayers(t *testing.T) {
	for _, p := range ourPackages(t) {
		from := ours(p.ImportPath)
		if isTestSupport(from) {
			continue
		}
		may, ok := row(from)
		if !ok {
			t.Errorf("Design question: where does package %s stand? It has no row in the table of test/layering_test.go.", from)
			continue
		}
		for _, to := range p.Imports {
			switch {
			case !isOurs(to):
			case isTestSupport(ours(to)):
				t.Errorf("Design question: %s imports %s, which is for tests. What does the program need of it?", show(from), ours(to))
			case !matchAny(may, ours(to)):
				t.Errorf("Design question: should %s know %s? Its row allows %s. "+
					"Move what is shared down a layer, or hand it in from target.go.", show(from), show(ours(to)), list(may))
			}
		}
	}
}

func TestUnsafeStaysWhereMemoryIsShared(t *testing.T) {
	for _, p := range ourPackages(t) {
		from := ours(p.ImportPath)
		if slices.Contains(p.Imports, "unsafe") && !slices.Contains(unsafeUsers, from) && !isTestSupport(from) {
			t.Errorf("Design question: why does %s need unsafe? It is confined to %s, which give typed views.", show(from), list(unsafeUsers))
		}
	}
}

func TestDataPathHasFewDependencies(t *testing.T) {
	for _, p := range ourPackages(t) {
		from := ours(p.ImportPath)
		if !matchAny(dataPath, from) || isTestSupport(from) {
			continue
		}
		for _, to := range p.Imports {
			if isStandard(to) || isOurs(to) || slices.ContainsFunc(dataPathModules, func(m string) bool { return within(to, m) }) {
				continue
			}
			t.Errorf("Design question: %s is on the data path; does it need %s? Allowed there: the standard library, %s.",
				show(from), to, list(dataPathModules))
		}
	}
}

// TestTableRejects shows that the table can say no: each edge here is one that the design forbids.
func TestTableRejects(t *testing.T) {
	for _, edge := range [][2]string{
		{"rpc", "bdev"},
		{"reactor", "reactor/sock"},
		{"bdev", "scsi"},
		{"bdev/malloc", "bdev/aio"},
		{"bdev/replicated/engine", "bdev"},
		{"scsi", "iscsi"},
		{"iscsi", "nbd"},
		{"nbd", "scsi"},
	} {
		may, ok := row(edge[0])
		if !ok || matchAny(may, edge[1]) {
			t.Errorf("the table lets %s import %s", edge[0], edge[1])
		}
	}
}

// ourPackages lists the packages of this module, the files of the invariants build included.
func ourPackages(t *testing.T) []goPackage {
	t.Helper()
	byPath := map[string]goPackage{}
	for _, tags := range []string{"", "invariants"} {
		cmd := exec.Command("go", "list", "-e", "-tags", tags, "-json=ImportPath,Imports", "./...")
		cmd.Dir = ".."
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		dec := json.NewDecoder(strings.NewReader(string(out)))
		for {
			var p goPackage
			if err := dec.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("go list: %v", err)
			}
			known := append(byPath[p.ImportPath].Imports, p.Imports...)
			slices.Sort(known)
			p.Imports = slices.Compact(known)
			byPath[p.ImportPath] = p
		}
	}
	return slices.SortedFunc(maps.Values(byPath), func(a, b goPackage) int { return strings.Compare(a.ImportPath, b.ImportPath) })
}

func isOurs(imported string) bool { return within(imported, "pollux") }

func within(imported, module string) bool {
	return imported == module || strings.HasPrefix(imported, module+"/")
}

// ours is an import path without the module's name; main is "".
func ours(imported string) string {
	return strings.TrimPrefix(strings.TrimPrefix(imported, "pollux"), "/")
}

// isTestSupport tells packages that only tests may import: everything under test/, and folders named SOMETHINGtest.
func isTestSupport(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return first == "test" || strings.HasSuffix(path.Base(pkg), "test")
}

func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func row(pkg string) (may []string, ok bool) {
	for _, l := range layers {
		if matchAny([]string{l.pkg}, pkg) {
			return l.may, true
		}
	}
	return nil, false
}

func matchAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, pkg)
		return ok && err == nil
	})
}

func show(pkg string) string {
	if pkg == "" {
		return "main"
	}
	return pkg
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing of ours"
	}
	return strings.Join(names, ", ")
}

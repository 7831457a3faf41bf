package tcmur

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// defaultDirs are where distributions put tcmu-runner's handlers.
var defaultDirs = []string{
	"/usr/lib/x86_64-linux-gnu/tcmu-runner", "/usr/lib/aarch64-linux-gnu/tcmu-runner", "/usr/lib64/tcmu-runner",
	"/usr/lib/tcmu-runner", "/usr/local/lib/tcmu-runner",
}

// probeTimeout bounds a look at a handler: its handler_init runs.
const probeTimeout = 10 * time.Second

// probeOutputMax is how much a handler may say of itself, in bytes.
const probeOutputMax = 64 << 10

// bounded is what a process has written, probeOutputMax at most: more than that ends the reading.
type bounded []byte

func (b *bounded) Write(p []byte) (int, error) {
	if len(*b)+len(p) > probeOutputMax {
		return 0, fmt.Errorf("more than %d bytes of output: %w", probeOutputMax, syscall.EMSGSIZE)
	}
	*b = append(*b, p...)
	return len(p), nil
}

// Handler is what a handler says of itself.
type Handler struct {
	Path        string
	Subtype     string
	Name        string
	Description string
	ABI         string
	Threads     int // nr_threads; 0: asynchronous
	ops         opSet
	Error       string // why it cannot be used
}

// cachedByKernel are subtypes whose handlers keep no data in their process: what they have acknowledged survives them.
var cachedByKernel = map[string]bool{"file": true, "qcow": true, "ram": true}

// subtypeOf is the first word of a configuration string in either form: subtype/rest, or /subtype/rest.
func subtypeOf(cfg string) string {
	subtype, _, _ := strings.Cut(strings.TrimPrefix(cfg, "/"), "/")
	return subtype
}

func (l *launch) subtype() string { return subtypeOf(l.cfg) }

// restOf is what follows the subtype: for the form with a leading slash it begins with a slash.
func restOf(cfg string) string {
	if rest, leading := strings.CutPrefix(cfg, "/"); leading {
		_, after, _ := strings.Cut(rest, "/")
		return "/" + after
	}
	_, after, _ := strings.Cut(cfg, "/")
	return after
}

// findHandler is the file for a subtype or a path: handler_SUBTYPE.so in one of the directories, or the one there which says
// that it has the subtype.
func (m *Module) findHandler(ctx context.Context, handler, cfg string) (string, error) {
	if strings.Contains(handler, "/") {
		return handler, nil
	}
	subtype := handler
	if subtype == "" {
		subtype = subtypeOf(cfg)
	}
	if subtype == "" {
		return "", fmt.Errorf("cfgstr %q names no handler (subtype/...): %w", cfg, syscall.EINVAL)
	}
	for _, dir := range m.config.Dirs {
		path := filepath.Join(dir, "handler_"+subtype+".so")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	for _, h := range m.Handlers(ctx) {
		if h.Subtype == subtype {
			return h.Path, nil
		}
	}
	return "", fmt.Errorf("no handler for %q in %s; give the parameter handler: %w", subtype, strings.Join(m.config.Dirs, ", "), syscall.ENOENT)
}

// Handlers lists the handlers in the directories, each looked at by a process of its own.
func (m *Module) Handlers(ctx context.Context) []Handler {
	var all []Handler
	for _, dir := range m.config.Dirs {
		paths, _ := filepath.Glob(filepath.Join(dir, "handler_*.so"))
		for _, path := range paths {
			all = append(all, m.probe(ctx, path))
		}
	}
	return all
}

// probe has a helper load the handler and say what it is.
func (m *Module) probe(ctx context.Context, path string) Handler {
	h := Handler{Path: path}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.config.Helper, "probe="+path, "abi=auto")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bounded
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		h.Error = err.Error()
	}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		h.set(key, unescape(value))
	}
	return h
}

func (h *Handler) set(key, value string) {
	switch key {
	case "subtype":
		h.Subtype = value
	case "name":
		h.Name = value
	case "cfg_desc":
		h.Description = value
	case "abi":
		h.ABI = value
	case "ops":
		h.ops.parse(value)
	case "nr_threads":
		h.Threads, _ = strconv.Atoi(value)
	case "error":
		h.Error = value
	}
}

var unescape = strings.NewReplacer(`\n`, "\n", `\\`, `\`).Replace

// Operations lists what the handler has callouts for.
func (h *Handler) Operations() []string {
	if h.Error != "" {
		return []string{}
	}
	names := []string{"read"}
	for _, o := range []struct {
		name string
		has  bool
	}{
		{"write", h.ops.write},
		{"flush", h.ops.flush},
		{"unmap", h.ops.unmap},
		{"writesame", h.ops.writeSame},
		{"caw", h.ops.caw},
		{"lock", h.ops.lock},
		{"reconfig", h.ops.reconfig},
	} {
		if o.has {
			names = append(names, o.name)
		}
	}
	return slices.Clip(names)
}

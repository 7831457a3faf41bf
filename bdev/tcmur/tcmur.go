package tcmur

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"pollux/bdev"
)

// ProductName is what clients compare to tell these devices from others.
const ProductName = "TCMU runner handler"

// helperName is the program that runs a handler; `make build` puts it beside the target's.
const helperName = "pollux-tcmur-helper"

// The defaults of Options, and the bounds of what a handler may say.
const (
	blockSizeDefault = 512
	sizeDefault      = 1 << 30 // of file and ram handlers, for what does not exist yet
	timeoutDefault   = 60 * time.Second
	restartsDefault  = 10
	// zeroesMax is the largest range that is zeroed by one request: without writesame it is written in pieces.
	zeroesMax = 32 << 20
	unmapMax  = 1 << 30
)

// Config is what the module needs to know of its surroundings.
type Config struct {
	Helper string   // the helper program; empty: beside the running program
	Dirs   []string // where handlers are looked for; empty: where distributions put them
}

// Options describe a device.
type Options struct {
	Name        string
	Cfg         string // subtype/rest as for tcmu-runner, or /subtype/rest
	Handler     string // a file or a subtype; empty: the subtype in Cfg
	Minor       *uint32
	Size        uint64 // bytes; 0: of the image or file
	BlockSize   uint32
	Threads     int    // at most the handler's nr_threads; 0: that
	ABI         string // auto, or the version that the handler was built for
	NoLock      bool   // do not take the handler's lock
	User        string // whom the helper runs as; empty: as the target
	Timeout     time.Duration
	RestartsMax int // within a minute; then the device is offline
	UUID        [16]byte
}

// errEnding is why nothing is opened any more.
var errEnding = fmt.Errorf("the target is ending: %w", syscall.ESHUTDOWN)

// Module makes devices of handlers. Control plane.
type Module struct {
	registry *bdev.Registry
	config   Config
	life     context.Context // ends when the target begins to end
	ending   context.CancelCauseFunc
	closing  sync.WaitGroup // supervisors that end beside one another while the target ends
}

// New makes the module over a registry.
func New(g *bdev.Registry, c Config) *Module {
	if c.Helper == "" {
		c.Helper = besideUs()
	}
	if len(c.Dirs) == 0 {
		c.Dirs = defaultDirs
	}
	m := &Module{registry: g, config: c}
	m.life, m.ending = context.WithCancelCause(context.Background())
	g.AddModule(bdev.Module{Name: "tcmur", Ending: func() { m.ending(errEnding) }, Close: m.close})
	return m
}

// close returns when the last helper is gone.
func (m *Module) close() error {
	m.closing.Wait()
	return nil
}

// besideUs is where the helper is expected.
func besideUs() string {
	self, err := os.Executable()
	if err != nil {
		return helperName
	}
	return filepath.Join(filepath.Dir(self), helperName)
}

// Create opens a device through its handler and registers it.
func (m *Module) Create(ctx context.Context, o Options) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(m.life, func() { cancel(errEnding) })
	defer stop()
	o.setDefaults()
	if err := m.check(&o); err != nil {
		return "", err
	}
	s, h, err := m.open(ctx, o)
	if err != nil {
		return "", fmt.Errorf("bdev %s: %w", o.Name, err)
	}
	dev, err := m.registry.Register(m.spec(o, s, h))
	if err != nil {
		s.abandon(h)
		return "", err
	}
	s.dev = dev
	go s.run(h)
	m.followRemoval(o.Name, s)
	return o.Name, nil
}

// followRemoval has the supervisor know when the device begins to be removed, by whomever. (Destroy comes after the last request
// has ended.)
func (m *Module) followRemoval(name string, s *supervisor) {
	var desc *bdev.Desc
	var err error
	opened := make(chan struct{})
	desc, err = m.registry.Open(name, bdev.OpenOptions{Event: func(e bdev.Event) {
		if e == bdev.EventRemove {
			s.depart()
			<-opened
			desc.Close()
		}
	}})
	if err != nil {
		s.depart() // It is being removed already.
	}
	close(opened)
}

func (o *Options) setDefaults() {
	if o.BlockSize == 0 {
		o.BlockSize = blockSizeDefault
	}
	if o.ABI == "" {
		o.ABI = "auto"
	}
	if o.Timeout == 0 {
		o.Timeout = timeoutDefault
	}
	if o.RestartsMax == 0 {
		o.RestartsMax = restartsDefault
	}
}

func (m *Module) check(o *Options) error {
	if _, err := os.Stat(m.config.Helper); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("bdev %s: there is no %s: `make build` makes it where gcc is installed: %w", o.Name, m.config.Helper, syscall.ENOENT)
	}
	if _, err := m.registry.Lookup(o.Name); err == nil {
		return fmt.Errorf("bdev %s: %w", o.Name, syscall.EEXIST)
	}
	if strings.ContainsRune(o.Cfg, 0) || strings.ContainsRune(o.Name, 0) {
		return fmt.Errorf("bdev %q: a zero byte: %w", o.Name, syscall.EINVAL)
	}
	return bdev.CheckGeometry(o.Name, o.BlockSize, max(1, o.Size/uint64(o.BlockSize)))
}

// open makes the supervisor with its first helper.
func (m *Module) open(ctx context.Context, o Options) (*supervisor, *helper, error) {
	path, err := m.findHandler(ctx, o.Handler, o.Cfg)
	if err != nil {
		return nil, nil, err
	}
	log := m.registry.Log().With("bdev", o.Name, "handler", filepath.Base(path))
	img, size, err := sizeOf(o)
	if err != nil {
		return nil, nil, err
	}
	if img != nil {
		if err := img.verify(ctx, log); err != nil {
			return nil, nil, err
		}
	}
	d, err := newDisk(o.Name, len(m.registry.Group().Reactors()))
	if err != nil {
		return nil, nil, err
	}
	s := &supervisor{
		d: d, module: m, group: m.registry.Group(), log: log, image: img, limit: o.RestartsMax,
		orders: make(chan order), ended: make(chan struct{}),
		launch: launch{
			program: m.config.Helper, handler: path, cfg: o.Cfg, name: o.Name, size: size, blockSize: o.BlockSize,
			threads: o.Threads, abi: o.ABI, lock: !o.NoLock, user: o.User, timeout: o.Timeout,
			pipes: d.pipes, logs: newLogPump(log),
		},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.here, s.leave = context.WithCancel(s.ctx)
	s.unfollow = context.AfterFunc(m.life, s.depart)
	d.supervisor, d.timeout = s, o.Timeout
	h, err := startHelper(ctx, s.launch)
	if err == nil {
		err = d.adopt(h)
	}
	if err != nil {
		s.abandon(h)
		return nil, nil, err
	}
	s.size = h.ready.size
	s.setState("up", h.cmd.Process.Pid)
	return s, h, nil
}

// abandon undoes open.
func (s *supervisor) abandon(h *helper) {
	if h != nil {
		_ = h.stop() // The error that brought us here says more.
		h.region.release()
	}
	s.unfollow()
	s.cancel()
	s.d.closePipes()
}

// adopt takes what the handler says of the device.
func (d *disk) adopt(h *helper) error {
	r := &h.ready
	if bits.OnesCount32(r.blockSize) != 1 {
		return fmt.Errorf("the handler has set a block size of %d: %w", r.blockSize, syscall.EINVAL)
	}
	if r.writeCache && !r.ops.flush {
		return fmt.Errorf("the handler has a write cache and no flush: %w", syscall.ENOTSUP)
	}
	r.ops.write = r.ops.write && !r.writeProtect
	d.shift = uint8(bits.TrailingZeros32(r.blockSize))
	d.ops, d.writeCache = r.ops, r.writeCache
	d.unmapUnit = uint64(max(r.unmapGran, r.unmapAlign)) << d.shift
	if d.unmapUnit == 1<<d.shift {
		d.unmapUnit = 0
	}
	d.helper.Store(h)
	d.state.Store(stateUp)
	return nil
}

// sizeOf is what the handler is told of the size, and the image if it must be looked after.
func sizeOf(o Options) (*image, uint64, error) {
	path := restOf(o.Cfg)
	switch subtypeOf(o.Cfg) {
	case "qcow":
		img, err := openImage(path)
		if err != nil {
			return nil, 0, err
		}
		if o.Size != 0 && o.Size != img.size {
			return nil, 0, fmt.Errorf("the image has %d bytes, not %d: %w", img.size, o.Size, syscall.EINVAL)
		}
		return img, img.size, nil
	case "file", "ram":
		return nil, fileSize(o, path), nil
	}
	if o.Size == 0 {
		return nil, 0, fmt.Errorf("the handler %s cannot tell the size beforehand; give the parameter size: %w", subtypeOf(o.Cfg), syscall.EINVAL)
	}
	return nil, o.Size, nil
}

func fileSize(o Options, path string) uint64 {
	if o.Size != 0 {
		return o.Size
	}
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Size() >= int64(o.BlockSize) {
		return uint64(st.Size()) &^ uint64(o.BlockSize-1)
	}
	return sizeDefault
}

func (m *Module) spec(o Options, s *supervisor, h *helper) bdev.Spec {
	r, d := &h.ready, s.d
	perBlock := func(bytes uint64) uint64 { return max(1, bytes>>d.shift) }
	transfer := perBlock(transferMax)
	if r.maxXfer != 0 {
		transfer = min(transfer, uint64(r.maxXfer))
	}
	unmap := perBlock(unmapMax)
	if r.maxUnmap != 0 {
		unmap = min(unmap, uint64(r.maxUnmap))
	}
	return bdev.Spec{
		Name: o.Name, UUID: o.UUID, ProductName: ProductName, BlockSize: r.blockSize, Blocks: r.size >> d.shift,
		ReadOnly: !d.ops.write, WriteCache: d.writeCache,
		Limits: bdev.Limits{
			MaxTransferBlocks: uint32(transfer), MaxUnmapBlocks: unmap, MaxWriteZeroesBlocks: perBlock(zeroesMax),
			UnmapGranularityBlocks: r.unmapGran, UnmapAlignmentBlocks: r.unmapAlign,
		},
		Backend: d, DriverSpecific: s.driverSpecific, Config: o.config,
	}
}

// Delete removes a device; it returns when its helper is gone. Errors: ENODEV.
func (m *Module) Delete(name string) error {
	if _, err := m.lookup(name); err != nil {
		return err
	}
	return m.registry.Unregister(name)
}

// Resize has the handler give a device another size, in bytes. Errors: ENODEV, EINVAL, EOPNOTSUPP, what the handler says.
func (m *Module) Resize(name string, size uint64) error {
	s, err := m.lookup(name)
	if err != nil {
		return err
	}
	if err := bdev.CheckGeometry(name, 1<<s.d.shift, size>>s.d.shift); err != nil {
		return err
	}
	return s.give(order{resize: size})
}

// Restart brings a device back that is offline. Errors: ENODEV.
func (m *Module) Restart(name string) error {
	s, err := m.lookup(name)
	if err != nil {
		return err
	}
	return s.give(order{restart: true})
}

// PID is the process ID of a device's helper, 0 while there is none. Errors: ENODEV.
func (m *Module) PID(name string) (int, error) {
	s, err := m.lookup(name)
	if err != nil {
		return 0, err
	}
	return s.copyReport().PID, nil
}

func (m *Module) lookup(name string) (*supervisor, error) {
	_, d, err := bdev.LookupOf[*disk](m.registry, name, "a tcmur device")
	if err != nil {
		return nil, err
	}
	return d.supervisor, nil
}

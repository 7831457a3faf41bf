package tcmur

import (
	"context"
	"path"
	"time"

	"pollux/bdev"
	"pollux/rpc"
)

// createParams are those of bdev_tcmur_create: minor, name and cfgstr are the 2019 fork's.
type createParams struct {
	Minor       *uint32    `json:"minor"`
	Name        string     `json:"name"`
	Cfg         string     `json:"cfgstr"`
	Handler     string     `json:"handler,omitempty"`
	Size        uint64     `json:"size,omitempty"` // bytes
	BlockSize   uint32     `json:"block_size,omitempty"`
	Threads     int        `json:"threads,omitempty" min:"0" max:"1024"`
	ABI         string     `json:"abi,omitempty"`
	Lock        bool       `json:"lock,omitempty"`
	User        string     `json:"user,omitempty"`
	TimeoutSec  uint32     `json:"timeout_sec,omitempty" min:"1" max:"86400"`
	RestartsMax int        `json:"restarts_max,omitempty" min:"1" max:"1000000"`
	UUID        *bdev.UUID `json:"uuid"`
}

func (p *createParams) SetDefaults() {
	p.Lock, p.ABI, p.BlockSize = true, "auto", blockSizeDefault
	p.TimeoutSec, p.RestartsMax = uint32(timeoutDefault/time.Second), restartsDefault
}

type resizeParams struct {
	Name string `json:"name"`
	Size uint64 `json:"size" min:"1"` // bytes
}

// handlerInfo is an element of bdev_tcmur_get_handlers.
type handlerInfo struct {
	Path        string   `json:"path"`
	Subtype     string   `json:"subtype"`
	Name        string   `json:"name"`
	Description string   `json:"cfg_desc"`
	ABI         string   `json:"abi"`
	Threads     int      `json:"nr_threads"`
	Operations  []string `json:"operations"`
	Usable      bool     `json:"usable"`
	Error       string   `json:"error,omitempty"`
}

// Register adds the module's methods to s.
func (m *Module) Register(s *rpc.Server) {
	rpc.Handle(s, rpc.Runtime, "bdev_tcmur_create", m.create).Waits().
		Help("Make a block device of a tcmu-runner handler, in a process of its own.")
	bdev.HandleDelete(s, "bdev_tcmur_delete", m.Delete).
		Help("Remove a tcmur device and end its helper.")
	rpc.Handle(s, rpc.Runtime, "bdev_tcmur_resize", func(_ context.Context, p resizeParams) (rpc.None, error) {
		return rpc.None{}, bdev.Busy(m.Resize(p.Name, p.Size))
	}).Waits().
		Help("Have the handler give a tcmur device another size, in bytes.")
	rpc.Handle(s, rpc.Runtime, "bdev_tcmur_restart", func(_ context.Context, p bdev.NameParams) (rpc.None, error) {
		return rpc.None{}, m.Restart(p.Name)
	}).Waits().
		Help("Bring a tcmur device back that is offline after too many crashes.")
	rpc.Handle(s, rpc.Runtime, "bdev_tcmur_get_handlers", m.getHandlers).Waits().
		Help("List the tcmu-runner handlers that are installed.")
	registerSecondNames(s, m.registry)
}

func (m *Module) create(ctx context.Context, p createParams) (string, error) {
	return m.Create(context.WithoutCancel(ctx), Options{
		Name: p.Name, Cfg: p.Cfg, Handler: p.Handler, Minor: p.Minor, Size: p.Size, BlockSize: p.BlockSize, Threads: p.Threads,
		ABI: p.ABI, NoLock: !p.Lock, User: p.User, Timeout: time.Duration(p.TimeoutSec) * time.Second,
		RestartsMax: p.RestartsMax, UUID: p.UUID.Bytes(),
	})
}

func (m *Module) getHandlers(ctx context.Context, _ rpc.None) ([]handlerInfo, error) {
	infos := []handlerInfo{}
	for _, h := range m.Handlers(ctx) {
		infos = append(infos, handlerInfo{
			Path: h.Path, Subtype: h.Subtype, Name: h.Name, Description: h.Description, ABI: h.ABI, Threads: h.Threads,
			Operations: h.Operations(), Usable: h.Error == "", Error: h.Error,
		})
	}
	return infos, nil
}

// driverSpecific is what bdev_get_bdevs shows.
func (s *supervisor) driverSpecific() any {
	r := s.copyReport()
	type state struct {
		Cfg          string `json:"cfgstr"`
		Handler      string `json:"handler"`
		State        string `json:"state"`
		PID          int    `json:"pid,omitempty"`
		Restarts     int    `json:"restarts"`
		LastError    string `json:"last_error,omitempty"`
		DroppedLines uint64 `json:"dropped_log_lines,omitempty"`
	}
	return map[string]state{"tcmur": {
		Cfg: s.launch.cfg, Handler: s.launch.handler, State: r.State, PID: r.PID, Restarts: r.Restarts, LastError: r.LastError,
		DroppedLines: s.launch.logs.dropped.Load(),
	}}
}

// config is the call that makes the device again.
func (o Options) config(d *bdev.Device) []rpc.ConfigEntry {
	size := o.Size
	if size != 0 {
		size = d.Blocks() * uint64(d.BlockSize())
	}
	return []rpc.ConfigEntry{{Method: "bdev_tcmur_create", Params: struct {
		Minor       *uint32   `json:"minor,omitempty"`
		Name        string    `json:"name"`
		Cfg         string    `json:"cfgstr"`
		Handler     string    `json:"handler,omitempty"`
		Size        uint64    `json:"size,omitempty"`
		BlockSize   uint32    `json:"block_size"`
		Threads     int       `json:"threads,omitempty"`
		ABI         string    `json:"abi"`
		Lock        bool      `json:"lock"`
		User        string    `json:"user,omitempty"`
		TimeoutSec  uint32    `json:"timeout_sec"`
		RestartsMax int       `json:"restarts_max"`
		UUID        bdev.UUID `json:"uuid"`
	}{
		o.Minor, o.Name, o.Cfg, o.Handler, size, o.BlockSize, o.Threads, o.ABI, !o.NoLock, o.User,
		uint32(o.Timeout / time.Second), o.RestartsMax, d.UUID(),
	}}}
}

// bioDir is the folder in which the 2019 fork kept its second names.
const bioDir = "/UMCfuse/dev/"

type bioParams struct {
	Name     string `json:"name"`
	Filename string `json:"filename"`
}

// registerSecondNames adds the 2019 fork's calls that put a device under a second name. They are calls of the passthru module,
// which is what a saved configuration shows.
func registerSecondNames(s *rpc.Server, g *bdev.Registry) {
	passthru := func(ctx context.Context, base, name string) (string, error) {
		_, err := s.Call(ctx, "bdev_passthru_create", map[string]string{"base_bdev_name": base, "name": name})
		return name, err
	}
	remove := func(ctx context.Context, name string) (rpc.None, error) {
		_, err := s.Call(ctx, "bdev_passthru_delete", map[string]string{"name": name})
		return rpc.None{}, err
	}
	rpc.Handle(s, rpc.Runtime, "bdev_bio_create", func(ctx context.Context, p bioParams) (string, error) {
		return passthru(ctx, bioBase(g, p.Filename), p.Name)
	}).Help("Put a block device, named by filename or its last part, under a second name.")
	rpc.Handle(s, rpc.Runtime, "bdev_bio_delete", func(ctx context.Context, p bdev.NameParams) (rpc.None, error) {
		return remove(ctx, p.Name)
	}).Waits().Help("Remove the second name of bdev_bio_create.")
	rpc.Handle(s, rpc.Runtime, "bio_spdk_create", func(ctx context.Context, p bdev.NameParams) (string, error) {
		return passthru(ctx, p.Name, bioDir+p.Name)
	}).Help("Put a block device under the second name " + bioDir + "NAME.")
	rpc.Handle(s, rpc.Runtime, "bio_spdk_delete", func(ctx context.Context, p bdev.NameParams) (rpc.None, error) {
		return remove(ctx, bioDir+p.Name)
	}).Waits().Help("Remove the second name of bio_spdk_create.")
}

// bioBase is the device that a file name of the fork stands for: one of this name, or of its last part.
func bioBase(g *bdev.Registry, filename string) string {
	if _, err := g.Lookup(filename); err == nil {
		return filename
	}
	return path.Base(filename)
}

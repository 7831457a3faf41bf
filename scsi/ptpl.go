package scsi

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"pollux/bdev"
	"pollux/reactor"
)

// ptplFile keeps the registrations and the persistent reservation of a LUN through a loss of power, once an initiator has asked for that
// by APTPL (SPC-5 5.14.5). It is replaced as a whole: after a crash it holds what was before a change or what came of it, and
// never something else. A change is in the file before anybody sees it, and so before it is answered.
type ptplFile struct {
	path string
	uuid bdev.UUID
	// start has a function that waits for storage run outside the reactors.
	start func(func())
}

// ptplVersion is of the form of the file.
const ptplVersion = 1

// ptplState is what is in the file.
type ptplState struct {
	Version     int              `json:"version"`
	UUID        bdev.UUID        `json:"bdev_uuid"`
	PTPL        bool             `json:"ptpl"`
	Kind        reservationType  `json:"rtype,omitempty"`
	Holder      *ptplNexus       `json:"holder,omitempty"` // unless all registrants hold the reservation
	Registrants []ptplRegistrant `json:"registrants"`
}

type ptplNexus struct {
	Initiator string `json:"initiator_port"`
	Port      uint16 `json:"target_port"` // relative target port identifier
}

type ptplRegistrant struct {
	Key         string `json:"rkey"` // hexadecimal, with 0x
	TransportID string `json:"transport_id"`
	ptplNexus
}

// ptplStateOf is what r leaves behind: nothing, unless APTPL was asked for.
func ptplStateOf(uuid bdev.UUID, r *reservations) ptplState {
	s := ptplState{Version: ptplVersion, UUID: uuid, PTPL: r.persistent, Registrants: []ptplRegistrant{}}
	if !r.persistent {
		return s
	}
	for _, g := range r.registrants {
		s.Registrants = append(s.Registrants, ptplRegistrant{
			fmt.Sprintf("%#016x", g.key), hex.EncodeToString([]byte(g.transportID)), ptplNexusOf(g.nexus),
		})
	}
	s.Kind = r.kind
	if r.kind != typeNone && !r.kind.isForAll() {
		holder := ptplNexusOf(r.holder)
		s.Holder = &holder
	}
	return s
}

func ptplNexusOf(k nexusKey) ptplNexus { return ptplNexus{k.initiator, k.port} }

// reservations is what the file stands for. PRGENERATION begins at zero (SPC-5 6.15.2).
func (s *ptplState) reservations() (reservations, error) {
	r := reservations{persistent: s.PTPL, kind: s.Kind}
	for _, g := range s.Registrants {
		key, err := strconv.ParseUint(g.Key, 0, 64)
		id, err2 := hex.DecodeString(g.TransportID)
		if err := errors.Join(err, err2); err != nil {
			return r, fmt.Errorf("registration of %s: %w", g.Initiator, err)
		}
		r.registrants = append(r.registrants, registrant{nexusKey{g.Initiator, g.Port}, string(id), key})
	}
	if s.Holder != nil {
		r.holder = nexusKey{s.Holder.Initiator, s.Holder.Port}
	}
	return r, s.check(&r)
}

// check refuses what no LUN can have left behind.
func (s *ptplState) check(r *reservations) error {
	switch {
	case s.Version != ptplVersion:
		return fmt.Errorf("version %d is not known", s.Version)
	case len(r.registrants) > RegistrantsMax:
		return fmt.Errorf("%d registrations, more than %d", len(r.registrants), RegistrantsMax)
	case r.kind != typeNone && !r.kind.isValid():
		return fmt.Errorf("reservation type %d is not known", r.kind)
	case r.kind == typeNone || r.kind.isForAll():
		if s.Holder != nil {
			return errors.New("a holder without a reservation of its own")
		}
	case s.Holder == nil || r.find(r.holder) < 0:
		return errors.New("the holder of the reservation is not registered")
	}
	return nil
}

// openPTPL takes the LUN's ptpl_file, if it is to have one, and returns what it holds. Control plane.
func (l *LUN) openPTPL() (reservations, error) {
	if l.options.PTPLFile == "" {
		return reservations{}, nil
	}
	path, err := filepath.Abs(l.options.PTPLFile)
	if err != nil {
		return reservations{}, fmt.Errorf("ptpl_file %s: %w", l.options.PTPLFile, err)
	}
	if folder, err := os.Stat(filepath.Dir(path)); err != nil || !folder.IsDir() {
		return reservations{}, fmt.Errorf("ptpl_file %s: its folder %s does not exist; make it first", path, filepath.Dir(path))
	}
	if err := l.device.set.takeFile(path); err != nil {
		return reservations{}, err
	}
	l.options.PTPLFile = path
	l.ptpl = &ptplFile{path: path, uuid: l.ident.uuid, start: func(fn func()) { go fn() }}
	return l.ptpl.load()
}

// closePTPL gives the file's name back; nothing is being written.
func (l *LUN) closePTPL() {
	if l.ptpl != nil {
		l.device.set.putFile(l.ptpl.path)
	}
}

// takeFile notes that a LUN has a ptpl_file, which no other one may have.
func (s *Devices) takeFile(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.files, path) {
		return fmt.Errorf("ptpl_file %s: %w: another LUN has it; each LUN needs a file of its own", path, ErrBusy)
	}
	s.files = append(s.files, path)
	return nil
}

func (s *Devices) putFile(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = slices.DeleteFunc(s.files, func(f string) bool { return f == path })
}

// load reads the file; one that is not there stands for nothing.
func (f *ptplFile) load() (reservations, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return reservations{}, nil
	}
	if err != nil {
		return reservations{}, fmt.Errorf("ptpl_file: %w", err)
	}
	var s ptplState
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return reservations{}, f.refuse(err)
	}
	if s.UUID != f.uuid {
		return reservations{}, f.refuse(fmt.Errorf("it belongs to the device with UUID %s, and this one has %s", s.UUID, f.uuid))
	}
	r, err := s.reservations()
	if err != nil {
		return reservations{}, f.refuse(err)
	}
	return r, nil
}

// refuse does not let a LUN begin without the fences that it may have had: somebody has to say so.
func (f *ptplFile) refuse(cause error) error {
	return fmt.Errorf("ptpl_file %s: %w; remove the file to begin without registrations", f.path, cause)
}

// save replaces the file. When it returns nil, r is what load returns after a loss of power.
func (f *ptplFile) save(r *reservations) error {
	text, err := json.MarshalIndent(ptplStateOf(f.uuid, r), "", "  ")
	if err != nil {
		return err
	}
	next := f.path + ".new"
	if err := writeDurably(next, append(text, '\n')); err != nil {
		return err
	}
	if err := os.Rename(next, f.path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(f.path))
}

func writeDurably(path string, text []byte) error {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return errors.Join(err, w.Sync(), w.Close())
}

// syncFolder makes a change of names durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// persist has e's registrations written before anybody sees them, and then goes on; the home reactor does not wait, but other changes of
// the LUN do. What cannot be written does not happen (on home).
func (l *LUN) persist(c *change, e effect) {
	var failed error
	written := &reactor.Message{}
	written.Bind(func() {
		if failed != nil {
			e = effect{status: StatusCheckCondition, sense: senseTargetFailure, field: -1}
		}
		l.publish(c, e)
	})
	next := &e.next.reservations
	l.ptpl.start(func() {
		if failed = l.ptpl.save(next); failed != nil {
			l.device.set.log.Error("registrations that persist through power loss cannot be written; the command fails",
				"device", l.device.name, "lun", l.number, "ptpl_file", l.ptpl.path, "cause", failed)
		}
		l.home.Send(written)
	})
}

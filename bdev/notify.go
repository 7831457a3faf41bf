package bdev

import (
	"context"
	"sync"

	"pollux/rpc"
)

// notificationsMax is how many notifications are kept.
const notificationsMax = 1024

// notification is a change of the list of devices.
type notification struct {
	Type string `json:"type"`
	Ctx  string `json:"ctx"` // the device's name
	ID   uint64 `json:"id"`
}

var changeNames = [...]string{ChangeRegister: "bdev_register", ChangeUnregister: "bdev_unregister", ChangeResize: "bdev_resize"}

// notifications are the last ones, with rising IDs from 0. Control plane.
type notifications struct {
	mu   sync.Mutex
	next uint64
	kept []notification
}

func (n *notifications) add(c Change, d *Device) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kept = append(n.kept, notification{changeNames[c], d.Name(), n.next})
	n.next++
	if len(n.kept) > notificationsMax {
		n.kept = n.kept[1:]
	}
}

type getNotificationsParams struct {
	ID  uint64  `json:"id,omitempty"`
	Max *uint64 `json:"max"`
}

// get lists those from an ID on.
func (n *notifications) get(_ context.Context, p getNotificationsParams) ([]notification, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := []notification{}
	for _, k := range n.kept {
		if k.ID >= p.ID && (p.Max == nil || uint64(len(list)) < *p.Max) {
			list = append(list, k)
		}
	}
	return list, nil
}

// registerNotify adds the methods that tell of changes.
func (g *Registry) registerNotify(s *rpc.Server) {
	n := &notifications{}
	g.Follow(n.add)
	rpc.Handle(s, rpc.Runtime, "notify_get_types", func(context.Context, rpc.None) ([]string, error) {
		return changeNames[:], nil
	}, "get_notification_types").
		Help("List the types of notifications.")
	rpc.Handle(s, rpc.Runtime, "notify_get_notifications", n.get, "get_notifications").
		DecodeError(rpc.CodeInvalidParams, "Invalid parameters").
		Help("List notifications from an ID on.")
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"pollux/bdev/aio"
)

// Names of what --malloc and --file make.
const (
	quickMallocName = "Malloc0"
	quickFileName   = "File0"
	quickTarget     = "disk0"
	quickBlockSize  = 512
	quickTag        = 1 // of the portal group and the initiator group
)

// served is what the user is told.
type served struct {
	iqn, what, host, port string
}

// serveQuick makes the LUN of the command line by the same calls that a client would make, so that save_config shows them.
func (t *target) serveQuick(ctx context.Context, q quickLUN) (served, error) {
	host, port, err := net.SplitHostPort(q.listen)
	if err != nil {
		return served{}, fmt.Errorf("--listen %q: %w", q.listen, err)
	}
	name, what, err := t.quickDevice(ctx, q)
	if err != nil {
		return served{}, err
	}
	for _, c := range []struct {
		method string
		params map[string]any
	}{
		{"iscsi_create_portal_group", map[string]any{
			"tag": quickTag, "portals": []map[string]any{{"host": host, "port": port}}, "wait": true,
		}},
		{"iscsi_create_initiator_group", map[string]any{
			"tag": quickTag, "initiators": []string{"ANY"}, "netmasks": []string{"ANY"},
		}},
		{"iscsi_create_target_node", map[string]any{
			"name": quickTarget, "alias_name": what, "queue_depth": 64, "disable_chap": true,
			"luns":       []map[string]any{{"bdev_name": name, "lun_id": 0}},
			"pg_ig_maps": []map[string]any{{"pg_tag": quickTag, "ig_tag": quickTag}},
		}},
		// Last, so that whoever gets through finds the target.
		{"iscsi_start_portal_group", map[string]any{"tag": quickTag}},
	} {
		if _, err := t.rpc.Call(ctx, c.method, c.params); err != nil {
			return served{}, fmt.Errorf("%s: %w", c.method, err)
		}
	}
	return served{iqn: t.targetName(ctx), what: what, host: host, port: port}, nil
}

// targetName is the whole name of the target node.
func (t *target) targetName(ctx context.Context) string {
	var nodes []struct {
		Name string `json:"name"`
	}
	raw, err := t.rpc.Call(ctx, "iscsi_get_target_nodes", nil)
	if err != nil || json.Unmarshal(raw, &nodes) != nil || len(nodes) == 0 {
		return quickTarget
	}
	return nodes[0].Name
}

// quickDevice makes the bdev and says what it is in words.
func (t *target) quickDevice(ctx context.Context, q quickLUN) (name, what string, err error) {
	if q.malloc {
		_, err = t.rpc.Call(ctx, "bdev_malloc_create", map[string]any{
			"name": quickMallocName, "block_size": quickBlockSize, "num_blocks": q.size / quickBlockSize,
		})
		return quickMallocName, fmt.Sprintf("%d MiB of memory", q.size>>20), err
	}
	created, err := aio.CreateFile(ctx, q.file, q.size)
	if err != nil {
		return "", "", err
	}
	what = q.file
	if created {
		what += " (new)"
	}
	_, err = t.rpc.Call(ctx, "bdev_aio_create", map[string]any{
		"name": quickFileName, "filename": q.file, "block_size": quickBlockSize,
	})
	return quickFileName, what, err
}

// print tells what is served and how to reach it, in lines to paste.
func (s served) print(w io.Writer, socket string) {
	host := s.host
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host, _ = os.Hostname()
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	portal := host + ":" + s.port
	fmt.Fprintf(w, `target  %s
LUN 0   %s
portal  %s
rpc     %s

  iscsiadm -m discovery -t sendtargets -p %s && iscsiadm -m node -T %s -p %s --login
  iscsi-ls -s iscsi://%s
  qemu-img info iscsi://%s/%s/0
  bin/pollux rpc -s %s bdev_get_bdevs

Ctrl-C ends it.
`, s.iqn, s.what, portal, socket, portal, s.iqn, portal, portal, portal, s.iqn, socket)
}

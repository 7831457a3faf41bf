package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pollux/test/target"
)

const (
	limit     = 2 * time.Minute
	imageSize = 48 << 20
	// imageBlock is the file system's block size; it suits LUNs with blocks of 512 and of 4096 bytes.
	imageBlock = "4096"
)

// access is one way to log in.
type access struct {
	name   string
	digest bool
	chap   *target.CHAP
}

// mutual tells whether the target proves itself too.
func (a access) mutual() bool { return a.chap != nil && a.chap.MutualUser != "" }

var accesses = []access{
	{name: "plain"},
	{name: "digest", digest: true},
	{name: "chap", chap: &target.CHAP{User: "alice", Secret: "alices-secret-1"}},
	{name: "mutual", chap: &target.CHAP{User: "bob", Secret: "bobs-secret-12", MutualUser: "target", MutualSecret: "targets-secret"}},
}

func TestInterop(t *testing.T) {
	target.NeedProgram(t, "iscsi-ls", "qemu-img", "mke2fs")
	image := makeImage(t)
	for _, cfg := range target.UnderTest(t) {
		for _, backing := range []target.Backing{target.Malloc, target.AIO} {
			for _, blockSize := range []int64{512, 4096} {
				for _, a := range accesses {
					lun := target.LUN{Backing: backing, BlockSize: blockSize, Size: imageSize}
					t.Run(fmt.Sprintf("%s/%s/%s", cfg, lun, a.name), func(t *testing.T) {
						t.Parallel()
						testAccess(t, cfg, lun, a, image)
					})
				}
			}
		}
	}
}

// testAccess serves one LUN to one way of logging in, and has every program use it.
func testAccess(t *testing.T, cfg target.Config, lun target.LUN, a access, image string) {
	cfg.Nodes = []target.Node{{Name: "disk", LUNs: []target.LUN{lun}, CHAP: a.chap, HeaderDigest: a.digest}}
	srv := target.Start(t, cfg)
	libiscsi(t, srv, a, lun)
	if !a.mutual() { // qemu has no option for the target's secret
		copyImage(t, srv, a, image)
	}
}

// libiscsi runs the programs of libiscsi and looks for what they must have learnt of the LUN.
func libiscsi(t *testing.T, srv *target.Server, a access, lun target.LUN) {
	url := srv.URL("disk", 0) + urlOptions(a)
	mustSay(t, target.Run(t, limit, "iscsi-ls", srv.PortalURL("disk")), target.IQN("disk"), srv.Portal())
	if !a.mutual() { // it would want the target to prove itself in the discovery session too
		mustSay(t, target.Run(t, limit, "iscsi-ls", "--show-luns", srv.PortalURL("disk")), "Lun:"+strconv.Itoa(srv.LUN(0)))
	}
	mustSay(t, target.Run(t, limit, "iscsi-inq", url), "DIRECT_ACCESS")
	mustSay(t, target.Run(t, limit, "iscsi-inq", "-e", "1", "-c", "0x83", url), "DEVICE_IDENTIFICATION")
	mustSay(t, target.Run(t, limit, "iscsi-readcapacity16", url),
		fmt.Sprintf("RETURNED LOGICAL BLOCK ADDRESS:%d", lun.Size/lun.BlockSize-1),
		fmt.Sprintf("LOGICAL BLOCK LENGTH IN BYTES:%d", lun.BlockSize))
	for _, random := range [][]string{nil, {"-r"}} {
		mustSay(t, target.Run(t, limit, "iscsi-perf", append(random, "-t", "1", "-m", "16", "-b", "8", url)...), "iops")
	}
}

// urlOptions are the arguments of a libiscsi URL for this way to log in.
func urlOptions(a access) string {
	switch {
	case a.digest:
		return "?header_digest=crc32c"
	case a.mutual():
		return "?target_user=" + a.chap.MutualUser + "&target_password=" + a.chap.MutualSecret
	default:
		return ""
	}
}

// copyImage writes the image to the LUN and reads it back.
func copyImage(t *testing.T, srv *target.Server, a access, image string) {
	back := filepath.Join(t.TempDir(), "back.img")
	objects, lun := qemuLUN(srv, a)
	qemu := func(command string, args ...string) {
		t.Helper()
		target.Run(t, limit, "qemu-img", append(append([]string{command}, objects...), args...)...)
	}
	file := "driver=raw,file.driver=file,file.filename="
	qemu("convert", "-n", "--image-opts", "--target-image-opts", file+image, lun)
	qemu("compare", "--image-opts", lun, file+image)
	qemu("convert", "--image-opts", "-O", "raw", lun, back)
	sameBytes(t, image, back)
	target.Run(t, limit, "e2fsck", "-f", "-n", back)
}

// qemuLUN spells the LUN in qemu's options, and the objects they refer to.
func qemuLUN(srv *target.Server, a access) (objects []string, lun string) {
	lun = fmt.Sprintf("driver=raw,file.driver=iscsi,file.transport=tcp,file.portal=%s,file.target=%s,file.lun=%d",
		srv.Portal(), target.IQN("disk"), srv.LUN(0))
	if a.digest {
		lun += ",file.header-digest=crc32c"
	}
	if a.chap != nil {
		objects = []string{"--object", "secret,id=chap,data=" + a.chap.Secret}
		lun += ",file.user=" + a.chap.User + ",file.password-secret=chap"
	}
	return objects, lun
}

// makeImage makes an ext4 image of part of the Go distribution's sources.
func makeImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	sources := filepath.Join(strings.TrimSpace(target.Run(t, limit, "go", "env", "GOROOT")), "src")
	tree, image := filepath.Join(dir, "tree"), filepath.Join(dir, "files.img")
	for _, part := range []string{"net", "os", "crypto", "runtime"} {
		if err := os.CopyFS(filepath.Join(tree, part), os.DirFS(filepath.Join(sources, part))); err != nil {
			t.Fatal(err)
		}
	}
	target.Run(t, limit, "mke2fs", "-q", "-t", "ext4", "-b", imageBlock, "-d", tree, image, strconv.Itoa(imageSize/1024)+"k")
	return image
}

func mustSay(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in:\n%s", w, out)
		}
	}
}

func sameBytes(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Errorf("%s (%d bytes) and %s (%d bytes) differ", a, len(x), b, len(y))
	}
}

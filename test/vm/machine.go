package vm

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pollux/test/target"
)

const (
	// buildLimit bounds the making of the image, which fetches some 60 MB of packages.
	buildLimit = 10 * time.Minute
	// guestLimit bounds a guest from power-on to its end.
	guestLimit = 8 * time.Minute
	// guestMemory is in MiB.
	guestMemory = 768
	// consoleLines is how much of the kernel's console a failure shows.
	consoleLines = 30
)

// guest is one run of a script in a fresh machine; what it does to its disk is thrown away.
type guest struct {
	script string            // a file of guest/
	env    map[string]string // variables for the script
	files  map[string]string // programs for the script, by name: paths on the host
	disks  []string          // raw disks that the guest finds as vdc, vdd, ...: paths on the host
	extra  time.Duration     // beyond guestLimit
	// host answers the script's "host WORD..." calls. It is called by one goroutine.
	host func(words []string) (string, error)
}

// image makes the guest's image, once, and returns its folder.
var image = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(target.Root(), "test/vm/image/build.sh"), target.Cache()).Output()
	if err != nil {
		text := ""
		if exit, ok := err.(*exec.ExitError); ok {
			text = string(exit.Stderr)
		}
		return "", fmt.Errorf("image/build.sh: %w\n%s", err, text)
	}
	return strings.TrimSpace(string(out)), nil
})

// needs are the programs that building and booting take.
var needs = []string{"qemu-system-x86_64", "apt-get", "dpkg-deb", "mke2fs", "depmod", "cpio", "xz", "lz4", "zstd"}

// run boots the guest, and fails the test unless its script ends with status 0. It returns the script's output.
func (g guest) run(t *testing.T) string {
	t.Helper()
	target.NeedProgram(t, needs...)
	image, err := image()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := g.writeInput(filepath.Join(dir, "input.tar")); err != nil {
		t.Fatal(err)
	}
	// Sockets have short paths; t.TempDir's is too long for one.
	sockets, err := os.MkdirTemp("", "plxvm")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(sockets)
	output, control := listen(t, sockets, "output"), listen(t, sockets, "control")

	ctx, cancel := context.WithTimeout(t.Context(), guestLimit+g.extra)
	defer cancel()
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", qemuArgs(image, dir, sockets, g.disks)...)
	qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said, text bytes.Buffer
	qemu.Stdout, qemu.Stderr = &said, &said
	status := -1
	var channels sync.WaitGroup
	channels.Go(func() { onConnection(output, func(c net.Conn) { copyOut(t, &text, c) }) })
	channels.Go(func() { onConnection(control, func(c net.Conn) { status = g.serve(c) }) })
	err = qemu.Run()
	output.Close()
	control.Close()
	channels.Wait()
	if status != 0 {
		t.Fatalf("guest script %s: status %d (qemu: %v)\n%s\n--- qemu\n%s--- console\n%s\n--- kernel log\n%s", g.script, status, err,
			text.String(), said.String(), tail(filepath.Join(dir, "console")), tail(filepath.Join(dir, "dmesg")))
	}
	return text.String()
}

func listen(t *testing.T, dir, name string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// onConnection waits for qemu to connect a channel, or for the listener's end.
func onConnection(l net.Listener, use func(net.Conn)) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	use(c)
}

// copyOut keeps what the script prints, and shows it at once where tests are verbose.
func copyOut(t *testing.T, text *bytes.Buffer, from io.Reader) {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		fmt.Fprintln(text, lines.Text())
		if testing.Verbose() {
			t.Log(lines.Text())
		}
	}
}

// serve answers the guest's calls until it says its exit status, which it returns; -1 if it never does.
func (g guest) serve(c net.Conn) int {
	status := -1
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 2 && words[0] == "exit":
			if n, err := strconv.Atoi(words[1]); err == nil {
				status = n
			}
		case len(words) > 1 && words[0] == "call":
			g.answer(c, words[1:])
		}
	}
	return status
}

// answer makes a call: each line of what it says comes back behind a bar, its status behind an equals sign.
func (g guest) answer(c net.Conn, words []string) {
	text, err, status := "", error(nil), 0
	if g.host == nil {
		err = fmt.Errorf("this test answers no calls")
	} else {
		text, err = g.host(words)
	}
	if err != nil {
		text, status = text+err.Error(), 1
	}
	var reply strings.Builder
	for line := range strings.Lines(text) {
		reply.WriteString("|" + strings.TrimRight(line, "\n") + "\n")
	}
	fmt.Fprintf(&reply, "=%d\n", status)
	// If the guest is gone, its missing status tells.
	_, _ = io.WriteString(c, reply.String())
}

// writeInput makes the tar that the guest finds on its second disk: the folder guest/, the script and its environment.
func (g guest) writeInput(path string) error {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(name string, text []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text)), Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		_, err := w.Write(text)
		return err
	}
	folder := os.DirFS(filepath.Join(target.Root(), "test/vm/guest"))
	names, err := fs.Glob(folder, "*.sh")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(folder, name)
		if err != nil {
			return err
		}
		if err := add(name, text); err != nil {
			return err
		}
		if name == g.script {
			if err := add("script", text); err != nil {
				return err
			}
		}
	}
	for name, path := range g.files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := add(name, text); err != nil {
			return err
		}
	}
	var env strings.Builder
	env.WriteString("export HOST=192.0.2.2\n")
	for k, v := range g.env {
		fmt.Fprintf(&env, "export %s='%s'\n", k, strings.ReplaceAll(v, "'", `'\''`))
	}
	if err := add("environment", []byte(env.String())); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	// A disk is a whole number of sectors; tar reads in blocks of 10 KiB.
	const block = 64 << 10
	buf.Write(make([]byte, (block-buf.Len()%block)%block))
	return os.WriteFile(path, buf.Bytes(), 0o600)
}

func qemuArgs(image, dir, sockets string, disks []string) []string {
	args := []string{
		"-M", "pc,usb=off,vmport=off", "-accel", "tcg,tb-size=256", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(guestMemory),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none",
		"-kernel", filepath.Join(image, "vmlinux"), "-initrd", filepath.Join(image, "initramfs"), "-append", kernelCommandLine(),
		"-serial", "file:" + filepath.Join(dir, "console"),
		"-drive", "if=virtio,format=raw,snapshot=on,cache=unsafe,file=" + filepath.Join(image, "root.img"),
		"-drive", "if=virtio,format=raw,readonly=on,file=" + filepath.Join(dir, "input.tar"),
		"-netdev", "user,id=net,net=192.0.2.0/24,host=192.0.2.2,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-serial-pci",
		"-chardev", "file,id=dmesg,path=" + filepath.Join(dir, "dmesg"),
		"-chardev", "socket,id=output,path=" + filepath.Join(sockets, "output"),
		"-chardev", "socket,id=control,path=" + filepath.Join(sockets, "control"),
	}
	for _, path := range disks {
		args = append(args, "-drive", "if=virtio,format=raw,cache=unsafe,discard=unmap,file="+path)
	}
	for _, name := range []string{"dmesg", "output", "control"} {
		args = append(args, "-device", "virtserialport,chardev="+name+",name="+name)
	}
	return args
}

// kernelCommandLine leaves out what takes an emulated processor long. The guest's clock is the host's time-stamp counter;
// on a busy host the guest would misjudge its rate, so it is told.
func kernelCommandLine() string {
	line := "console=ttyS0 loglevel=4 panic=-1 mitigations=off nokaslr no5lvl audit=0 apparmor=0 nowatchdog " +
		"cryptomgr.notests random.trust_cpu=on net.ifnames=0 raid=noautodetect no_timer_check 8250.nr_uarts=1"
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return line
	}
	for l := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(l, ":")
		if strings.TrimSpace(name) != "cpu MHz" {
			continue
		}
		if mhz, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
			return fmt.Sprintf("%s tsc=reliable tsc_early_khz=%d", line, int(mhz*1000))
		}
	}
	return line
}

func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-consoleLines):], "\n")
}

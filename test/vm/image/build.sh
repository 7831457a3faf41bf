#!/usr/bin/env bash
# build.sh CACHE: makes the guest that the tests boot - Debian's kernel, an initramfs and a root disk with the kernel's
# storage initiators - and prints the folder it is in. Everything comes from Debian's packages by way of apt; nothing is
# installed on the host and no root is needed. A second call with nothing changed returns at once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$1
PATH=$PATH:/usr/sbin:/sbin

# What the scripts in the guest use; apt adds what these depend on.
userland=(bash coreutils util-linux mount kmod iproute2 procps grep sed mawk tar findutils diffutils
	open-iscsi sg3-utils e2fsprogs xfsprogs fio drbd-utils)
kernel=linux-image-cloud-amd64
# What the initramfs needs to reach the root disk, and the guest its network and its channels.
boot_modules=(virtio_pci virtio_blk virtio_net virtio_console ext4 crc32c_generic crc32c_intel af_packet)
# Parts of the kernel package that no emulated machine has.
no_hardware=(sound drivers/gpu drivers/media drivers/net/ethernet drivers/net/wireless drivers/usb drivers/infiniband
	drivers/hid drivers/hwmon drivers/iio drivers/input drivers/platform drivers/staging drivers/video)

# --- apt in a world of its own: nothing is installed there, so the answer does not depend on this host -----------------
apt_options=(
	-o "Dir::State::status=$cache/vm-apt/status" -o "Dir::Cache=$cache/vm-apt" -o "Dir::Cache::archives=$cache/vm-apt/archives"
	-o APT::Install-Recommends=false -o APT::Sandbox::User= -o Debug::NoLocking=1 -o Acquire::Retries=3 -qq -y)
prepare_apt() {
	mkdir -p "$cache/vm-apt/archives/partial"
	: >"$cache/vm-apt/status"
}
# The names of the .deb files that installing PACKAGE... into an empty system takes.
closure() {
	apt-get "${apt_options[@]}" -o "Dir::Cache::archives=$work/none" --print-uris install "$@" | sed -n "s/^'[^']*' \([^ ]*\) .*/\1/p"
}
fetch() {
	apt-get "${apt_options[@]}" --download-only install "${userland[@]}" >/dev/null
	(cd "$cache/vm-apt/archives" && apt-get "${apt_options[@]}" download busybox-static "$1" >/dev/null)
}
refresh() { [ "$(id -u)" != 0 ] || apt-get -o DPkg::Lock::Timeout=600 -qq update; }
newest() { find "$cache/vm-apt/archives" -name "$1_*.deb" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-; }

# unpack DEB FOLDER [TAR OPTION...]
unpack() {
	local deb=$1 into=$2
	shift 2
	dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner --keep-directory-symlink -C "$into" "$@"
}

# --- the parts of the guest ------------------------------------------------------------------------------------------
make_userland() { # ROOT DEB...
	local root=$1 deb dir
	shift
	mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{dev,proc,sys,run,tmp,mnt,root,etc/iscsi,var/lib/iscsi}
	for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
	for deb in "$@"; do
		unpack "$cache/vm-apt/archives/$deb" "$root" --exclude='./usr/share/doc' --exclude='./usr/share/man' \
			--exclude='./usr/share/locale' --exclude='./usr/share/info' --exclude='./usr/share/icu' --exclude='./usr/lib/*/gconv'
	done
	ln -sf bash "$root/usr/bin/sh"
	[ -e "$root/usr/bin/awk" ] || ln -s mawk "$root/usr/bin/awk"
	ln -sf /proc/self/mounts "$root/etc/mtab"
	printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n' >"$root/etc/passwd"
	printf 'root:x:0:\ndisk:x:6:\ntty:x:5:\nnogroup:x:65534:\n' >"$root/etc/group"
	printf '127.0.0.1 localhost guest\n' >"$root/etc/hosts"
	printf 'InitiatorName=iqn.2026-01.test.pollux:guest\n' >"$root/etc/iscsi/initiatorname.iscsi"
	: >"$root/etc/fstab"
	ldconfig -r "$root"
}

make_kernel() { # DEB ROOT: its modules go to ROOT, the kernel itself to $out; prints the version
	local unpacked=$work/kernel exclude=() dir version
	mkdir -p "$unpacked"
	for dir in "${no_hardware[@]}"; do exclude+=("--exclude=./lib/modules/*/kernel/$dir" "--exclude=./usr/lib/modules/*/kernel/$dir"); done
	unpack "$1" "$unpacked" "${exclude[@]}" --exclude='./usr/share'
	[ -d "$unpacked/lib/modules" ] || ln -s usr/lib "$unpacked/lib"
	version=$(ls "$unpacked/lib/modules")
	mkdir -p "$2/lib/modules"
	mv "$unpacked/lib/modules/$version" "$2/lib/modules/"
	depmod -b "$2" "$version"
	unwrap "$unpacked/boot/vmlinuz-$version" "$out/vmlinux"
	echo "$version"
}

# unwrap BZIMAGE VMLINUX: the kernel inside, so that the emulated processor need not decompress it. The boot protocol's
# header holds the number of set-up sectors (0x1f1), and the payload's offset (0x248) and length (0x24c) behind them.
unwrap() {
	local sectors offset length
	sectors=$(od -An -tu1 -j $((0x1f1)) -N1 "$1")
	offset=$(((sectors + 1) * 512 + $(od -An -tu4 -j $((0x248)) -N4 "$1")))
	length=$(od -An -tu4 -j $((0x24c)) -N4 "$1")
	# The payload's last four bytes are its unpacked size, which is not part of the compressed stream.
	tail -c +$((offset + 1)) "$1" | head -c $((length - 4)) >"$work/payload" || true
	case $(od -An -tx1 -N4 "$work/payload" | tr -d ' ') in
	fd377a58) xz -dc --single-stream <"$work/payload" >"$2" ;;
	02214c18) lz4 -qdc <"$work/payload" >"$2" ;;
	28b52ffd) zstd -qdc <"$work/payload" >"$2" ;;
	1f8b0800) gzip -dc <"$work/payload" >"$2" ;;
	*) cp "$1" "$2" ;; # packed in an unknown way: boots all the same, more slowly
	esac
}

make_initramfs() { # ROOT VERSION BUSYBOX-DEB
	local tree=$work/initramfs module file
	mkdir -p "$tree"/{bin,dev,proc,sys,run,newroot,modules}
	unpack "$3" "$tree" --exclude='./usr/share'
	[ -x "$tree/bin/busybox" ] || mv "$tree/usr/bin/busybox" "$tree/bin/busybox"
	rm -rf "${tree:?}/usr"
	for module in "${boot_modules[@]}"; do
		modprobe -S "$2" -d "$1" --show-depends "$module" 2>/dev/null
	done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r file; do
		cp "$file" "$tree/modules/"
		basename "$file"
	done >"$tree/modules/order"
	install -m 755 "$here/initramfs-init" "$tree/init"
	(cd "$tree" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$out/initramfs"
}

make_disk() { # ROOT
	local megabytes=$(($(du -sm "$1" | cut -f1) * 5 / 4 + 64))
	truncate -s "${megabytes}M" "$out/root.img"
	mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0,lazy_itable_init=1 -d "$1" "$out/root.img"
}

build() {
	local debs kernel_package version
	prepare_apt
	mkdir -p "$work/none/partial" "$work/root" "$out"
	debs=$(closure "${userland[@]}" 2>/dev/null) || { refresh; debs=$(closure "${userland[@]}"); }
	kernel_package=$(apt-cache depends "$kernel" | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | tail -n 1)
	# A package that was superseded since the last update of the lists is a 404.
	fetch "$kernel_package" 2>/dev/null || { refresh; fetch "$kernel_package"; debs=$(closure "${userland[@]}"); }
	# shellcheck disable=SC2086  # one word per package
	make_userland "$work/root" $debs
	version=$(make_kernel "$(newest "$kernel_package")" "$work/root")
	make_initramfs "$work/root" "$version" "$(newest busybox-static)"
	make_disk "$work/root"
}

mkdir -p "$cache"
exec 9>"$cache/vm.lock"
flock 9
final=$cache/vm
stamp=$(cat "$here"/* | sha256sum | cut -d' ' -f1)
if [ "$(cat "$final/stamp" 2>/dev/null)" != "$stamp" ]; then
	work=$cache/vm.work out=$cache/vm.work/out
	rm -rf "$work"
	trap 'rm -rf "$work"' EXIT
	build >&2
	echo "$stamp" >"$out/stamp"
	rm -rf "$final"
	mv "$out" "$final"
fi
echo "$final"

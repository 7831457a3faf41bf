#!/usr/bin/env bash
# Installs the Debian packages that the tests need and says what for. Without root it installs nothing and says which tests
# will skip. A package that would start a service is unpacked into the cache instead of installed.
#   POLLUX_TEST_CACHE   the cache (default ~/.cache/pollux-test), also for the guest image
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${POLLUX_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pollux-test}

# package | file or program that shows it is there | what for
packages='
gcc              | gcc                   | the race detector, the helper of bdev/tcmur
libc6-dev        | /usr/include/stdlib.h | the race detector, the helper of bdev/tcmur
git              | git                   | static checks (list of sources)
shellcheck       | shellcheck            | static checks of the shell scripts
libiscsi-bin     | iscsi-test-cu         | conformance and interop: libiscsi, an initiator in user space
qemu-utils       | qemu-img              | interop: an image to a LUN and back; bdev/tcmur: makes and checks qcow images
qemu-block-extra | /usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so | interop: the iSCSI driver of qemu-img
e2fsprogs        | mke2fs                | interop and guest: ext4 images
qemu-system-x86  | qemu-system-x86_64    | guest: the kernel initiator runs in an emulated machine
cpio             | cpio                  | guest: its initramfs
xz-utils         | xz                    | guest: unpacks its kernel
lz4              | lz4                   | guest: unpacks its kernel
zstd             | zstd                  | guest: unpacks its kernel
fdisk            | sfdisk                | replication metadata: a partition table that must survive
kmod             | depmod                | guest: its modules
'
# package | program that shows it is there (relative to its folder in the cache) | what for
unpacked='
tgt              | usr/sbin/tgtd         | benchmarks and the test kit itself: the peer to compare with
drbd-utils       | sbin/drbdmeta        | replication metadata: drbdmeta, which reads those of DRBD
tcmu-runner      | usr/lib              | bdev/tcmur: handlers as Debian builds them
'
# Shared libraries of the unpacked ones.
packages+='
libaio1          | /usr/lib/x86_64-linux-gnu/libaio.so.1     | tgt
libibverbs1      | /usr/lib/x86_64-linux-gnu/libibverbs.so.1 | tgt
librdmacm1       | /usr/lib/x86_64-linux-gnu/librdmacm.so.1  | tgt
'

# Only on demand: large. Their services start nothing as long as no cluster is configured.
[ -z "${POLLUX_TEST_CEPH:-}" ] || packages+='
ceph-mon         | ceph-mon              | make test-ceph
ceph-osd         | ceph-osd              | make test-ceph
ceph-common      | rbd                   | make test-ceph
'
[ -z "${POLLUX_TEST_GLUSTER:-}" ] || packages+='
glusterfs-common | glusterfsd            | make test-gluster
glusterfs-cli    | gluster               | make test-gluster
libglusterfs-dev | /usr/include/glusterfs/api/glfs.h | make test-gluster: builds the handler glfs
pkg-config       | pkg-config            | make test-gluster
'
# Debian does not build the handler glfs: its source, which the test compiles.
sources=
[ -z "${POLLUX_TEST_GLUSTER:-}" ] || sources='
tcmu             | glfs.c                | make test-gluster: the handler glfs
'

apt() { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -qq "$@"; }
there() { # PROGRAM-OR-FILE
	case $1 in
	/*) [ -e "$1" ] ;;
	*) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
	esac
}
rows() { awk -F'|' 'NF == 3 {gsub(/^ +| +$/, "", $1); gsub(/^ +| +$/, "", $2); sub(/^ +/, "", $3); print $1 "|" $2 "|" $3}'; }

# apt's lists may be missing (a fresh container) or stale (a 404): fetch them once, when first needed.
install_all() {
	apt install -y --no-install-recommends "$@" >/dev/null 2>&1 || { apt update >/dev/null && apt install -y --no-install-recommends "$@" >/dev/null; }
}
unpack() { # PACKAGE
	local tmp=$cache/$1.new
	rm -rf "$tmp"
	mkdir -p "$tmp/deb"
	(cd "$tmp/deb" && { apt download "$1" >/dev/null 2>&1 || { [ "$(id -u)" = 0 ] && apt update >/dev/null && apt download "$1" >/dev/null; }; })
	dpkg-deb -x "$tmp"/deb/*.deb "$tmp"
	rm -rf "$tmp/deb" "${cache:?}/$1"
	mv "$tmp" "$cache/$1"
}
# unpack_source unpacks what Debian's source package has from upstream into the cache: from where this machine has its packages, with
# lists of its own for apt.
unpack_source() { # PACKAGE
	local tmp=$cache/$1-source.new
	rm -rf "$tmp"
	mkdir -p "$tmp/lists/partial" "$tmp/source"
	(
		# shellcheck disable=SC2016 # for apt-get
		apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | sort -u >"$tmp/sources.list"
		own=(-o "Dir::Etc::SourceList=$tmp/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$tmp/lists")
		cd "$tmp" && { apt "${own[@]}" update && apt "${own[@]}" source --download-only "$1"; } >/dev/null 2>&1
	) || return 1
	tar -xf "$tmp/$1"_*.orig.tar.* -C "$tmp/source" --strip-components=1
	rm -rf "${cache:?}/$1-source"
	mv "$tmp/source" "$cache/$1-source"
	rm -rf "$tmp"
}

if ! command -v apt-get >/dev/null; then
	echo "note: no apt-get here: tests skip what is not installed"
	exit 0
fi
mkdir -p "$cache"
exec 9>"$cache/deps.lock"
flock 9

missing=()
while IFS='|' read -r pkg shows why; do
	there "$shows" && continue
	missing+=("$pkg")
	if [ "$(id -u)" = 0 ]; then echo "note: installing $pkg ($why)"; else echo "note: $pkg is missing, its tests skip ($why)"; fi
done < <(rows <<<"$packages")
[ ${#missing[@]} = 0 ] || [ "$(id -u)" != 0 ] || install_all "${missing[@]}"

while IFS='|' read -r pkg shows why; do
	[ ! -e "$cache/$pkg/$shows" ] || continue
	echo "note: unpacking $pkg into $cache, not installed since it would start a service ($why)"
	unpack "$pkg" || echo "note: $pkg could not be fetched, its tests skip"
done < <(rows <<<"$unpacked")

while IFS='|' read -r pkg shows why; do
	[ ! -e "$cache/$pkg-source/$shows" ] || continue
	echo "note: unpacking the source of $pkg into $cache ($why)"
	unpack_source "$pkg" || echo "note: the source of $pkg could not be fetched, its tests skip"
done < <(rows <<<"$sources")

[ "$(id -u)" = 0 ] || [ ${#missing[@]} = 0 ] || echo "note: as root once: apt-get install ${missing[*]}"

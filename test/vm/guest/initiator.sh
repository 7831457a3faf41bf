# shellcheck shell=bash
# The kernel's initiator against the target on the host: discovery, login, file systems, digests, CHAP, verified I/O.
# From the host: FILE_NODE (aio), MEMORY_NODE (malloc), CHAP_NODE with USER, SECRET, MUTUAL_USER, MUTUAL_SECRET, CHAP_ALGORITHMS.
# shellcheck source=test/vm/guest/lib.sh
. "$INPUT/lib.sh"
tree=/usr/sbin

# use_fs TYPE DISK [IQN]: everything that a file system asks of a disk. With IQN the target keeps the LUN in a file, which
# must get smaller by fstrim.
use_fs() {
	make_fs "$1" "$2"
	mount -t "$1" "$2" /mnt
	cp -a $tree /mnt/tree
	cp -a $tree /mnt/gone
	umount /mnt
	drop_caches
	mount -t "$1" "$2" /mnt
	sums $tree >/tmp/want
	sums /mnt/tree >/tmp/have
	cmp /tmp/want /tmp/have
	echo "$(wc -l </tmp/want) files agree"
	rm -rf /mnt/gone
	sync
	trim "${3:-}"
	umount /mnt
	check_fs "$1" "$2"
}

trim() { # [IQN]
	local before after
	[ $# = 0 ] || [ -z "$1" ] || before=$(host used "$1")
	fstrim -v /mnt
	if [ -n "${before:-}" ]; then
		after=$(host used "$1")
		echo "the target's file: $before KiB before, $after KiB after"
		[ "$after" -lt "$before" ] || die "fstrim freed nothing"
	fi
}

verify() { # DISK
	fio --name=verify --filename="$1" --rw=randrw --bsrange=4k-64k --iodepth=16 --ioengine=libaio --direct=1 --size=48m \
		--io_size=16m --verify=crc32c --do_verify=1 --verify_fatal=1 --minimal >/tmp/fio || { cat /tmp/fio; die "fio"; }
}

start_initiator
step discovery
discover
for iqn in "$FILE_NODE" "$MEMORY_NODE" "$CHAP_NODE"; do iscsiadm -m node | grep -qF " $iqn"; done

step ext4 on a file
disk=$(attach "$FILE_NODE")
use_fs ext4 "$disk" "$FILE_NODE"
verify "$disk"

step xfs on memory, with digests
set_node "$MEMORY_NODE" 'node.conn[0].iscsi.HeaderDigest' CRC32C
set_node "$MEMORY_NODE" 'node.conn[0].iscsi.DataDigest' CRC32C
disk=$(attach "$MEMORY_NODE")
session_says "$MEMORY_NODE" 'HeaderDigest: CRC32C'
session_says "$MEMORY_NODE" 'DataDigest: CRC32C'
modprobe xfs
use_fs xfs "$disk"
verify "$disk"

step logout
detach "$FILE_NODE"
detach "$MEMORY_NODE"
[ ! -b "$disk" ] || die "$disk is still there"

step CHAP
if node "$CHAP_NODE" --login >/dev/null 2>&1; then die "let in without CHAP"; fi
set_node "$CHAP_NODE" node.session.auth.authmethod CHAP
set_node "$CHAP_NODE" node.session.auth.username "$USER"
set_node "$CHAP_NODE" node.session.auth.password wrong-wrong-wrong
if node "$CHAP_NODE" --login >/dev/null 2>&1; then die "let in with a wrong secret"; fi
set_node "$CHAP_NODE" node.session.auth.password "$SECRET"
set_node "$CHAP_NODE" node.session.auth.username_in "$MUTUAL_USER"
set_node "$CHAP_NODE" node.session.auth.password_in "$MUTUAL_SECRET"
for algorithm in $CHAP_ALGORITHMS; do
	set_node "$CHAP_NODE" node.session.auth.chap_algs "$algorithm"
	disk=$(attach "$CHAP_NODE")
	dd if="$disk" of=/dev/null bs=1M count=2 iflag=direct status=none
	detach "$CHAP_NODE"
	echo "$algorithm ok"
done
# The other way round: the initiator must find out that this is not its target.
set_node "$CHAP_NODE" node.session.auth.password_in not-the-targets
if node "$CHAP_NODE" --login >/dev/null 2>&1; then die "took a target with a wrong secret"; fi

step end
[ "$(iscsiadm -m session 2>&1)" = "iscsiadm: No active sessions." ] || die "sessions are left"

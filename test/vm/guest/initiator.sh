# shellcheck shell=bash
# The kernel's initiator against the target on the host: discovery, login, file systems, digests, CHAP, verified I/O.
# From the host: NODES, a line for each node - IQN, file system, digests or none, the target's file or memory - and
# CHAP_NODE with USER, SECRET, MUTUAL_USER, MUTUAL_SECRET, CHAP_ALGORITHMS.
# shellcheck source=test/vm/guest/lib.sh
. "$INPUT/lib.sh"
tree=/usr/sbin

# use_fs TYPE DISK IQN KEPT: everything that a file system asks of a disk. Where the target keeps the LUN in a file, that
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
	trim "$3" "$4"
	umount /mnt
	check_fs "$1" "$2"
}

trim() { # IQN KEPT
	local before=0 after=0
	[ "$2" != file ] || before=$(host used "$1")
	fstrim -v /mnt
	[ "$2" = file ] || return 0
	after=$(host used "$1")
	echo "the target's file: $before KiB before, $after KiB after"
	[ "$after" -lt "$before" ] || die "fstrim freed nothing"
}

verify() { # DISK
	fio --name=verify --filename="$1" --rw=randrw --bsrange=4k-64k --iodepth=16 --ioengine=libaio --direct=1 --size=48m \
		--io_size=16m --verify=crc32c --do_verify=1 --verify_fatal=1 --minimal >/tmp/fio || { cat /tmp/fio; die "fio"; }
}

# use_node IQN FS DIGESTS KEPT: logs in, uses the disk and logs out.
use_node() {
	local disk
	step "$2 in $4, digests: $3"
	if [ "$3" = digests ]; then
		set_node "$1" 'node.conn[0].iscsi.HeaderDigest' CRC32C
		set_node "$1" 'node.conn[0].iscsi.DataDigest' CRC32C
	fi
	disk=$(attach "$1")
	if [ "$3" = digests ]; then
		session_says "$1" 'HeaderDigest: CRC32C'
		session_says "$1" 'DataDigest: CRC32C'
	fi
	echo "$disk has blocks of $(blockdev --getss "$disk") bytes"
	use_fs "$2" "$disk" "$1" "$4"
	verify "$disk"
	detach "$1"
	[ ! -b "$disk" ] || die "$disk is still there"
}

start_initiator
modprobe xfs
step discovery
discover
readarray -t nodes <<<"$NODES"
for line in "${nodes[@]}"; do iscsiadm -m node | grep -qF " ${line%% *}"; done
for line in "${nodes[@]}"; do
	# shellcheck disable=SC2086  # a line is four words
	use_node $line
done

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

# shellcheck shell=bash
# The target goes away under a mounted file system that is being written to, by SIGTERM and by SIGKILL, and comes back: the
# session recovers, nothing that was written is lost. From the host: FILE_NODE (aio).
# shellcheck source=test/vm/guest/lib.sh
. "$INPUT/lib.sh"
tree=/usr/sbin

# writes DISK: how many writes the disk has completed.
writes() { awk '{print $5}' "/sys/block/${1#/dev/}/stat"; }
has_written() { [ "$(writes "$1")" -gt "$2" ]; }

# lose HOW DISK: fio writes and a tree is copied while the target is away.
lose() {
	local fio cp before
	before=$(writes "$2")
	# The rate makes sure that it is still at it when the target goes.
	fio --name="$1" --directory=/mnt --rw=randwrite --bs=4k --iodepth=4 --ioengine=libaio --direct=1 --size=8m \
		--rate_iops=400,250 --verify=crc32c --do_verify=1 --verify_fatal=1 --fallocate=none --minimal >"/tmp/fio.$1" &
	fio=$!
	eventually 60 has_written "$2" $((before + 100))
	host stop "$1"
	kill -0 $fio 2>/dev/null || die "fio ended before the target did"
	cp -a $tree "/mnt/$1" &
	cp=$!
	eventually 60 session_says "$FILE_NODE" 'iSCSI Session State: (FAILED|FREE)|Internal iscsid Session State: REOPEN'
	session_says "$FILE_NODE" 'State'
	host start
	wait $fio || { cat "/tmp/fio.$1"; die "fio did not survive"; }
	wait $cp || die "cp did not survive"
	eventually 60 session_says "$FILE_NODE" 'iSCSI Session State: LOGGED_IN'
	[ -b "$2" ] || die "the disk has changed its name"
}

start_initiator
discover
disk=$(attach "$FILE_NODE")
make_fs ext4 "$disk"
mount "$disk" /mnt
sums $tree >/tmp/want
for how in term kill; do
	step "target stopped by SIG${how^^}"
	lose $how "$disk"
	umount /mnt
	check_fs ext4 "$disk"
	drop_caches
	mount "$disk" /mnt
	sums "/mnt/$how" >/tmp/have
	cmp /tmp/want /tmp/have
	echo "$(wc -l </tmp/want) files agree"
done
umount /mnt
detach "$FILE_NODE"
step end

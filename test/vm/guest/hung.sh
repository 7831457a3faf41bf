# shellcheck shell=bash
# The target on a disk that stops answering and comes back: the deletion of its block device is given up in time, says so, and ends by itself
# when the disk answers. From the host: the program pollux beside this script, and the disk vdc.
# shellcheck source=test/vm/guest/lib.sh
. "$INPUT/lib.sh"
portal=127.0.0.1:3260
disk=/dev/mapper/disk
rpc() { "$INPUT/pollux" rpc -s /run/pollux.sock "$@"; }
target_answers() { rpc iscsi_get_target_nodes | grep -q disk0; }
bench=("$INPUT/pollux" bench --portal "$portal" --wait block --depth 8 --read-share 0) # A command, so that $! is its process.
hang() { dmsetup suspend --noflush --nolockfs disk; }
come_back() { dmsetup resume disk; }
gone() { [ "$(grep -c 'has answered and is gone' /tmp/target)" = "$1" ]; }

# cannot_delete NAME WORD...: the deletion fails, within a minute, and says all the words.
cannot_delete() {
	local name=$1 word
	shift
	! timeout 60 "$INPUT/pollux" rpc -s /run/pollux.sock bdev_aio_delete "name=$name" >/tmp/said 2>&1 || die "$name was deleted"
	cat /tmp/said
	for word in "$@"; do grep -qF -- "$word" /tmp/said || die "the message lacks $word"; done
	if rpc bdev_get_bdevs | grep -q "\"$name\""; then die "$name is still seen"; fi
}

modprobe dm-mod
dmsetup create disk --noudevsync --table "0 $(blockdev --getsz /dev/vdc) linear /dev/vdc 0"
[ -b $disk ] || dmsetup mknodes
"$INPUT/pollux" serve --file $disk --listen $portal -r /run/pollux.sock --max-data-memory 64M >/tmp/target 2>&1 &
target=$!
eventually 60 target_answers

step a disk that hangs under writes
"${bench[@]}" --count 500
before=$(awk '{print $5}' /sys/block/vdc/stat)
"${bench[@]}" --duration 600s &
load=$!
# shellcheck disable=SC2317  # called by eventually
writes() { [ "$(awk '{print $5}' /sys/block/vdc/stat)" -gt $((before + 100)) ]; }
eventually 120 writes
hang
cannot_delete File0 "bdev File0 keeps " "requests are unanswered after 10s"
if rpc bdev_aio_create name=File0 filename=$disk; then die "the name is free while the disk hangs"; fi
rpc bdev_malloc_create name=Memory0 num_blocks=1024 block_size=512 # Nobody else waits.
rpc bdev_malloc_delete name=Memory0
kill -KILL $load
gone 0 || die "it has gone before the disk has answered"
come_back
eventually 60 gone 1

step a disk that hangs under the last sync
rpc bdev_aio_create name=File1 filename=$disk
hang
cannot_delete File1 "bdev File1: its sync and close" "unanswered after 30s"
gone 1 || die "it has gone before the disk has answered"
come_back
eventually 60 gone 2

step end
rpc bdev_aio_create name=File2 filename=$disk
rpc bdev_aio_delete name=File2
kill -TERM $target
wait $target || { cat /tmp/target; die "the target ended badly"; }

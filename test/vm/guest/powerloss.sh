# shellcheck shell=bash
# The target itself runs here, on a disk that records what becomes durable (dm-log-writes), under a file system of this
# kernel's initiator, while the clock jumps. Marks in the record tell the host what had been synced. From the host: the program pollux beside this
# script, FILES, RUNS, a word for each run - device or file, a mutation of the target or nothing, slow or nothing, with colons between - and the disks
# vdc (data) and vdd (record), of which each run has a part of DATA and RECORD bytes.
# With "device" the recording disk is the LUN; with "file" it holds a file system, and the LUN is a file there.
# shellcheck source=test/vm/guest/lib.sh
. "$INPUT/lib.sh"
iqn=iqn.2016-06.io.spdk:disk0
portal=127.0.0.1:3260
size=$((28 << 20)) # of a LUN that is a file, in the beginning
grown=$((32 << 20))

# mark WORD...: a mark is one word for the kernel.
mark() { local IFS=:; dmsetup message logged 0 mark "$*"; }
# content I: what file I holds; the host computes the same.
content() { seq $(($1 * 1000)) $(($1 * 1000 + $1 * 300)); }
rpc() { "$INPUT/pollux" rpc -s /run/pollux.sock "$@"; }
target_answers() { rpc iscsi_get_target_nodes | grep -q "$iqn"; }

# map NAME TABLE...: a device of the device mapper.
map() {
	dmsetup create "$1" --noudevsync --table "${*:2}"
	[ -b "/dev/mapper/$1" ] || dmsetup mknodes
}

# open_record RUN SLOW: the recording disk. With "slow" flushes take long enough to tell whether somebody waits for them.
open_record() {
	# shellcheck disable=SC2153  # DATA and RECORD come from the host
	local sectors=$((DATA / 512)) record=$((RECORD / 512)) under=/dev/mapper/data
	map data 0 $sectors linear /dev/vdc $(($1 * sectors))
	map record 0 $record linear /dev/vdd $(($1 * record))
	if [ "$2" = slow ]; then
		map slow 0 $sectors delay $under 0 0 $under 0 0 $under 0 5000
		under=/dev/mapper/slow
	fi
	map logged 0 $sectors log-writes $under /dev/mapper/record
}
close_record() {
	local name
	for name in logged slow record data; do
		! dmsetup info "$name" >/dev/null 2>&1 || eventually 60 dmsetup remove --noudevsync "$name"
		rm -f "/dev/mapper/$name" # The next device of this name may have another number.
	done
}

# write_files: files that are synced or not, gone or kept, and space that is given back.
write_files() {
	local i
	for ((i = 1; i <= FILES; i++)); do
		# Clocks that jump are nothing to the target: it does not look at them.
		case $i in
		2) date -s '+1 day' ;;
		5) date -s '-2 days' ;;
		esac
		content "$i" >"/mnt/new$i"
		sync "/mnt/new$i" # fsync
		mark file "$i" "new$i"
		mark free "$i" "new$i"
		mv "/mnt/new$i" "/mnt/file$i"
		# What nobody has synced may be lost; it must not harm.
		content $((i + 100)) >"/mnt/loose$i"
		sync /mnt
		mark file "$i" "file$i"
		if [ $((i % 4)) = 0 ]; then
			mark free $((i - 1)) "file$((i - 1))"
			rm "/mnt/file$((i - 1))" "/mnt/loose$((i - 1))"
			sync /mnt
			mark gone $((i - 1)) "file$((i - 1))"
			if [ "$1" = file ]; then
				fstrim -v /mnt # UNMAP, of what was removed and of what is about to be written again
				mark trimmed
			fi
			sync # everything, so that metadata goes to its place too
		fi
	done
}

# run NUMBER BACKING MUTATION SLOW
run() {
	local lun=/dev/mapper/logged target disk
	step "the recording disk, $2 $3 $4"
	open_record "$1" "$4"
	if [ "$2" = file ]; then
		mkfs.ext4 -q -F /dev/mapper/logged
		mkdir -p /outer
		# What the target does not sync stays in memory to the end.
		mount -o commit=3600,discard /dev/mapper/logged /outer
		sync
		mark outer
		lun=/outer/lun
	fi
	step "the target, $2 $3"
	POLLUX_MUTATION=$3 "$INPUT/pollux" serve --file $lun --size $size --listen $portal -r /run/pollux.sock --max-data-memory 64M >/tmp/target 2>&1 &
	target=$!
	eventually 60 target_answers
	grep 'level=' /tmp/target || true
	if [ "$2" = file ]; then
		mark size $size lun
		truncate -s $grown $lun
		rpc bdev_aio_rescan name=File0
		mark size $grown lun
	fi
	step "the initiator, $2 $3"
	iscsiadm -m discovery -t sendtargets -p $portal
	disk=$(attach $iqn)
	make_fs ext4 "$disk"
	sync
	mark made
	step "writing, $2 $3"
	mount "$disk" /mnt
	write_files "$2"
	umount /mnt
	if dmesg | grep -E 'conn error|ping timeout'; then die "the session was lost"; fi
	check_fs ext4 "$disk"
	detach $iqn
	kill -TERM $target
	# One that is broken on purpose may find out in the end.
	wait $target || [ -n "$3" ] || { cat /tmp/target; die "the target ended badly"; }
	mark end
	[ "$2" != file ] || umount /outer
	close_record
}

modprobe -a dm-log-writes dm-delay
start_initiator
number=0
for words in $RUNS; do
	IFS=: read -r backing mutation speed <<<"$words"
	run $number "$backing" "$mutation" "$speed"
	number=$((number + 1))
done
step end

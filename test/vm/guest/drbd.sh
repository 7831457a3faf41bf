# shellcheck shell=bash
# The kernel's DRBD 8.4 and its metadata. From the host: CASES, a line for each, "NAME|KIND|USE|ATTACH OPTIONS|CREATE-MD OPTIONS", and
# the disks, from vdc on: one for each case, and one more for the metadata unless KIND is internal (else flex-external or an
# index). USE is what is done to the device:
#   fs       a file system, which stays mounted
#   random   512 blocks one by one
#   deep     a block in each extent, many at a time
#   retire   as random, and the device ends as it should
#   nothing  it is made Primary, and that is all
# With PHASE=write the kernel writes, and the guest ends with the devices up, as if the power had gone. With PHASE=read
# drbdmeta and the kernel say what they find then.
# shellcheck source=test/vm/guest/lib.sh
. "$INPUT/lib.sh"

drbd() { /lib/drbd/drbdsetup-84 "$@"; }
# meta COMMAND...: drbdmeta on the metadata of the case.
meta() { drbdmeta --force "$minor" v08 "$metadisk" "$kind" "$@" 2>/tmp/drbdmeta || { cat /tmp/drbdmeta; die "drbdmeta $*"; }; }

letter=b
next_disk() {
	letter=$(tr a-y b-z <<<"$letter")
	echo "/dev/vd$letter"
}

attach_device() { # OPTION...
	drbd new-resource "r$minor"
	drbd new-minor "r$minor" "$minor" 0
	drbd attach "$minor" "$disk" "$metadisk" "${kind/flex-external/flexible}" "$@"
}

random_writes() { # FIO-OPTION...
	fio --name=w --filename="/dev/drbd$minor" --bs=4k --direct=1 --ioengine=libaio --randseed=7 --minimal "$@" >/tmp/fio ||
		{ cat /tmp/fio; die "fio"; }
}

use_device() {
	case $1 in
	fs)
		make_fs ext4 "/dev/drbd$minor"
		mount "/dev/drbd$minor" /mnt
		cp /usr/sbin/[a-m]* /mnt/
		sync
		;;
	random) random_writes --rw=randwrite --norandommap --number_ios=512 ;;
	deep) random_writes --rw=write:4092k --number_ios=1500 --iodepth=64 ;;
	retire)
		use_device random
		drbd secondary "$minor"
		drbd down "r$minor"
		;;
	esac
}

# write_case USE ATTACH CREATE. A fresh device's bits are all set, which would tell nothing: they are cleared.
write_case() {
	# shellcheck disable=SC2086  # one word per option
	meta create-md $3 >/dev/null
	# shellcheck disable=SC2086
	attach_device $2
	drbd new-current-uuid --clear-bitmap "$minor"
	drbd primary "$minor" --force
	use_device "$1"
}

# read_case ATTACH
read_case() {
	echo "@ gi" && meta get-gi
	echo "@ before" && meta dump-md
	meta apply-al >/dev/null
	echo "@ after" && meta dump-md
	# shellcheck disable=SC2086
	attach_device $1
	echo "@ kernel" && grep -A 1 "^ *$minor:" /proc/drbd
}

modprobe drbd usermode_helper=disabled
mkdir -p /var/lib/drbd
minor=0
while IFS='|' read -r name kind use attach create; do
	step "$name"
	disk=$(next_disk) && letter=${disk#/dev/vd}
	metadisk=$disk
	[ "$kind" = internal ] || { metadisk=$(next_disk) && letter=${metadisk#/dev/vd}; }
	case $PHASE in
	write) write_case "$use" "$attach" "$create" ;;
	read) read_case "$attach" ;;
	esac
	minor=$((minor + 1))
done <<<"$CASES"
step end

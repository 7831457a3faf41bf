# shellcheck shell=bash
# The target itself runs here, on a disk that records what becomes durable (dm-log-writes), under a file system of this
# kernel's initiator, while the clock jumps. Marks in the record tell the host what had been synced. From the host: the program pollux beside this
# script, disks vdc (data) and vdd (record), FILES.
# shellcheck source=test/vm/guest/lib.sh
. "$INPUT/lib.sh"
iqn=iqn.2016-06.io.spdk:disk0
portal=127.0.0.1:3260

# mark WORD...: a mark is one word for the kernel.
mark() { local IFS=:; dmsetup message logged 0 mark "$*"; }
# content I: what file I holds; the host computes the same.
content() { seq $(($1 * 1000)) $(($1 * 1000 + $1 * 300)); }
target_answers() { "$INPUT/pollux" rpc -s /run/pollux.sock iscsi_get_target_nodes | grep -q "$iqn"; }

step the recording disk
modprobe dm-log-writes
dmsetup create logged --noudevsync --table "0 $(blockdev --getsz /dev/vdc) log-writes /dev/vdc /dev/vdd"
[ -b /dev/mapper/logged ] || dmsetup mknodes

step the target
"$INPUT/pollux" serve --file /dev/mapper/logged --listen $portal -r /run/pollux.sock --max-data-memory 64M >/tmp/target 2>&1 &
target=$!
eventually 60 target_answers
grep 'level=' /tmp/target || true

step the initiator
start_initiator
iscsiadm -m discovery -t sendtargets -p $portal
disk=$(attach $iqn)
make_fs ext4 "$disk"
sync
mark made

step writing
mount "$disk" /mnt
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
		rm "/mnt/file$((i - 1))"
		sync /mnt
		mark gone $((i - 1)) "file$((i - 1))"
		sync # everything, so that metadata goes to its place too
	fi
done
umount /mnt
if dmesg | grep -E 'conn error|ping timeout'; then die "the session was lost"; fi
check_fs ext4 "$disk"
detach $iqn
kill -TERM $target
wait $target || { cat /tmp/target; die "the target ended badly"; }
mark end
dmsetup remove --noudevsync logged
step end

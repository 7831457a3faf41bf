# shellcheck shell=bash
# A file system on a LUN whose handler runs in a helper process, which is killed while files are written: the guest notices
# nothing but a pause, and nothing is lost. From the host: NODE, and `host crash`.
# shellcheck source=test/vm/guest/lib.sh
. "$INPUT/lib.sh"
tree=/usr/sbin

start_initiator
discover
disk=$(attach "$NODE")
step ext4
make_fs ext4 "$disk"
mount "$disk" /mnt
sums $tree >/tmp/want
cp -a $tree /mnt/before
sync
step "helper killed while files are written"
fio --name=verify --directory=/mnt --rw=randwrite --bs=4k --iodepth=8 --ioengine=libaio --direct=1 --size=8m \
	--rate_iops=1000 --verify=crc32c --do_verify=1 --verify_fatal=1 --fallocate=none --minimal >/tmp/fio &
fio=$!
for _ in 1 2 3; do
	cp -a $tree /mnt/during
	host crash
	sync
	rm -rf /mnt/during
done
cp -a $tree /mnt/after
wait $fio || { cat /tmp/fio; die "fio did not survive"; }
umount /mnt
check_fs ext4 "$disk"
drop_caches
mount "$disk" /mnt
for copy in before after; do
	sums "/mnt/$copy" >/tmp/have
	cmp /tmp/want /tmp/have
done
echo "$(wc -l </tmp/want) files agree"
umount /mnt
detach "$NODE"

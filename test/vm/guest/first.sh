#!/bin/bash
# The guest's process 1: the least that programs expect of a system, then the test's script, then its exit status to the host.
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=dumb LANG=C INPUT=/run/input
mkdir -p /dev/pts /dev/shm /run/lock/iscsi
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
ln -s /proc/self/fd /dev/fd
for port in /sys/class/virtio-ports/vport*; do ln -s "${port##*/}" "/dev/host.$(<"$port/name")"; done
exec </dev/null >/dev/host.output 2>&1
ip link set lo up
ip address add 192.0.2.10/24 dev eth0
ip link set eth0 up
# shellcheck source=/dev/null
. $INPUT/environment
cd /root || exit
setsid -w bash $INPUT/script
status=$?
dmesg | tail -n 60 >/dev/host.dmesg
echo "exit $status" >/dev/host.control
echo b >/proc/sysrq-trigger
sleep 60

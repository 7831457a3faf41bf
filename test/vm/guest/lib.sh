# shellcheck shell=bash
# What scripts in the guest have in common:  . "$INPUT/lib.sh"
# $HOST leads to the host's 127.0.0.1, $PORT is the portal there.
set -euo pipefail
trap 'echo "FAILED at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR

step() { echo "== $* [$(cut -d' ' -f1 /proc/uptime) s]"; }
die() {
	echo "FAILED: $*"
	exit 1
}

# host WORD...: has the test on the host do something, prints what it says, returns its status.
host() {
	local line
	exec 8<>/dev/host.control
	printf 'call %s\n' "$*" >&8
	while IFS= read -r line <&8; do
		case $line in
		'|'*) printf '%s\n' "${line#|}" ;;
		'='*) exec 8>&- && return "${line#=}" ;;
		esac
	done
	return 1
}

# eventually SECONDS COMMAND...: repeats the command until it succeeds.
eventually() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || die "gave up on: $*"
		sleep 0.1
	done
}

start_initiator() {
	modprobe -a iscsi_tcp sd_mod sg
	iscsid -p /run/iscsid.pid
}

node() { local iqn=$1; shift; iscsiadm -m node -T "$iqn" "$@"; }
set_node() { node "$1" -o update -n "$2" -v "$3"; }

# discover: SendTargets. The portals come as the target knows them, at 127.0.0.1; from here they are reached at $HOST, so
# the records are moved there.
discover() {
	local record moved
	iscsiadm -m discovery -t sendtargets -p "$HOST:$PORT"
	for record in /etc/iscsi/nodes/*/127.0.0.1,*; do
		moved=${record/127.0.0.1,/$HOST,}
		mv "$record" "$moved"
		sed -i "s/^node.conn\[0\].address = .*/node.conn[0].address = $HOST/" "$moved/default"
	done
	iscsiadm -m node -o update -n node.startup -v manual
}

# attach IQN: logs in and prints the disk of the only LUN.
attach() {
	local disk
	node "$1" --login >/dev/null
	eventually 60 sh -c "iscsiadm -m session -P3 | sed -n '/^Target: $1 /,/^Target: /p' | grep 'Attached scsi disk'"
	disk=$(iscsiadm -m session -P3 | awk -v iqn="$1" '$1 == "Target:" {mine = $2 == iqn} mine && /Attached scsi disk/ {print $4}')
	eventually 60 test -b "/dev/$disk"
	echo "/dev/$disk"
}
detach() { node "$1" --logout >/dev/null; }

# session_says IQN PATTERN: what iscsiadm shows of the session.
session_says() { iscsiadm -m session -P2 | sed -n "/^Target: $1 /,/^Target: /p" | grep -E -- "$2"; }

drop_caches() { sync; echo 3 >/proc/sys/vm/drop_caches; }

make_fs() { # TYPE DISK
	case $1 in
	ext4) mkfs.ext4 -q -F "$2" ;;
	xfs) mkfs.xfs -q -f "$2" ;;
	esac
}
check_fs() { # TYPE DISK
	case $1 in
	ext4) fsck.ext4 -f -n "$2" >/tmp/fsck 2>&1 || { cat /tmp/fsck; die "fsck.ext4"; } ;;
	xfs) xfs_repair -n "$2" >/tmp/fsck 2>&1 || { cat /tmp/fsck; die "xfs_repair"; } ;;
	esac
}

# sums FOLDER: the checksum of every file in it, relative to it.
sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 cksum); }

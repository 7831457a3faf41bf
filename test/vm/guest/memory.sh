# shellcheck shell=bash
# The target in a control group with a memory limit, under initiators that push. From the host: the program pollux beside this
# script, the disk vdc, DATA (--max-data-memory in MiB) and REST (MiB that the limit has beside it).
# shellcheck source=test/vm/guest/lib.sh
. "$INPUT/lib.sh"
portal=127.0.0.1:3260
group=/sys/fs/cgroup/target

# Commands, not functions, so that $! is their process.
# shellcheck disable=SC2016  # for the inner shell
serve=(sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group"
	"$INPUT/pollux" serve --file /dev/vdc --listen "$portal" -r /run/pollux.sock)
bench=("$INPUT/pollux" bench --portal "$portal" --wait block --block-size 64K --connections 24 --depth 32)
limit() { echo "$(($1 << 20))" >$group/memory.max; } # MiB
target_answers() { "$INPUT/pollux" rpc -s /run/pollux.sock iscsi_get_target_nodes | grep -q disk0; }
event() { awk -v name="$1" '$1 == name {print $2}' $group/memory.events; }

# refuses LIMIT WORD... -- OPTION...: the target ends at once and says all the words.
refuses() {
	local words=() status=0 word
	limit "$1"
	shift
	while [ "$1" != -- ]; do
		words+=("$1")
		shift
	done
	"${serve[@]}" "${@:2}" >/tmp/refused 2>&1 || status=$?
	cat /tmp/refused
	[ $status = 1 ] || die "exit status $status"
	[ "$(wc -l </tmp/refused)" = 1 ] || die "more than a line"
	for word in "${words[@]}"; do grep -qF -- "$word" /tmp/refused || die "the message lacks $word"; done
}

mkdir -p /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir $group

step limits that are too small
refuses $((DATA + REST)) "$group/memory.max" "$((DATA + REST)) MiB" "--max-data-memory" -- --max-data-memory $((DATA + REST))M
refuses 16 "$group/memory.max" "16 MiB" "raise it to" -- --max-data-memory "${DATA}M"

step the target within $((DATA + REST)) MiB
limit $((DATA + REST))
"${serve[@]}" --max-data-memory "${DATA}M" >/tmp/target 2>&1 &
target=$!
eventually 60 target_answers

step initiators that push
"${bench[@]}" --read-share 50 --verify --count 3000
step initiators that push and read nothing
"${bench[@]}" --read-share 100 --duration 600s --span 4M &
deaf=$!
before=$(awk '{print $1}' /sys/block/vdc/stat)
# shellcheck disable=SC2317  # called by eventually
has_read() { [ "$(awk '{print $1}' /sys/block/vdc/stat)" -gt $((before + 500)) ]; }
eventually 120 has_read
kill -STOP $deaf
"${bench[@]}" --read-share 50 --verify --count 1000
kill -KILL $deaf

step end
echo "peak $(($(<$group/memory.peak) >> 20)) MiB; $(tr '\n' ' ' <$group/memory.events)" 2>/dev/null || cat $group/memory.events
[ "$(event oom_kill)" = 0 ] || die "the kernel has killed"
kill -TERM $target
wait $target || { cat /tmp/target; die "the target ended badly"; }

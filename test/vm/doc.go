// Package vm has the Linux kernel's iSCSI initiator use the built binary: Debian's kernel and open-iscsi in a qemu guest,
// emulated in software, so that it runs wherever qemu does; no root, no KVM.
//
// image/build.sh makes the guest once from Debian's packages, in the tests' cache. A test starts a target on the host's
// loopback, boots the guest with a script from guest/, and is handed the script's output and exit status. In the guest
// 192.0.2.2 is the host's 127.0.0.1, and nothing else is reachable. A line "host WORD..." in a script is a call to the test,
// which stops and starts the target by it.
//
// In powerloss.sh the target itself runs in the guest, on a disk that records what becomes durable; package powerloss and
// powerloss_test.go replay the record. In memory.sh it runs in a control group with a memory limit, in hung.sh on a disk that stops answering.
//
// In drbd.sh the kernel's DRBD writes to disks until the power goes, and at the next boot drbdmeta and the kernel say what they
// find; drbd_test.go has the built binary read the disks in between.
//
// machine.go boots the guest and speaks with it; vm_test.go holds the tests. The emulated processor is slow (a boot takes 4 s
// on an idle machine, and a minute on a busy one), so time limits are generous and nothing is measured.
package vm

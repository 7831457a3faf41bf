// Package powerloss replays what Linux's dm-log-writes has recorded below a target, up to any point of the record: the disk as
// a loss of power at that moment would leave it, with everything gone that no flush had made durable.
//
// The device mapper puts a write into its log when a flush completes that came after it (or at once, if it is FUA), so the log's order
// is the order in which things became durable. Marks are put between them by `dmsetup message NAME 0 mark TEXT`.
//
// log.go reads the log; it neither trusts its lengths nor writes to it.
package powerloss

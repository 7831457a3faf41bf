// Package md drives `pollux replicated md` of the built binary on files and on block devices.
//
// For DRBD's metadata (v08) drbdmeta of Debian's drbd-utils is the judge: it lays them out, activity logs are made as the kernel
// would have left them after any history, and what counts as dirty must be what `drbdmeta apply-al` makes dirty. No root is
// needed. What a real kernel leaves is in package vm.
package md

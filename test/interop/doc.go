// Package interop shows initiators in user space that others wrote working with the built binary: libiscsi's programs and
// qemu-img, on malloc and aio, with 512 and 4096 byte blocks, with digests and with CHAP, with one reactor and with two.
//
// The real input is an ext4 image full of files of the Go distribution. It is written to the LUN and read back by qemu-img
// and must be the same to the byte, and a file system without a fault.
package interop

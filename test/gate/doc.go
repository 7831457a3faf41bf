// Package gate holds the promises that Pollux stands on, shown on the built binary over TCP, with one reactor and with two:
// a logical block is one instant, what is fenced off stays off, a connection that is cut leaves nothing behind, an I/O
// allocates nothing, serial numbers wrap, and sizes and addresses have no edge that data falls off.
//
// The same promises are shown with seeded interleavings next to the code that keeps them. Here initiators of package
// iscsi/initiator run on a reactor of the test process.
package gate

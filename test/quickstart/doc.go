// Package quickstart does what the README's first lines tell a newcomer to do: make run, paste the printed lines, end it with
// Ctrl-C. It also holds what a user sees of the program as such: exit statuses, help, the RPC socket's mode and lock.
package quickstart

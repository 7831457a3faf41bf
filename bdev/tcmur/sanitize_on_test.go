//go:build invariants

package tcmur

// sanitizers watch the helper's memory in builds that watch everything else too: what they find ends it.
const sanitizers = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"

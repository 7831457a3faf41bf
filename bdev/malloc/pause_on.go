//go:build invariants

package malloc

// pausing lets a test run half way through a copy.
type pausing struct{ pause func() }

// copy is copy, with a look half way at what the other reactors may see.
func (d *disk) copy(dst, src []byte) {
	half := len(src) / 2
	copy(dst[:half], src[:half])
	d.halfWay()
	copy(dst[half:], src[half:])
}

// halfWay calls the test, if one has asked for it, once.
func (p *pausing) halfWay() {
	if pause := p.pause; pause != nil {
		p.pause = nil
		pause()
		p.pause = pause
	}
}

package meta

import "fmt"

// A bitmap page: magic 0, checksum 4, slot 8, page number 12, sequence number 16; bits from 64 on.
const (
	bmMagic = 0x4d425247 // "GRBM"
	bmCRC   = 4
)

// EncodeBitmap writes one page of a slot's bitmap; bits that words do not cover are clear.
func EncodeBitmap(p *Page, slot, page int, seq uint64, words []uint64) {
	*p = Page{}
	p.set32(0, bmMagic)
	p.set32(8, uint32(slot))
	p.set32(12, uint32(page))
	p.set64(16, seq)
	for i, w := range words[:min(len(words), PageBits/64)] {
		p.set64(bitmapHeader+8*i, w)
	}
	p.seal(bmCRC)
}

// DecodeBitmap reads one page into words. A page that is not the one asked for, or is damaged, is all ones, and says so:
// it costs a resync of what it covers.
func DecodeBitmap(p *Page, slot, page int, words []uint64) error {
	if p.u32(0) != bmMagic || !p.sealed(bmCRC) || p.u32(8) != uint32(slot) || p.u32(12) != uint32(page) {
		for i := range words {
			words[i] = ^uint64(0)
		}
		return fmt.Errorf("bitmap slot %d page %d: %w", slot, page, ErrTorn)
	}
	for i := range words {
		words[i] = p.u64(bitmapHeader + 8*i)
	}
	return nil
}

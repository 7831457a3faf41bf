// Package drbdmeta reads what the program drbdmeta of drbd-utils prints of DRBD's metadata, and what `pollux replicated md dump
// --bits` prints, so that tests can compare them: bitmaps, and line for line the superblock.
package drbdmeta

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Number is a field of drbdmeta's dump, or of /proc/drbd.
func Number(text, name string) (uint64, error) {
	found := regexp.MustCompile(`(?m)(?:^|# |\s)` + name + `[ :](0x[0-9A-F]+|[0-9]+);?$`).FindStringSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("no %s in:\n%.1000s", name, text)
	}
	return strconv.ParseUint(found[1], 0, 64)
}

// Bits is how many bits the bitmap has.
func Bits(dump string) (int, error) {
	sectors, err := Number(dump, "la-size-sect")
	return int(sectors+7) / 8, err
}

var words = regexp.MustCompile(`(?:([0-9]+) times )?0x([0-9A-F]{16});`)

// Bitmap is that of drbdmeta's dump: words, some with "N times" before them. What lies past the end of the device is left out:
// drbdmeta sets the bits of whole extents there.
func Bitmap(dump string) ([]bool, error) {
	bits, err := Bits(dump)
	if err != nil {
		return nil, err
	}
	_, text, _ := strings.Cut(dump, "\nbm {\n")
	text, _, _ = strings.Cut(text, "}")
	bitmap := make([]bool, 0, bits)
	for _, word := range words.FindAllStringSubmatch(text, -1) {
		times := 1
		if word[1] != "" {
			times, _ = strconv.Atoi(word[1])
		}
		value, err := strconv.ParseUint(word[2], 16, 64)
		if err != nil {
			return nil, err
		}
		for range times {
			for i := range 64 {
				bitmap = append(bitmap, value>>i&1 != 0)
			}
		}
	}
	if len(bitmap) < bits {
		return nil, fmt.Errorf("drbdmeta's bitmap has %d bits of %d", len(bitmap), bits)
	}
	return bitmap[:bits], nil
}

// Runs is the bitmap that Pollux says with lines "NAME FIRST LAST".
func Runs(dump, name string, bits int) ([]bool, error) {
	bitmap := make([]bool, bits)
	for line := range strings.Lines(dump) {
		run, ok := strings.CutPrefix(line, name+" ")
		if !ok {
			continue
		}
		var first, last int
		if _, err := fmt.Sscan(run, &first, &last); err != nil || last >= bits {
			return nil, fmt.Errorf("%q with %d bits: %w", line, bits, err)
		}
		for i := first; i <= last; i++ {
			bitmap[i] = true
		}
	}
	return bitmap, nil
}

// Difference tells where two bitmaps of the same size differ first, and how much; nothing if they do not.
func Difference(got, want []bool) string {
	first, n := -1, 0
	for i := range got {
		if got[i] != want[i] {
			if n++; first < 0 {
				first = i
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d bits differ, the first is %d: %v, not %v", n, len(got), first, got[first], want[first])
}

// flags are Pollux's names in the order of the bits; get-gi says them in another order.
var (
	flags   = []string{"consistent", "primary-ind", "connected-ind", "full-sync", "was-up-to-date", "peer-outdated", "crashed-primary"}
	giFlags = []string{"consistent", "was-up-to-date", "primary-ind", "connected-ind", "full-sync", "peer-outdated", "crashed-primary"}
)

// Superblock makes parts of Pollux's dump of drbdmeta's words: the outputs of get-gi and dump-md.
func Superblock(gi, dump string) (parts []string, err error) {
	field := func(name string) uint64 {
		n, e := Number(dump, name)
		if err == nil {
			err = e
		}
		return n
	}
	id := strings.Split(strings.TrimSpace(gi), ":")
	if len(id) != 4+len(giFlags) {
		return nil, fmt.Errorf("get-gi says %q", gi)
	}
	var set []string
	for _, name := range flags {
		if id[4+slices.Index(giFlags, name)] == "1" {
			set = append(set, name)
		}
	}
	return []string{
		fmt.Sprintf("superblock at %d, unclean %v, %d sectors\n", field("md_offset"), strings.Contains(dump, "unclean"), field("md_size_sect")),
		fmt.Sprintf("size %d, one bit for %d bytes, peer's largest request %d\n", field("la-size-sect")*512, field("bm-byte-per-bit"), field("la-peer-max-bio-size")),
		fmt.Sprintf("flags %s", strings.Join(set, ",")),
		fmt.Sprintf("device %016X\n", field("device-uuid")),
		fmt.Sprintf("current %s bitmap %s history %s %s\n", id[0], id[1], id[2], id[3]),
		fmt.Sprintf("activity log at %d, %d stripes of %d blocks, %d extents", field("al_offset"), field("al-stripes"), field("al-stripe-size-4k"), field("al-extents")),
		fmt.Sprintf("bitmap at %d, ", field("bm_offset")),
	}, err
}

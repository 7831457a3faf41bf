package bench

import (
	"encoding/binary"
	"hash/crc32"
)

// stampMagic begins every stamped block.
const stampMagic = 0x504f4c4c55583031 // "POLLUX01"

// Layout of a stamped block: magic, run, LBA, generation, filler, CRC32C of everything before.
const (
	stampRun        = 8
	stampLBA        = 16
	stampGeneration = 24
	stampFiller     = 32
	stampCRC        = 4 // from the end
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// putStamp fills block, one logical block.
func putStamp(block []byte, run, lba, generation uint64) {
	binary.BigEndian.PutUint64(block, stampMagic)
	binary.BigEndian.PutUint64(block[stampRun:], run)
	binary.BigEndian.PutUint64(block[stampLBA:], lba)
	binary.BigEndian.PutUint64(block[stampGeneration:], generation)
	filler := block[stampFiller : len(block)-stampCRC]
	word := mix(run ^ lba<<20 ^ generation)
	for len(filler) >= 8 {
		binary.LittleEndian.PutUint64(filler, word)
		word += 0x9e3779b97f4a7c15
		filler = filler[8:]
	}
	clear(filler)
	sum := crc32.Checksum(block[:len(block)-stampCRC], castagnoli)
	binary.BigEndian.PutUint32(block[len(block)-stampCRC:], sum)
}

// found is what a block turns out to be.
type found uint8

const (
	foundStamp  found = iota // a whole stamp of this run, for this LBA
	foundOther               // something else: never written in this run, or lost
	foundBroken              // a stamp whose CRC is wrong: parts of two writes, or damage
	foundMoved               // a stamp of this run for another LBA
)

func (f found) String() string {
	return [...]string{"a stamp", "no stamp of this run", "a broken stamp", "the stamp of another block"}[f]
}

// checkStamp reads a block.
func checkStamp(block []byte, run, lba uint64) (generation uint64, f found) {
	if binary.BigEndian.Uint64(block) != stampMagic || binary.BigEndian.Uint64(block[stampRun:]) != run {
		return 0, foundOther
	}
	sum := crc32.Checksum(block[:len(block)-stampCRC], castagnoli)
	if binary.BigEndian.Uint32(block[len(block)-stampCRC:]) != sum {
		return 0, foundBroken
	}
	generation = binary.BigEndian.Uint64(block[stampGeneration:])
	if binary.BigEndian.Uint64(block[stampLBA:]) != lba {
		return generation, foundMoved
	}
	return generation, foundStamp
}

// mix spreads the bits of x (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

package iobuf

import (
	"testing"
	"unsafe"
)

func TestMappedMemoryIsAlignedZeroAndWhole(t *testing.T) {
	for _, size := range []int{MinSize, 3 * MinSize, SlabSize, SlabSize + MinSize, 3 * SlabSize} {
		mem, err := Map(size)
		if err != nil {
			t.Fatal(err)
		}
		Populate(mem)
		if len(mem) != size || cap(mem) != size {
			t.Errorf("%d bytes: len %d, cap %d", size, len(mem), cap(mem))
		}
		if at := uintptr(unsafe.Pointer(&mem[0])); at%MinSize != 0 {
			t.Errorf("%d bytes start at %#x", size, at)
		}
		for i := 0; i < size; i += MinSize / 2 {
			if mem[i] != 0 {
				t.Fatalf("%d bytes: not zero at %d", size, i)
			}
			mem[i] = 1
		}
		mem[size-1] = 1
		Unmap(mem)
	}
}

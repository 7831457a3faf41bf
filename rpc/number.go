package rpc

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// exponentMax bounds the exponents that are looked at: 2^64 has 20 digits,
// and a request cannot hold more digits than this to balance a larger one.
const exponentMax = 1 << 30

// integer is a number of SPDK's dialect, in which 2048, 2048.0 and 2e3 are
// integers and 0.5 is not.
type integer struct {
	negative  bool
	magnitude uint64
	overflow  bool // the magnitude is more than 64 bits
}

// parseInteger reads a valid JSON number. It reports false when the number
// has a fraction.
func parseInteger(number string) (integer, bool) {
	n := integer{}
	number, n.negative = strings.CutPrefix(number, "-")
	mantissa, exponentText, _ := strings.Cut(strings.ToLower(number), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return integer{}, true
	}
	exponent := parseExponent(exponentText) - len(fraction)
	stripped := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(stripped)
	if exponent < 0 {
		return n, false
	}
	if len(stripped)+exponent > len("18446744073709551615") {
		n.overflow = true
		return n, true
	}
	magnitude, err := strconv.ParseUint(stripped+strings.Repeat("0", exponent), 10, 64)
	n.magnitude, n.overflow = magnitude, err != nil
	return n, true
}

// parseExponent clips at exponentMax, far outside of what an integer can be.
func parseExponent(text string) int {
	if text == "" {
		return 0
	}
	exponent, err := strconv.Atoi(text)
	if err != nil || exponent > exponentMax || exponent < -exponentMax {
		if text[0] == '-' {
			return -exponentMax
		}
		return exponentMax
	}
	return exponent
}

// int64 returns the value if it fits.
func (n integer) int64() (int64, bool) {
	switch {
	case n.overflow:
		return 0, false
	case n.negative && n.magnitude == 1<<63:
		return math.MinInt64, true
	case n.magnitude > math.MaxInt64:
		return 0, false
	case n.negative:
		return -int64(n.magnitude), true
	}
	return int64(n.magnitude), true
}

// uint64 returns the value if it fits.
func (n integer) uint64() (uint64, bool) {
	return n.magnitude, !n.overflow && (!n.negative || n.magnitude == 0)
}

// decodeInteger stores a number in an integer of any size and names the
// parameter and its range when it does not fit.
func decodeInteger(v value, dst reflect.Value, f *field, path string) *paramError {
	if v.kind != kindNumber {
		return mismatch(v, path, kindNumber)
	}
	n, ok := parseInteger(v.text)
	if !ok {
		return paramErrorf("parameter %q: must be an integer, not %s", path, v.text)
	}
	lowest, highest := limits(dst, f)
	if !n.within(lowest, highest) {
		return &paramError{outOfRange: true, text: fmt.Sprintf("parameter %q: %s is not between %d and %d", path, v.text, lowest, highest)}
	}
	if dst.CanInt() {
		i, _ := n.int64()
		dst.SetInt(i)
	} else {
		u, _ := n.uint64()
		dst.SetUint(u)
	}
	return nil
}

// limits are the range of the type, narrowed by the tags min and max.
func limits(dst reflect.Value, f *field) (lowest int64, highest uint64) {
	bits := dst.Type().Bits()
	highest = math.MaxUint64 >> (64 - bits)
	if dst.CanInt() {
		highest >>= 1
		lowest = -int64(highest) - 1
	}
	if f.min != nil {
		lowest = *f.min
	}
	if f.max != nil {
		highest = uint64(*f.max)
	}
	return lowest, highest
}

func (n integer) within(lowest int64, highest uint64) bool {
	if u, ok := n.uint64(); ok {
		return u <= highest && (lowest <= 0 || u >= uint64(lowest))
	}
	i, ok := n.int64()
	return ok && i >= lowest
}

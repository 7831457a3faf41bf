package bench

import "math/bits"

// Histogram counts latencies in nanoseconds in log-linear buckets: subBuckets per power of two, so that a value is known to within
// 1/subBuckets (1.6 %). The zero Histogram is empty.
type Histogram struct {
	counts [bucketCount]uint64
	total  uint64
	sum    uint64
	max    uint64
}

const (
	subBits     = 6
	subBuckets  = 1 << subBits
	bucketCount = (64 - subBits + 1) * subBuckets
)

// bucket is the index for v: its leading bit chooses the group, the subBits below it the bucket.
func bucket(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits + int(v>>shift)&(subBuckets-1)
}

// upper is the largest value of a bucket.
func upper(i int) uint64 {
	group, sub := i>>subBits, uint64(i&(subBuckets-1))
	if group == 0 {
		return sub
	}
	return (subBuckets+sub+1)<<(group-1) - 1
}

// Add counts one latency.
func (h *Histogram) Add(v uint64) {
	h.counts[bucket(v)]++
	h.total++
	h.sum += v
	h.max = max(h.max, v)
}

// Merge adds o's counts.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// Percentile is the latency that the fraction p of all does not exceed.
func (h *Histogram) Percentile(p float64) uint64 {
	want := uint64(p * float64(h.total))
	var seen uint64
	for i, n := range h.counts {
		if seen += n; n > 0 && seen >= want {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

// Mean is the average.
func (h *Histogram) Mean() float64 {
	if h.total == 0 {
		return 0
	}
	return float64(h.sum) / float64(h.total)
}

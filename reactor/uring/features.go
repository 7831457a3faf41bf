package uring

import (
	"fmt"
	"math/bits"
	"strings"
)

// Features is a set of what a kernel offers and what a user may mask off.
type Features uint32

// Each feature has a tested road for when it is missing.
const (
	FeatureDeferTaskrun Features = 1 << iota
	FeatureRecvMultishot
	FeatureAcceptMultishot
	FeatureBufferRing
	FeatureBufferRingInc
	FeatureNoSQArray
	FeatureRegisteredBuffers
	FeatureURing // io_uring as a whole

	featureEnd
)

// FeaturesAll is every feature.
const FeaturesAll = featureEnd - 1

// featureNames is in the order of the bits.
var featureNames = [...]string{
	"defer-taskrun", "recv-multishot", "accept-multishot", "buffer-ring", "buffer-ring-inc", "no-sqarray",
	"registered-buffers", "io-uring",
}

// featureCauses says, in the order of the bits, why a feature is missing.
var featureCauses = [...]string{
	"Linux is older than 6.1", "Linux is older than 6.0", "Linux is older than 5.19", "Linux is older than 5.19",
	"Linux is older than 6.12", "Linux is older than 6.6", "RLIMIT_MEMLOCK is too small", "io_uring is not available",
}

// Cause is the likely reason why the features of f are missing: that of the most basic one.
func (f Features) Cause() string {
	for _, bit := range [...]Features{
		FeatureURing, FeatureBufferRing, FeatureAcceptMultishot, FeatureRecvMultishot, FeatureDeferTaskrun,
		FeatureNoSQArray, FeatureBufferRingInc, FeatureRegisteredBuffers,
	} {
		if f&bit != 0 {
			return featureCauses[bits.TrailingZeros32(uint32(bit))]
		}
	}
	return ""
}

// Has reports whether all of g are in f.
func (f Features) Has(g Features) bool { return f&g == g }

// String lists the features by name, separated by commas.
func (f Features) String() string {
	var names []string
	for i, name := range featureNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseFeatures is the opposite of String; an unknown name is an error that lists the known ones.
func ParseFeatures(s string) (Features, error) {
	var f Features
	for name := range strings.SplitSeq(s, ",") {
		if name == "" {
			continue
		}
		bit := featureBit(name)
		if bit == 0 {
			return 0, fmt.Errorf("unknown kernel feature %q, known are %s", name, FeaturesAll)
		}
		f |= bit
	}
	return f, nil
}

func featureBit(name string) Features {
	for i, known := range featureNames {
		if name == known {
			return 1 << i
		}
	}
	return 0
}

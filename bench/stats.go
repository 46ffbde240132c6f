package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// percentile is the nearest rank in sorted values: the smallest one that p
// percent of them do not exceed. Of none it is zero.
func percentile[T cmp.Ordered](sorted []T, p float64) T {
	var zero T
	if len(sorted) == 0 {
		return zero
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// spread is a number over the rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// over makes the spread of what f finds in each round.
func over[T any](rounds []T, f func(T) float64) spread {
	var v []float64
	for _, r := range rounds {
		v = append(v, f(r))
	}
	return spreadOf(v)
}

func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(v))
	return spread{median(s), s[0], s[len(s)-1]}
}

// median of sorted values; of an even number, the mean of the two in the middle.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratio is a/b, and zero where nothing was measured.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// text is the median and, in parentheses, what it was taken from.
func (s spread) text(format string) string {
	return fmt.Sprintf(format+" ("+format+"–"+format+")", s.Median, s.Min, s.Max)
}

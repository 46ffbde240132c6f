package inspect

import "strings"

// lookalikes are the names' characters that are taken for one another, each as the one
// that stands for all: those of confusables.txt (UTS #39) that are ASCII, and the
// separators, which people do not remember. Names that are exposed have no others, so
// that neither normalization nor another alphabet comes into it.
var lookalikes = strings.NewReplacer("0", "o", "1", "l", "i", "l", "rn", "m",
	"_", "", "-", "", ".", "", "/", "")

// Skeleton is what remains of a tool's name when all that people and models overlook is
// gone: two names with one skeleton are taken for each other.
func Skeleton(name string) string { return lookalikes.Replace(strings.ToLower(name)) }

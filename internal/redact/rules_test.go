package redact

import (
	"math"
	"testing"
)

// TestEveryRuleCompiles: they are compiled when first needed, which is too late to fail.
func TestEveryRuleCompiles(t *testing.T) {
	t.Parallel()
	s, err := builtin()
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for _, r := range s.rules {
		if e := r.compile(); r.Group > e.NumSubexp() || len(r.Keywords) == 0 {
			t.Errorf("rule %s: group %d of %d, keywords %v", r.ID, r.Group, e.NumSubexp(), r.Keywords)
		}
		if !r.atKeyword {
			whole++
		}
		for _, a := range r.Allow {
			if a.compile != nil {
				a.compile()
			}
		}
	}
	if len(s.rules) < 200 || whole > 25 {
		t.Errorf("%d rules, of which %d read the whole text for one keyword: too few, or too slow", len(s.rules), whole)
	}
}

func TestKeywordsAreFoundInAnyCaseAndWithinOneAnother(t *testing.T) {
	t.Parallel()
	words := []string{"key", "monkey", "keyed", "ey", "k-1"}
	found := map[string]int{}
	_ = newKeywords(words).each("MonKEYed K-1, ke", func(word int32, start int) error {
		found[words[word]] = start
		return nil
	})
	want := map[string]int{"monkey": 0, "key": 3, "ey": 4, "keyed": 3, "k-1": 9}
	if len(found) != len(want) {
		t.Fatalf("found %v, want %v", found, want)
	}
	for w, at := range want {
		if found[w] != at {
			t.Errorf("%s at %d, want %d", w, found[w], at)
		}
	}
}

func TestEntropy(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]float64{"": 0, "aaaa": 0, "abab": 1, "abcd": 2, "abcdefgh": 3} {
		if got := entropy(s); math.Abs(got-want) > 1e-9 {
			t.Errorf("entropy(%q) = %v, want %v", s, got, want)
		}
	}
}

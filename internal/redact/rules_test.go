package redact

import (
	"math"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
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

// TestRulesFindWhatTheirExpressionsMatch: running a rule at its keyword, or not at all
// where nothing looks like a value, must lose nothing.
func TestRulesFindWhatTheirExpressionsMatch(t *testing.T) {
	t.Parallel()
	s, err := builtin()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, r := range s.rules {
		plain := regexp.MustCompile(r.Regex)
		for seed := range 10 {
			in := look("x " + sample(r.Regex, seed) + " ").text // without K for k, which (?i) takes
			only := alone(r)
			if !plain.MatchString(in) || !only.names(in) { // a boundary, or the keyword, is not there
				continue
			}
			p := &pass{Redactor: &Redactor{rules: only}, budget: budgetFor(len(in))}
			if found, err := p.search(in); err != nil || len(found) == 0 {
				t.Errorf("rule %s finds nothing in %q: %v", r.ID, in, err)
			}
			checked++
		}
	}
	if checked < 1500 {
		t.Errorf("%d samples: too few to show anything", checked)
	}
}

// alone is a ruleset of one rule, which takes what is not as random as a secret.
func alone(r rule) *ruleset {
	r.Entropy, r.Allow = 0, nil
	out := &ruleset{rules: []rule{r}, keywords: newKeywords(r.Keywords)}
	for range r.Keywords {
		out.of = append(out.of, []int{0})
	}
	return out
}

// sample makes a text that an expression matches, but for the boundaries in it.
func sample(expression string, seed int) string {
	for _, boundary := range []string{`\b`, `|$`, `|\z`, `^|`} {
		expression = strings.ReplaceAll(expression, boundary, "")
	}
	return rapid.StringMatching(expression).Example(seed)
}

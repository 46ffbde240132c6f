package keys_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/internal/keys"
)

// RewrapKey implements keys.RewrapStore.
func (m *memory) RewrapKey(_ context.Context, keyID string, before, after []byte) error {
	i := slices.IndexFunc(m.records, func(r keys.Record) bool { return r.KeyID == keyID && bytes.Equal(r.Wrapped, before) })
	if i < 0 {
		return keys.ErrChanged
	}
	m.records[i].Wrapped = after
	return nil
}

// named is a KEK somewhere else, whose uses are counted.
type named struct {
	keys.KEK
	name string
	uses int
	err  error
}

func (n *named) Name() string { return n.name }

func (n *named) Wrap(ctx context.Context, plain, purpose []byte) ([]byte, error) {
	n.uses++
	if n.err != nil {
		return nil, n.err
	}
	return n.KEK.Wrap(ctx, plain, purpose)
}

func (n *named) Unwrap(ctx context.Context, wrapped, purpose []byte) ([]byte, error) {
	n.uses++
	if n.err != nil {
		return nil, n.err
	}
	return n.KEK.Unwrap(ctx, wrapped, purpose)
}

// byFile is a store with keys that the file wrapped.
func byFile(t *testing.T) (*memory, keys.KEK) {
	t.Helper()
	var s memory
	file := keys.KEK{4}
	if _, err := keys.Open(t.Context(), &s, file, clock); err != nil {
		t.Fatal(err)
	}
	return &s, file
}

// opens is what comes of opening the store with the wrapper alone.
func opens(t *testing.T, s *memory, w keys.Wrapper) error {
	t.Helper()
	_, err := keys.Open(t.Context(), s, w, clock)
	return err
}

func TestRewrapMovesEveryKeyAndBack(t *testing.T) {
	s, file := byFile(t)
	before := slices.Clone(s.records)
	elsewhere := &named{KEK: keys.KEK{5}, name: "vault:transit/x"}
	other := keys.KEK{6}
	for _, step := range []struct{ from, to keys.Wrapper }{{file, elsewhere}, {elsewhere, file}, {file, other}, {nil, other}} {
		done := 0
		err := keys.Rewrap(t.Context(), keys.Rewrapping{Store: s, From: step.from, To: step.to, Operator: "root", Done: func(r keys.Record) {
			done++
			if r.WrappedBy() != step.to.Name() || r.Rewrapper() != "root" {
				t.Errorf("wrapped by %s, wanted by %s", r.WrappedBy(), r.Rewrapper())
			}
		}})
		if err != nil || done != 6 || opens(t, s, step.to) != nil {
			t.Fatalf("%v: %d done, opens: %v", err, done, opens(t, s, step.to))
		}
		if step.from != nil && !errors.Is(opens(t, s, step.from), keys.ErrWrongKEK) {
			t.Error("what wrapped the keys before opens them still")
		}
	}
	for i, r := range s.records {
		if r.KeyID != before[i].KeyID || !bytes.Equal(r.Public, before[i].Public) || !r.Activated.Equal(before[i].Activated) {
			t.Errorf("key %s is not what it was", before[i].KeyID)
		}
	}
}

// TestRewrapThatEndsInTheMiddleIsDoneAgain: each key is the one or the other, and a ring
// that knows both opens the store at any time.
func TestRewrapThatEndsInTheMiddleIsDoneAgain(t *testing.T) {
	for n := range 6 {
		s, file := byFile(t)
		elsewhere := &named{KEK: keys.KEK{5}, name: "vault:transit/x"}
		end := errors.New("the power is gone")
		left := n
		err := keys.Rewrap(t.Context(), keys.Rewrapping{Store: s, From: file, To: elsewhere, Record: func(context.Context, keys.Record, keys.Record) error {
			if left--; left < 0 {
				return end
			}
			return nil
		}})
		moved := 0
		for _, r := range s.records {
			if r.WrappedBy() == elsewhere.name {
				moved++
			}
		}
		if !errors.Is(err, end) || moved != n {
			t.Errorf("after %d: %v, and %d are moved: what is not recorded is not done", n, err, moved)
		}
		if _, err := keys.New(t.Context(), keys.Config{Store: s, Wrapper: elsewhere, Former: file, Now: clock}); err != nil {
			t.Errorf("a ring that knows both: %v", err)
		}
		done := 0
		err = keys.Rewrap(t.Context(), keys.Rewrapping{Store: s, From: file, To: elsewhere, Done: func(keys.Record) { done++ }})
		if err != nil || done != 6-n || opens(t, s, elsewhere) != nil {
			t.Errorf("again after %d: %v, %d done", n, err, done)
		}
	}
}

// TestRewrapChangesNothingWhereAKeyDoesNotOpen, or where what wraps is away.
func TestRewrapChangesNothingWhereAKeyDoesNotOpen(t *testing.T) {
	away := errors.New("away")
	for name, tt := range map[string]struct {
		from, to keys.Wrapper
		change   func(s *memory)
		want     error
	}{
		"another file":      {keys.KEK{9}, &named{KEK: keys.KEK{5}, name: "vault:x"}, nil, keys.ErrWrongKEK},
		"one was changed":   {keys.KEK{4}, &named{KEK: keys.KEK{5}, name: "vault:x"}, func(s *memory) { s.records[5].Wrapped = []byte("x") }, keys.ErrWrongKEK},
		"nothing to be had": {keys.KEK{4}, &named{name: "vault:x", err: away}, nil, away},
	} {
		s, _ := byFile(t)
		if tt.change != nil {
			tt.change(s)
		}
		before := slices.Clone(s.records)
		err := keys.Rewrap(t.Context(), keys.Rewrapping{Store: s, From: tt.from, To: tt.to})
		if !errors.Is(err, tt.want) || !slices.EqualFunc(s.records, before, func(a, b keys.Record) bool { return bytes.Equal(a.Wrapped, b.Wrapped) }) {
			t.Errorf("%s: %v, want %v and no change", name, err, tt.want)
		}
	}
}

// TestRewrapLosesNoKeyOfAnotherOperator, who was faster.
func TestRewrapLosesNoKeyOfAnotherOperator(t *testing.T) {
	s, file := byFile(t)
	err := keys.Rewrap(t.Context(), keys.Rewrapping{Store: s, To: file, Record: func(_ context.Context, r, _ keys.Record) error {
		return s.RewrapKey(t.Context(), r.KeyID, r.Wrapped, []byte("the other's"))
	}})
	if !errors.Is(err, keys.ErrChanged) || string(s.records[0].Wrapped) != "the other's" {
		t.Errorf("Rewrap = %v, and there is %q", err, s.records[0].Wrapped)
	}
}

// TestMarkIsAuthenticated: who wanted a key wrapped anew cannot be changed, nor what
// wrapped it.
func TestMarkIsAuthenticated(t *testing.T) {
	s, file := byFile(t)
	elsewhere := &named{KEK: keys.KEK{5}, name: "vault:x"}
	if err := keys.Rewrap(t.Context(), keys.Rewrapping{Store: s, From: file, To: elsewhere, Operator: "alice"}); err != nil {
		t.Fatal(err)
	}
	good := s.records[0].Wrapped
	for from, to := range map[string]string{"alice": "mallory", "vault:x": "vault:y", `"}` + "\n": `"} ` + "\n", "wicketgate-wrapped": "wicketgate-wrappee", "\n": ""} {
		s.records[0].Wrapped = bytes.Replace(good, []byte(from), []byte(to), 1)
		if err := opens(t, s, elsewhere); !errors.Is(err, keys.ErrWrongKEK) {
			t.Errorf("%q for %q: %v, want %v", to, from, err, keys.ErrWrongKEK)
		}
	}
}

// TestOpenRingNeedsNoWrapper while there is nothing new: it goes on while that is away.
// Then a new key is an error, and what is open goes on.
func TestOpenRingNeedsNoWrapper(t *testing.T) {
	var s memory
	w := &named{KEK: keys.KEK{5}, name: "vault:x"}
	rings := []*keys.Ring{}
	for range 2 {
		r, err := keys.Open(t.Context(), &s, w, clock)
		if err != nil {
			t.Fatal(err)
		}
		rings = append(rings, r)
	}
	uses := w.uses
	if err := rings[0].Rotate(t.Context(), keys.UseToken, true); err != nil {
		t.Fatal(err)
	}
	rotating := w.uses - uses
	if rotating > 2 { // wraps and opens the new next key
		t.Errorf("%d uses by a rotation", rotating)
	}
	w.err = errors.New("away")
	if err := rings[0].Reload(t.Context()); err != nil || rings[0].State() != nil {
		t.Errorf("Reload without news = %v", err)
	}
	signs := rings[1].SigningKey().KeyID
	if err := rings[1].Reload(t.Context()); !errors.Is(err, w.err) || !errors.Is(rings[1].State(), w.err) || rings[1].SigningKey().KeyID != signs {
		t.Errorf("Reload with a new key = %v, State %v", err, rings[1].State())
	}
	w.err = nil
	if err := rings[1].Reload(t.Context()); err != nil || rings[1].State() != nil || rings[1].SigningKey().KeyID == signs {
		t.Errorf("Reload afterwards = %v", err)
	}
}

// TestRewrappingIsNoticed by rings that are open, once for each key, whether they can open
// it then or not. What cannot be written down is told again.
func TestRewrappingIsNoticed(t *testing.T) {
	s, file := byFile(t)
	var told []string
	full := errors.New("disk full")
	r, err := keys.New(t.Context(), keys.Config{Store: s, Wrapper: file, Now: clock, Rewrapped: func(_ context.Context, before, after keys.Record) error {
		if full != nil {
			return full
		}
		told = append(told, after.Rewrapper()+" "+before.WrappedBy()+" "+after.WrappedBy())
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := &named{KEK: keys.KEK{5}, name: "vault:x"}
	if err := keys.Rewrap(t.Context(), keys.Rewrapping{Store: s, From: file, To: elsewhere, Operator: "alice"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); !errors.Is(err, full) {
		t.Errorf("Reload = %v, want %v", err, full)
	}
	full = nil
	for range 2 {
		if err := r.Reload(t.Context()); !errors.Is(err, keys.ErrWrongKEK) || !strings.Contains(err.Error(), "wicketgate keys rewrap") {
			t.Errorf("Reload = %v, want %v", err, keys.ErrWrongKEK)
		}
	}
	if len(told) != 6 || told[0] != "alice file vault:x" {
		t.Errorf("told of %q", told)
	}
	accessToken(t, r)
}

package identity_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/wicketgate/wicketgate/internal/identity"
)

func TestParseSubject(t *testing.T) {
	good := []struct{ name, in string }{
		{"a name", "alice"},
		{"an address", "alice@example.com"},
		{"a SPIFFE ID", "spiffe://example.org/ns/prod/sa/agent"},
		{"letters that are not ASCII", "jürgen-山田"},
		{"punctuation", `a"b\c<d>'`},
		{"the longest", strings.Repeat("a", 255)},
	}
	for _, tt := range good {
		t.Run(tt.name, func(t *testing.T) {
			if s, err := identity.ParseSubject(tt.in); err != nil || s.String() != tt.in || s.IsZero() {
				t.Errorf("ParseSubject(%q) = %q, %v", tt.in, s, err)
			}
		})
	}
	bad := []struct{ name, in string }{
		{"nothing", ""},
		{"too long", strings.Repeat("a", 256)},
		{"too long in bytes, not in letters", strings.Repeat("ü", 128)},
		{"a space", "alice smith"},
		{"a space after", "alice "},
		{"a newline, for a second line in a log", "alice\nbob"},
		{"a tab", "a\tb"},
		{"NUL", "alice\x00"},
		{"escape", "\x1b[31malice"},
		{"delete", "a\x7f"},
		{"a control character of the second block", "a\u0085"},
		{"no-break space", "alice\u00a0"},
		{"soft hyphen", "ali\u00adce"},
		{"em space", "alice\u2003"},
		{"hair space", "alice\u200a"},
		{"narrow no-break space", "alice\u202f"},
		{"medium mathematical space", "alice\u205f"},
		{"ideographic space", "alice\u3000"},
		{"zero-width space", "alice\u200b"},
		{"zero-width joiner", "ali\u200dce"},
		{"right-to-left override", "alice\u202eecila"},
		{"Arabic letter mark", "alice\u061c"},
		{"Mongolian vowel separator", "alice\u180e"},
		{"combining grapheme joiner", "ali\u034fce"},
		{"Hangul filler", "alice\u3164"},
		{"variation selector", "alice\ufe0f"},
		{"variation selector of the supplement", "alice\U000e0100"},
		{"tag character", "alice\U000e0061"},
		{"byte order mark", "\ufeffalice"},
		{"private use", "alice\ue000"},
		{"an unassigned character", "alice\u0378"},
		{"replacement character", "alice\ufffd"},
		{"bad UTF-8", "alice\xff"},
		{"a surrogate in UTF-8", "alice\xed\xa0\x80"},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			if s, err := identity.ParseSubject(tt.in); !errors.Is(err, identity.ErrBadSubject) || !s.IsZero() {
				t.Errorf("ParseSubject(%q) = %q, %v, want %v", tt.in, s, err, identity.ErrBadSubject)
			}
		})
	}
}

func TestParseClientID(t *testing.T) {
	for _, in := range []string{"a", "dev-agent", "https://client.example/metadata.json?x=1#y", `a"\`, strings.Repeat("a", 2048)} {
		if c, err := identity.ParseClientID(in); err != nil || c.String() != in || c != identity.MustClientID(in) {
			t.Errorf("ParseClientID(%q) = %q, %v", in, c, err)
		}
	}
	for _, in := range []string{"", " ", "a b", "a\n", "a\x00", "a\x7f", "ä", "a\u00a0", "a\xff", strings.Repeat("a", 2049)} {
		if c, err := identity.ParseClientID(in); !errors.Is(err, identity.ErrBadClientID) || !c.IsZero() {
			t.Errorf("ParseClientID(%q) = %q, %v, want %v", in, c, err, identity.ErrBadClientID)
		}
	}
}

func TestMustClientIDPanicsOnABadOne(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it did not")
		}
	}()
	identity.MustClientID("a b")
}

// TestNobodyIsNobodysSubject: two who are nobody are not the same.
func TestNobodyIsNobodysSubject(t *testing.T) {
	a := identity.MustClientID("A")
	s, err := a.Subject()
	if err != nil || !s.Is(a) {
		t.Errorf("A is not itself: %v", err)
	}
	if s.Is(identity.MustClientID("a")) || s.Is(identity.ClientID{}) || (identity.Subject{}).Is(a) || (identity.Subject{}).Is(identity.ClientID{}) {
		t.Error("somebody is somebody else")
	}
	if _, err := identity.MustClientID(strings.Repeat("a", 256)).Subject(); !errors.Is(err, identity.ErrBadSubject) {
		t.Errorf("Subject of a long client = %v", err)
	}
}

// TestJSONIsParsed: no other way in than Parse, and a refusal changes nothing.
func TestJSONIsParsed(t *testing.T) {
	var v struct {
		S identity.Subject
		C identity.ClientID
	}
	if err := json.Unmarshal([]byte(`{"S":"alice","C":"agent"}`), &v); err != nil || v.S.String() != "alice" || v.C.String() != "agent" {
		t.Fatalf("%v, %v", v, err)
	}
	for _, in := range []string{`{"S":""}`, `{"S":"a b"}`, `{"C":""}`, `{"C":"a\nb"}`, `{"S":1}`, `{"C":["a"]}`} {
		if err := json.Unmarshal([]byte(in), &v); err == nil || v.S.String() != "alice" || v.C.String() != "agent" {
			t.Errorf("%s: %v, now %v", in, err, v)
		}
	}
	if b, err := json.Marshal(v); err != nil || string(b) != `{"S":"alice","C":"agent"}` {
		t.Errorf("%s, %v", b, err)
	}
}

// FuzzParseSubject: what is accepted shows on one line of a log, whole.
func FuzzParseSubject(f *testing.F) {
	for _, s := range []string{"alice", "", "a b", "a\u200b", "山田", "\xff", strings.Repeat("a", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := identity.ParseSubject(in)
		if err != nil {
			if !s.IsZero() {
				t.Errorf("ParseSubject(%q) = %q with %v", in, s, err)
			}
			return
		}
		if s.String() != in || !utf8.ValidString(in) || len(in) == 0 || len(in) > 255 || strings.ContainsFunc(in, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }) {
			t.Errorf("ParseSubject accepted %q", in)
		}
	})
}

// FuzzParseClientID: what is accepted is visible ASCII.
func FuzzParseClientID(f *testing.F) {
	for _, s := range []string{"dev-agent", "", "a b", "ä", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		c, err := identity.ParseClientID(in)
		if visible := in != "" && len(in) <= 2048 && !strings.ContainsFunc(in, func(r rune) bool { return r <= ' ' || r > '~' }); visible != (err == nil) || c.String() != in && err == nil {
			t.Errorf("ParseClientID(%q) = %q, %v", in, c, err)
		}
	})
}

package identity_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/wicketgate/wicketgate/internal/identity"
)

func TestParseSPIFFEID(t *testing.T) {
	longest := "spiffe://example.org/" + strings.Repeat("a", 2048-len("spiffe://example.org/"))
	for _, good := range []string{"spiffe://example.org/agent", "spiffe://example.org/ns/prod/sa/Mail_1.v-2", "spiffe://1_2.x-y/a", "spiffe://e/...", longest} {
		id, err := identity.ParseSPIFFEID(good)
		if err != nil || id.String() != good {
			t.Errorf("ParseSPIFFEID(%.60q) = %q, %v", good, id, err)
		}
		if s, err := identity.ParseSubject(good); err != nil || s.String() != good {
			t.Errorf("ParseSubject(%.60q) = %q, %v", good, s, err)
		}
	}
	for _, tt := range []struct{ name, in string }{
		{"nothing", ""}, {"a trust domain", "spiffe://example.org"}, {"a trust domain with a slash", "spiffe://example.org/"},
		{"another scheme", "https://example.org/agent"}, {"the scheme in capitals", "SPIFFE://example.org/agent"},
		{"capitals in the trust domain", "spiffe://Example.org/agent"}, {"a port", "spiffe://example.org:443/agent"},
		{"user information", "spiffe://alice@example.org/agent"}, {"a query", "spiffe://example.org/agent?x=1"}, {"a fragment", "spiffe://example.org/agent#x"},
		{"two dots", "spiffe://example.org/agent/../admin"}, {"one dot", "spiffe://example.org/./agent"},
		{"an escaped slash", "spiffe://example.org/agent%2fadmin"}, {"escaped dots", "spiffe://example.org/%2e%2e/admin"},
		{"an empty segment", "spiffe://example.org//agent"}, {"a slash at the end", "spiffe://example.org/agent/"},
		{"no trust domain", "spiffe:///agent"}, {"a backslash", `spiffe://example.org\agent`}, {"a space", "spiffe://example.org/a b"}, {"a newline", "spiffe://example.org/a\n"},
		{"a pattern", "spiffe://example.org/*"}, {"letters beyond ASCII", "spiffe://example.org/agént"}, {"an escaped NUL", "spiffe://example.org/a%00"},
		{"over 2048 bytes", longest + "a"}, {"a long trust domain", "spiffe://" + strings.Repeat("a", 256) + "/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if id, err := identity.ParseSPIFFEID(tt.in); !errors.Is(err, identity.ErrBadSPIFFEID) {
				t.Errorf("ParseSPIFFEID(%.60q) = %q, %v, want ErrBadSPIFFEID", tt.in, id, err)
			}
		})
	}
}

func TestCheckTrustDomain(t *testing.T) {
	for _, good := range []string{"example.org", "a", "1.2_3-x", strings.Repeat("a", 255)} {
		if err := identity.CheckTrustDomain(good); err != nil {
			t.Errorf("CheckTrustDomain(%.40q) = %v", good, err)
		}
	}
	for _, bad := range []string{"", "Example.org", "spiffe://example.org", "example.org/x", "example.org:1", "*", strings.Repeat("a", 256)} {
		if err := identity.CheckTrustDomain(bad); !errors.Is(err, identity.ErrBadTrustDomain) {
			t.Errorf("CheckTrustDomain(%.40q) = %v, want ErrBadTrustDomain", bad, err)
		}
	}
}

func TestParsePattern(t *testing.T) {
	for _, good := range []string{"spiffe://example.org/agent/*", "spiffe://example.org/*/sa/*", "spiffe://example.org/*", "spiffe://example.org/agent"} {
		p, err := identity.ParsePattern(good)
		if err != nil || p.String() != good || p.TrustDomain() != "example.org" || p.Any() != strings.Contains(good, "*") {
			t.Errorf("ParsePattern(%q) = %q of %q, any: %t, %v", good, p, p.TrustDomain(), p.Any(), err)
		}
	}
	for _, bad := range []string{"", "*", "spiffe://*/agent", "spiffe://example.org/agent*", "spiffe://example.org/a*/b", "spiffe://example.org/**", "spiffe://example.org", "spiffe://example.org/../*", "*://example.org/a", "https://example.org/*"} {
		if p, err := identity.ParsePattern(bad); !errors.Is(err, identity.ErrBadPattern) {
			t.Errorf("ParsePattern(%q) = %q, %v, want ErrBadPattern", bad, p, err)
		}
	}
}

func TestPatternNamesWholeSegmentsOnly(t *testing.T) {
	for _, tt := range []struct {
		pattern, id string
		want        bool
	}{
		{"spiffe://example.org/agent/*", "spiffe://example.org/agent/a", true},
		{"spiffe://example.org/agent/*", "spiffe://example.org/agent", false},
		{"spiffe://example.org/agent/*", "spiffe://example.org/agent/a/b", false},
		{"spiffe://example.org/agent/*", "spiffe://example.org/agents/a", false},
		{"spiffe://example.org/agent/*", "spiffe://example.org.evil.example/agent/a", false},
		{"spiffe://example.org/agent/*", "spiffe://example.com/agent/a", false},
		{"spiffe://example.org/*/sa", "spiffe://example.org/ns/sa", true},
		{"spiffe://example.org/*/sa", "spiffe://example.org/ns/sb", false},
		{"spiffe://example.org/agent", "spiffe://example.org/agent", true},
		{"spiffe://example.org/agent", "spiffe://example.org/Agent", false},
	} {
		p, err := identity.ParsePattern(tt.pattern)
		id, idErr := identity.ParseSPIFFEID(tt.id)
		if err := errors.Join(err, idErr); err != nil {
			t.Fatal(err)
		}
		if got := p.Matches(id); got != tt.want {
			t.Errorf("%s matches %s: %t, want %t", p, id, got, tt.want)
		}
		if got := identity.MustClientID(tt.pattern).Names(id.ClientID()); got != tt.want {
			t.Errorf("client %s names %s: %t, want %t", p, id, got, tt.want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"spiffe://example.org/agent/*", "spiffe://example.org/*/mail", true},
		{"spiffe://example.org/agent/*", "spiffe://example.org/agent/mail", true},
		{"spiffe://example.org/agent/*", "spiffe://example.org/*", false},
		{"spiffe://example.org/a/*", "spiffe://example.org/b/*", false},
	} {
		a, err := identity.ParsePattern(tt.a)
		b, errB := identity.ParsePattern(tt.b)
		if err := errors.Join(err, errB); err != nil {
			t.Fatal(err)
		}
		if a.Overlaps(b) != tt.want || b.Overlaps(a) != tt.want {
			t.Errorf("%s overlaps %s: %t, %t, want %t", a, b, a.Overlaps(b), b.Overlaps(a), tt.want)
		}
	}
}

func TestNoPatternNamesWhatIsNoWorkload(t *testing.T) {
	for _, tt := range []struct{ a, b string }{{"*", "alice"}, {"agent-*", "agent-1"}, {"spiffe://example.org/*", "spiffe://example.org/%2e"}, {"spiffe://example.org/*", "spiffe://example.org/*/x"}} {
		if identity.MustClientID(tt.a).Names(identity.MustClientID(tt.b)) {
			t.Errorf("client %s names %s", tt.a, tt.b)
		}
	}
	if (identity.ClientID{}).Names(identity.ClientID{}) {
		t.Error("no client names no client")
	}
	if (identity.Pattern{}).Matches(identity.SPIFFEID{}) {
		t.Error("no pattern matches no workload")
	}
}

// FuzzSPIFFEID holds ours to the library's, and what it takes to one spelling.
func FuzzSPIFFEID(f *testing.F) {
	for _, s := range []string{"spiffe://example.org/agent", "spiffe://example.org/../a", "spiffe://Example.org/a", "spiffe://example.org/a%2fb", "spiffe://e/*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := identity.ParseSPIFFEID(s)
		if err != nil {
			return
		}
		theirs, err := spiffeid.FromString(s)
		if err != nil || theirs.String() != id.String() || theirs.TrustDomain().Name() != id.TrustDomain() {
			t.Errorf("ParseSPIFFEID(%q) = %q of %q, the library says %q, %v", s, id, id.TrustDomain(), theirs, err)
		}
		if strings.ContainsAny(strings.TrimPrefix(s, "spiffe://"), "%?#@: \\*") {
			t.Errorf("ParseSPIFFEID took %q", s)
		}
	})
}

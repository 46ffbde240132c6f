package policies_test

import (
	"net/mail"
	"net/url"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/policies"
)

// FuzzHost: where a host is found, other parsers of URLs and mail addresses find the same.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"https://example.com/a", "https://good.example@evil.example/", `https://good.example\@evil.example`, "https://evil.example:443?good.example",
		"ann@example.com", `"a@good.example"@evil.example`, "ann@good.example@evil.example", "Ann <ann@evil.example>", "example.com", "example.com.", "http://[::1]/", "http://0x7f.1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host := policies.HostOf(s)
		if host == "" {
			return
		}
		if u, err := url.Parse(s); err == nil && strings.Contains(s, "://") && !strings.EqualFold(u.Hostname(), host) {
			t.Errorf("%q is of %q, and as a URL of %v", s, host, u)
		}
		if a, err := mail.ParseAddress(s); err == nil && !strings.EqualFold(a.Address[strings.LastIndexByte(a.Address, '@')+1:], host) {
			t.Errorf("%q is of %q, and as a mail address of %s", s, host, a.Address)
		}
	})
}

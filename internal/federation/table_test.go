package federation_test

import (
	"testing"

	"github.com/wicketgate/wicketgate/internal/federation"
)

// TestTableThatCouldMeanTwoThings is refused as a whole.
func TestTableThatCouldMeanTwoThings(t *testing.T) {
	type is = federation.Issuer
	at := func(name, prefix string, changes ...func(*is)) is {
		out := is{Name: name, JWKSFile: "x", Prefix: prefix, SubjectClaim: "sub", Grants: true}
		for _, c := range changes {
			c(&out)
		}
		return out
	}
	in := func(d string) func(*is) { return func(i *is) { i.TrustDomain = d } }
	a, b := "https://a.example", "https://b.example"
	for name, list := range map[string][]is{
		"two of one name":                    {at(a, "a|"), at(a, "b|")},
		"itself":                             {at(ours, "a|")},
		"two of one prefix":                  {at(a, "a|"), at(b, "a|")},
		"a prefix of a prefix":               {at(a, "a|"), at(b, "a|b|")},
		"two without a prefix":               {at(a, ""), at(b, "")},
		"prefix of the other's clients":      {at(a, b+"|"), at(b, "b|")},
		"prefix below the other's clients":   {at(a, b+"|x"), at(b, "b|")},
		"prefix that its own clients begin":  {at(a, "https")},
		"prefix below its own clients":       {at(a, a+"|x")},
		"http":                               {at("http://a.example", "a|")},
		"no URL":                             {at("a.example", "a|")},
		"a query":                            {at(a+"?x", "a|")},
		"a bar":                              {at(a+"/|b", "a|")},
		"user information":                   {at("https://u@a.example", "a|")},
		"two of one trust domain":            {at(a, "a|", in(domain)), at("spiffe://"+domain, "b|")},
		"another trust domain than its name": {at("spiffe://"+domain, "b|", in("other.org"))},
		"trust domain in capitals":           {at(a, "a|", in("Example.org"))},
		"SPIFFE ID of a workload as a name":  {at(svid, "b|")},
		"no keys":                            {at(a, "a|", func(i *is) { i.JWKSFile = "" })},
		"keys from two places":               {at(a, "a|", func(i *is) { i.JWKSURI = "https://a.example/jwks" })},
		"a workload by part of a segment": {at(a, "a|", func(i *is) {
			i.Workloads = &federation.Workloads{Identities: []federation.Identity{{Subject: "a:b*", Client: agent}}}
		})},
		"a workload of another trust domain": {at(a, "a|", in(domain), func(i *is) {
			i.Workloads = &federation.Workloads{Identities: []federation.Identity{{Subject: "spiffe://x.org/a", Client: agent}}}
		})},
	} {
		if _, err := federation.New(federation.Config{Issuer: ours, Issuers: list}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := federation.New(federation.Config{Issuer: ours, Issuers: []is{at(a, a+"|"), at(b, ""), at(a+"/tenant", "t|"), at("spiffe://"+domain, "spiffe://"+domain+"|")}}); err != nil {
		t.Error(err)
	}
	empty, err := federation.New(federation.Config{Issuer: ours})
	if err != nil || empty.Grants() || empty.Workloads() || empty.Owns("alice") || empty.Trusts(doors[0].token()) {
		t.Errorf("nothing configured trusts somebody: %v", err)
	}
}

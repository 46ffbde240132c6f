package federation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/federation"
	"github.com/wicketgate/wicketgate/internal/identity"
)

// as returns the client that a workload is, and "" for none.
func (w *world) as(claims object) string {
	w.t.Helper()
	id, _, _ := w.table.Workload(w.t.Context(), sign(ecKey, workloadHeader, claims))
	return id.String()
}

func TestWorkloadIsItsClient(t *testing.T) {
	w := newWorld(t)
	id, name, err := w.table.Workload(t.Context(), sign(ecKey, workloadHeader, podToken))
	if err != nil || id.String() != "report-agent" || name != cluster+"|"+account {
		t.Errorf("%s, %s, %v", id, name, err)
	}
	for range 3 { // agents and kubelets hand the same token out again
		if got := w.as(jwtSVID.and(object{"jti": "same"})); got != "report-agent" {
			t.Errorf("a JWT-SVID is %q", got)
		}
	}
	if got := w.as(jwtSVID.and(object{"aud": ours})); got != "report-agent" {
		t.Errorf("for our issuer: %q", got)
	}
}

func TestWorkloadThatIsNobody(t *testing.T) {
	w := newWorld(t)
	pod := func(c object) object { return podToken.and(c) }
	vid := func(c object) object { return jwtSVID.and(c) }
	for name, c := range map[string]object{
		"another namespace":         pod(object{"sub": "system:serviceaccount:agents2:report"}),
		"a namespace more":          pod(object{"sub": "system:serviceaccount:agents:x:report"}),
		"a segment too few":         pod(object{"sub": "system:serviceaccount:agents"}),
		"an empty segment":          pod(object{"sub": "system:serviceaccount:agents:"}),
		"a slash in the segment":    pod(object{"sub": "system:serviceaccount:agents:a/b"}),
		"something before":          pod(object{"sub": "x" + account}),
		"without the claims":        pod(object{"kubernetes.io": nil}),
		"another service account":   pod(object{"kubernetes.io": object{"serviceaccount": object{"name": "report2"}}}),
		"claim of another type":     pod(object{"kubernetes.io": object{"serviceaccount": object{"name": []string{"report"}}}}),
		"too old":                   pod(object{"iat": now.Add(-time.Hour).Unix() - 1}),
		"a SPIFFE ID of a cluster":  pod(object{"sub": svid}),
		"an account as a SPIFFE ID": vid(object{"sub": account}),
		"another trust domain":      vid(object{"sub": "spiffe://other.org/ns/agents/sa/report"}),
		"a trust domain below":      vid(object{"sub": "spiffe://x.example.org/ns/agents/sa/report"}),
		"iss of another":            vid(object{"iss": cluster}),
		"iss null":                  vid(object{"iss": nullValue}),
		"iss unknown":               vid(object{"iss": "https://oidc.example.org"}),
		"too old SVID":              vid(object{"iat": now.Add(-time.Hour).Unix() - 1}),
		"a path more":               vid(object{"sub": "spiffe://example.org/ns/a/b/sa/report"}),
		"a path longer":             vid(object{"sub": svid + "/x"}),
		"nsx":                       vid(object{"sub": "spiffe://example.org/nsx/sa/report"}),
	} {
		if got := w.as(c); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestSPIFFEIDInAnotherSpelling: each might be read as the one that is configured.
func TestSPIFFEIDInAnotherSpelling(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{
		"SPIFFE://example.org/ns/agents/sa/report", "Spiffe://example.org/ns/agents/sa/report", "spiffe://EXAMPLE.org/ns/agents/sa/report",
		"spiffe://example.org:443/ns/agents/sa/report", "spiffe://u@example.org/ns/agents/sa/report", "spiffe://example.org./ns/agents/sa/report",
		"spiffe:/example.org/ns/agents/sa/report", "spiffe:example.org/ns/agents/sa/report", "spiffe:///ns/agents/sa/report", "spiffe:////example.org/ns/agents/sa/report",
		"spiffe://example.org//ns/agents/sa/report", "spiffe://example.org/ns/agents/sa/report/", "spiffe://example.org/ns//sa/report",
		"spiffe://example.org/ns/../sa/report", "spiffe://example.org/ns/./sa/report", "spiffe://example.org/x/../ns/agents/sa/report",
		"spiffe://example.org/ns/a%2fb/sa/report", "spiffe://example.org/ns/%61gents/sa/report", "spiffe://example.org/ns/a%2Fsa%2Freport",
		"spiffe://example.org/ns/agents/sa/report?x", "spiffe://example.org/ns/agents/sa/report#x", "spiffe://example.org\\ns/agents/sa/report",
		"spiffe://example.org/ns/agents/sa/report\n", " spiffe://example.org/ns/agents/sa/report", "spiffe://example.org/ns/agénts/sa/report",
		"spiffe://example.org/ns/a*/sa/report", "spiffe://example.org/ns/*/sa/report", "spiffe://example.org", "spiffe://example.org/",
		"spiffe://example.org/" + strings.Repeat("a", 2048),
	} {
		for _, c := range []object{jwtSVID, podToken, jwtSVID.and(object{"iss": "spiffe://example.org"})} {
			if got := w.as(c.and(object{"sub": id})); got != "" {
				t.Errorf("%q is %s", id, got)
			}
		}
	}
	if got := w.as(jwtSVID.and(object{"sub": "spiffe://example.org/ns/A-b_c.d/sa/report"})); got == "" {
		t.Error("a good one is nobody")
	}
}

// TestStarIsOneWholeSegment, as the expression and as the check have it.
func TestStarIsOneWholeSegment(t *testing.T) {
	for _, bad := range []string{"*", "*:x", "ns/*x", "ns/x*", "system:serviceaccount:agents*:x", "ns/**", "", " ", "a b", "spiffe://*/ns", "/*", "spiffe://EXAMPLE.org/x", "spiffe://a:1/x", "spiffe://u@a/x", "spiffe:///x"} {
		if federation.CheckPattern(bad, "") == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, bad := range []string{account, "example.org/x", "/example.org/x", "spiffe://other.org/x", "spiffe://example.org", "spiffe://EXAMPLE.org/x", "spiffe://example.org/../x", "spiffe://example.org/%2f", "spiffe://example.org//x", "https://example.org/x"} {
		if federation.CheckPattern(bad, domain) == nil {
			t.Errorf("%q is taken in the trust domain", bad)
		}
	}
	for pattern, want := range map[string][]string{"ns/*": {"ns/a", "ns/x.y"}, "ns/*/sa/*": {"ns/a/sa/b"}, "repo:org/name:ref:*": {"repo:org/name:ref:main"}, "a.c/x": {"a.c/x"}} {
		w := newWorld(t, func(c *federation.Config) {
			c.Issuers[1].Workloads.Identities = []federation.Identity{{Subject: pattern, Client: agent}}
		})
		for _, sub := range []string{"ns/a", "ns/x.y", "ns/a/b", "nsx", "ns/", "ns", "xns/a", "ns/a/sa/b", "ns/a/sa/b/c", "ns:a", "ns/a:b", "repo:org/name:ref:main", "repo:org/name:ref:refs/heads/main", "a.c/x", "abc/x", "ns/a\n"} {
			wanted := strings.Contains(fmt.Sprint(want, " "), "["+sub+" ") || strings.Contains(fmt.Sprint(want), " "+sub+"]") || strings.Contains(fmt.Sprint(want), "["+sub+"]")
			if got := w.as(podToken.and(object{"sub": sub})); (got != "") != wanted {
				t.Errorf("%s for %q: %q", pattern, sub, got)
			}
		}
	}
}

func TestWorkloadOfTwoClientsIsNeither(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) {
		for _, id := range []string{"agent", "agent", "report-agent"} {
			c.Issuers[2].Workloads.Identities = append(c.Issuers[2].Workloads.Identities, federation.Identity{Subject: "spiffe://example.org/" + id[:1], Client: identity.MustClientID(id)})
		}
		c.Issuers[2].Workloads.Identities = append(c.Issuers[2].Workloads.Identities, federation.Identity{Subject: svid, Client: agent})
	})
	for sub, want := range map[string]string{"spiffe://example.org/a": "agent", svid: "", "spiffe://example.org/r": "report-agent"} {
		if got := w.as(jwtSVID.and(object{"sub": sub})); got != want {
			t.Errorf("%s is %q", sub, got)
		}
	}
}

// TestBundleKeysVerifySVIDsOnly: a key with the use of a SPIFFE bundle is one of an
// issuer with a trust domain, and X.509 authorities never are.
func TestBundleKeysVerifySVIDsOnly(t *testing.T) {
	for use, want := range map[string][2]bool{"jwt-svid": {true, false}, "x509-svid": {false, false}, "sig": {true, true}, "enc": {false, false}} {
		t.Run(use, func(t *testing.T) {
			w := newWorld(t)
			publish(t, set(ecKey.Public(), object{"use": use}))
			if got := w.as(jwtSVID) != ""; got != want[0] {
				t.Errorf("a JWT-SVID: %v", got)
			}
			if got := w.as(podToken) != ""; got != want[1] {
				t.Errorf("a service account: %v", got)
			}
		})
	}
}

func TestSVIDWithTheIssuerOfItsProvider(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) {
		c.Issuers[2].Name, c.Issuers[2].TrustDomain = "https://oidc.example.org", domain
	})
	for iss, want := range map[any]string{"https://oidc.example.org": "report-agent", nil: "report-agent", "spiffe://example.org": "", cluster: ""} {
		if got := w.as(jwtSVID.and(object{"iss": iss})); got != want {
			t.Errorf("iss %v: %q", iss, got)
		}
	}
	if got := w.as(jwtSVID.and(object{"iss": "https://oidc.example.org", "sub": "spiffe://other.org/ns/agents/sa/report"})); got != "" {
		t.Error("of another trust domain")
	}
}

func TestWorkloadForTheConfiguredAudience(t *testing.T) {
	w := newWorld(t, func(c *federation.Config) { c.Issuers[1].Workloads.Audience = "wicketgate" })
	for aud, want := range map[string]bool{"wicketgate": true, endpoint: false, ours: false, "": false} {
		if got := w.as(podToken.and(object{"aud": aud})) != ""; got != want {
			t.Errorf("%q: %v", aud, got)
		}
	}
}

// FuzzWorkloadSubject: whatever is matched is spelled in the one way.
func FuzzWorkloadSubject(f *testing.F) {
	for _, s := range []string{svid, account, "spiffe://example.org/a/../b", "SPIFFE://x/y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if federation.CheckPattern(s, domain) != nil {
			return
		}
		if !strings.HasPrefix(s, "spiffe://"+domain+"/") || strings.ContainsAny(s, "%?#@\\ \n") || strings.Contains(s, "/../") || strings.Contains(s[9:], "//") || strings.HasSuffix(s, "/") {
			t.Errorf("%q is a SPIFFE ID of the domain", s)
		}
	})
}

package main

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"strings"
	"testing"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// TestWorkloadOfItsOwnEntryHasNothingOfThePattern: a SPIFFE ID that has an entry of its
// own is what that says, also where it says nothing.
func TestWorkloadOfItsOwnEntryHasNothingOfThePattern(t *testing.T) {
	w := newWorkloads(t)
	exchange := `grant_types: [client_credentials, "` + oauth.GrantTokenExchange + `"]`
	w.start(w.config(withTLS + withMutualTLS + strings.Replace(withWorkloads, `agent/*", auth_method: spiffe}`,
		`agent/*", auth_method: spiffe, `+exchange+`, acts_for: ["*"]}
  - {id: "`+workloadA+`", auth_method: spiffe, `+exchange+`}`, 1)))
	others, refused := w.accessToken(w.client())
	if others == "" {
		t.Fatal(refused)
	}
	for id, want := range map[string]int{workloadA: http.StatusBadRequest, "spiffe://example.org/agent/b": http.StatusOK} {
		params := byJWT(w.own.svid(w.own.jwt.key, map[string]any{"sub": id}), "grant_type", oauth.GrantTokenExchange,
			"subject_token", others, "subject_token_type", oauth.TokenTypeAccessToken)
		if status, body := w.post(w.client(), serveIssuer+authz.PathToken, w.credentials(params...)); status != want {
			t.Errorf("%s exchanges the token of another client: %d %s, want %d", id, status, body, want)
		}
	}
}

// TestStrangersCannotWriteMuchIntoTheLog: a certificate may have names of many KiB, and
// each request of its connection would write them down.
func TestStrangersCannotWriteMuchIntoTheLog(t *testing.T) {
	w := newWorkloads(t)
	stop := w.start(w.config(withTLS + withMutualTLS + withWorkloads))
	long := strings.Repeat("a", 30<<10)
	of := newAuthority(t).issue(x509.Certificate{Subject: pkix.Name{CommonName: long}, IsCA: true, BasicConstraintsValid: true})
	byLongName := (&domain{"example.org", &authority{t, of.Leaf, of.PrivateKey.(*ecdsa.PrivateKey)}, assertions{}}).x509(nil, workloadA)
	namesake := newAuthority(t).issue(x509.Certificate{Subject: pkix.Name{CommonName: long}, IsCA: true, BasicConstraintsValid: true}) // it did not sign, and an error names it
	byLongName.Certificate = append(byLongName.Certificate, namesake.Certificate...)
	for name, cert := range map[string]tls.Certificate{
		"a long trust domain":                 w.foreign.x509(nil, "spiffe://"+long+"/agent"),
		"an authority with a long name":       byLongName,
		"a long name that is no SPIFFE ID's":  w.own.x509(nil, "spiffe://example.org/"+long),
		"a long name in a domain that is not": w.own.x509(nil, "spiffe://EXAMPLE.org/"+long),
	} {
		if status, body := w.post(w.clientAt(w.mutual, cert), mutualURL+authz.PathToken, w.credentials("client_id", workloadA)); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	stop()
	lines := 0
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, "client not authenticated") {
			lines++
		}
		if len(line) > 4<<10 {
			t.Errorf("a line of %d bytes: %.300s", len(line), line)
		}
	}
	if lines != 4 {
		t.Errorf("%d lines say why, want 4", lines)
	}
}

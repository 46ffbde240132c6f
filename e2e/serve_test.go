package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/demomail"
	"github.com/wicketgate/wicketgate/internal/freeport"
	"github.com/wicketgate/wicketgate/internal/remote"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/metadata"
)

// startServe starts wicketgate serve with the demo mail server behind it. The rest of
// the configuration follows right after that server, and access.yaml is among the files.
func startServe(t *testing.T, config string, files map[string]string) *house {
	t.Helper()
	listen := freeport.Address(t)
	issuer := "http://" + listen
	mail := httptest.NewUnstartedServer(nil)
	resource := "http://" + mail.Listener.Addr().String() + "/mcp"
	mail.Config.Handler = demomail.New(demomail.Config{Resource: resource, Issuer: issuer, Log: slog.New(slog.DiscardHandler), Verifier: token.NewVerifier(token.VerifierConfig{
		Issuer: issuer, Keys: remote.NewKeys(issuer+metadata.PathJWKS, nil, time.Now), Now: time.Now})})
	mail.Start()
	t.Cleanup(mail.Close)
	all := maps.Clone(files)
	all["wicketgate.yaml"] = `issuer: ` + issuer + `
listen: ` + listen + `
admin: {listen: "` + freeport.Address(t) + `"}
data: data
policy: access.yaml
trust: first-use
servers:
  - name: mail
    url: "` + resource + `"
` + config
	r := newServe(t, listen, all)
	r.start(t)
	r.url = issuer
	return r.house
}

// readers is an access.yaml that lets whom read mail.
func readers(whom string) string {
	return "version: 1\nroles:\n  reader:\n    who: " + whom + "\n    servers: {mail: {tools: [list_messages, read_message]}}\n"
}

func newJWK(t *testing.T) jose.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: "1", Algorithm: "ES256", Use: "sig"}
}

// asJSON is the value as it goes to a file or a command line.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func publicSet(t *testing.T, private jose.JSONWebKey) string {
	t.Helper()
	return asJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{private.Public()}})
}

// checkSaysNothing checks that no token is in what the house printed and recorded.
func checkSaysNothing(t *testing.T, h *house) {
	t.Helper()
	for _, text := range []string{h.stdout.String(), h.stderr.String(), readFile(t, h.auditFile())} {
		if found := secretsIn(text); len(found) > 0 {
			t.Errorf("the house says the secrets %v", found)
		}
	}
}

package vault_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/vault"
	"github.com/wicketgate/wicketgate/internal/vaulttest"
)

// reason fails the test unless err has that reason.
func reason(t *testing.T, what string, err error, want vault.Reason) {
	t.Helper()
	var e *vault.Error
	if !errors.As(err, &e) || e.Why != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
	if err != nil && strings.ContainsAny(err.Error(), "\n\t\x00") {
		t.Errorf("%s: the error has more than one line: %q", what, err)
	}
}

func read(t *testing.T, c *vault.Client, token vault.Token, path string) error {
	t.Helper()
	_, err := c.Read(t.Context(), token, path, nil)
	return err
}

func TestReasonsOfRequests(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	v.Auth(t, "approle")
	v.Database(t, pgtest.Empty(t))
	v.DatabaseRole(t, "broken", time.Minute, `GRANT nobody_has_made_this_role TO "{{name}}"`)
	weak, err := c.Child(t.Context(), root, vault.ChildSpec{Policies: []string{"default"}, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	reason(t, "no policy", read(t, c, weak.Token, "secret/data/x"), vault.Denied)
	if err := read(t, c, weak.Token, "secret/data/x"); errors.Is(err, vault.ErrInvalidToken) {
		t.Errorf("a token that Vault knows is taken for an invalid one: %v", err)
	}
	reason(t, "no such token", read(t, c, vault.NewToken("hvs.nobody-has-this-token"), "secret/data/x"), vault.Denied)
	reason(t, "no such secret", read(t, c, root, "secret/data/x"), vault.NotFound)
	reason(t, "no such role", read(t, c, root, "database/creds/nobody"), vault.Refused)
	reason(t, "no such mount", read(t, c, root, "nowhere/x"), vault.NotFound)
	reason(t, "the database refuses", read(t, c, root, "database/creds/broken"), vault.Failed)
	_, err = c.LoginAppRole(t.Context(), "approle", "nobody", "no-such-secret-id")
	reason(t, "login refused", err, vault.LoggedOut)
	_, err = c.LoginJWT(t.Context(), "nowhere", "x", "x")
	reason(t, "login at no mount", err, vault.LoggedOut)
	_, err = c.Write(t.Context(), root, "secret/data/x", map[string]any{"wrong": "form"})
	reason(t, "a bad request", err, vault.Refused)
	v.Do(t, http.MethodPost, "sys/quotas/rate-limit/all", map[string]any{"rate": 0.001, "path": "secret/"})
	_ = read(t, c, root, "secret/data/x") // the first one is free
	reason(t, "rate limit", read(t, c, root, "secret/data/x"), vault.Limited)
}

func TestReasonsOfHealth(t *testing.T) {
	v := vaulttest.Start(t)
	c := client(t, v.URL)
	both := func(what string, want vault.Reason) {
		t.Helper()
		reason(t, what+": read", read(t, c, root, "secret/data/x"), want)
		reason(t, what+": health", c.Health(t.Context()), want)
		_, err := c.LoginAppRole(t.Context(), "approle", "x", "x")
		reason(t, what+": login", err, want)
	}
	if err := c.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.Seal(t)
	both("sealed", vault.Sealed)
	v.UnsealAgain(t)
	v.Kill()
	both("killed", vault.Unreachable)
	v.Run(t)
	if err := c.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSlowVaultIsATimeout(t *testing.T) {
	v := vaulttest.Start(t)
	relay := vaulttest.NewRelay(t, v)
	c, err := vault.New(vault.Config{Address: relay.URL, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	relay.Stop()
	reason(t, "slow", read(t, c, root, "secret/data/x"), vault.Timeout)
	relay.Go()
	for t.Context().Err() == nil { // as soon as it is quick enough
		if err := c.Health(t.Context()); err == nil {
			break
		}
	}
}

// TestCallerWhoGoesAwayIsNoFaultOfVaults: else callers could make everybody believe that
// Vault is ill.
func TestCallerWhoGoesAwayIsNoFaultOfVaults(t *testing.T) {
	v := vaulttest.Start(t)
	relay := vaulttest.NewRelay(t, v)
	c := client(t, relay.URL)
	relay.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := c.Read(ctx, root, "secret/data/x", nil); done <- err }()
	for relay.Connections() == 0 {
		<-time.After(time.Millisecond)
	}
	cancel()
	reason(t, "canceled", <-done, vault.Canceled)
	late, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := c.Read(late, root, "secret/data/x", nil)
	reason(t, "the caller's own deadline", err, vault.Timeout)
}

func TestVaultWithAnotherCertificateIsNotBelieved(t *testing.T) {
	v := vaulttest.StartTLS(t)
	for what, pool := range map[string]*x509.CertPool{"the machine's CAs": nil, "no CA": x509.NewCertPool(), "another Vault's CA": vaulttest.StartTLS(t).CAs} {
		c, err := vault.New(vault.Config{Address: v.URL, CAs: pool, Timeout: 30 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		reason(t, what, read(t, c, root, "secret/data/x"), vault.Unreachable)
	}
	c, err := vault.New(vault.Config{Address: v.URL, CAs: v.CAs, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	reason(t, "its own CA", read(t, c, root, "secret/data/x"), vault.NotFound)
}

// fake answers what no Vault of ours can be made to answer.
func fake(t *testing.T, answer http.HandlerFunc) *vault.Client {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return client(t, s.URL)
}

func TestReasonsOfAnswersThatAreRare(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   vault.Reason
	}{
		"no JSON":                   {200, "<html>", vault.Malformed},
		"half an answer":            {200, `{"data":{"k"`, vault.Malformed},
		"another form":              {200, `{"lease_duration":"long"}`, vault.Malformed},
		"a negative duration":       {200, `{"lease_duration":-1,"data":{"k":"v"}}`, vault.Malformed},
		"too much":                  {200, `{"data":{"k":"` + strings.Repeat("x", 2<<20) + `"}}`, vault.Malformed},
		"too much after it":         {200, `{"data":{"k":"v"}}` + strings.Repeat(" ", 2<<20), vault.Malformed},
		"a standby without a way":   {503, `{"errors":["no active Vault instance found"]}`, vault.Sealed},
		"not initialized":           {503, `{"errors":["Vault is not initialized"]}`, vault.Sealed},
		"a proxy's 503":             {503, "<html>", vault.Failed},
		"a proxy's 502":             {502, "<html>sealed</html>", vault.Failed},
		"the quota of leases":       {429, `{"errors":["request path \"x\": lease count quota exceeded"]}`, vault.Limited},
		"the quota as another code": {400, `{"errors":["lease count quota exceeded"]}`, vault.Limited},
	} {
		t.Run(name, func(t *testing.T) {
			cl := fake(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			reason(t, name, read(t, cl, root, "x"), c.want)
		})
	}
	for status, want := range map[int]vault.Reason{501: vault.Sealed, 503: vault.Sealed, 472: vault.Sealed, 500: vault.Failed} {
		cl := fake(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		reason(t, fmt.Sprint("health ", status), cl.Health(t.Context()), want)
	}
	cl := fake(t, func(http.ResponseWriter, *http.Request) {})
	_, err := cl.LoginJWT(t.Context(), "jwt", "r", "x")
	reason(t, "a login without an answer", err, vault.Malformed)
}

// TestNothingThatWasSentIsInAnError: the answer repeats all that it got, in every form.
func TestNothingThatWasSentIsInAnError(t *testing.T) {
	secrets := []string{"hvs.CAESIGsecrettokenofours", "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ", "a pass\"word\nof & ours", "role-id-of-ours", "secret-id-of-ours", "short"}
	var status int
	cl := fake(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var fields any
		_ = json.Unmarshal(body, &fields)
		said := fmt.Sprintf("%s %q %v %q %s postgres://admin:databasepassword@db/x hvs.AnotherToken123", body, body, fields, fields, r.Header.Get("X-Vault-Token"))
		b, _ := json.Marshal(map[string]any{"errors": []string{said}})
		w.WriteHeader(status)
		_, _ = w.Write(b)
	})
	token, jwt := vault.NewToken(secrets[0]), secrets[1]
	ctx := t.Context()
	for _, status = range []int{400, 403, 404, 429, 500, 503} {
		var all []error
		add := func(_ any, err error) { all = append(all, err) }
		add(cl.Read(ctx, token, "x", nil))
		add(cl.Write(ctx, token, "x", map[string]any{"a": secrets[2], "b": map[string]string{"c": secrets[3]}, "d": []any{secrets[4], []string{secrets[5]}}}))
		add(cl.LoginJWT(ctx, "jwt", "r", jwt))
		add(cl.LoginKubernetes(ctx, "k", "r", jwt))
		add(cl.LoginAppRole(ctx, "approle", secrets[3], secrets[4]))
		add(cl.UnwrapSecretID(ctx, "approle", token))
		add(cl.Child(ctx, token, vault.ChildSpec{TTL: time.Minute}))
		add(cl.RenewToken(ctx, token))
		add(cl.RenewLease(ctx, token, "lease", time.Minute))
		add(nil, cl.RevokeLease(ctx, token, "lease"))
		add(nil, cl.RevokeToken(ctx, token))
		add(nil, cl.RevokeAccessor(ctx, token, "accessor"))
		for i, err := range all {
			searched(t, fmt.Sprint(status, " ", i), err, append(secrets, "databasepassword", "AnotherToken", "eyJzdWIi", `word\nof`, `pass\"word`))
		}
	}
}

func searched(t *testing.T, what string, err error, secrets []string) {
	t.Helper()
	var e *vault.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s: %v", what, err)
	}
	for _, s := range secrets {
		if strings.Contains(err.Error(), s) {
			t.Errorf("%s: the error has %q: %v", what, s, err)
		}
	}
	if len(err.Error()) > 1000 {
		t.Errorf("%s: the error has %d bytes", what, len(err.Error()))
	}
}

// TestSecretsPrintAsAWord, whatever prints them.
func TestSecretsPrintAsAWord(t *testing.T) {
	s := vault.Secret{Data: map[string]any{"password": "hunter2"}, LeaseID: "x"}
	a := vault.Auth{Token: vault.NewToken("hunter2")}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%v %+v %#v %s %q %d %x %v %+v %#v", s, s, s, s, s, s, s, a, a, a)
	for _, v := range []any{s, a, &s, &a} {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(j)
		fmt.Fprintf(&b, "%v %+v", v, v)
	}
	if strings.Contains(b.String(), "hunter2") || strings.Contains(b.String(), fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("printed: %s", b.String())
	}
}

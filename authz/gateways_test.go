package authz_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/revocation"
)

// learner is an authz.Definitions that notes what it is told.
type learner struct{ told []string }

func (l *learner) Learn(_ context.Context, server, tool, digest string) (string, error) {
	l.told = append(l.told, server+" "+tool+" "+digest)
	return "the one that stands", nil
}

// reader is a revocation.Reader.
type reader struct {
	after   int64
	entries []revocation.Entry
	err     error
}

func (r *reader) Revocations(_ context.Context, after int64) ([]revocation.Entry, error) {
	r.after = after
	return r.entries, r.err
}

// withGateways makes a gateway of the client mail-server: how a client authenticates is
// for the configuration to say.
func withGateways(c *authz.Config) {
	c.Gateways = authz.Gateways{Clients: map[identity.ClientID]bool{identity.MustClientID(mailServer.ID): true}, Revocations: &reader{}, Definitions: &learner{}}
}

const aDigest = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"

// TestGatewaysAloneAreTold what was revoked, and believed about definitions.
func TestGatewaysAloneAreTold(t *testing.T) {
	r, l := &reader{}, &learner{}
	w := newWorld(t, withGateways, func(c *authz.Config) { c.Gateways.Revocations, c.Gateways.Definitions = r, l })
	w.putResourceServers()
	wrong, stranger := mailServer, client{ID: publicServer.ID}
	wrong.Secret = "wrong"
	good := map[string]url.Values{"/oauth2/revocations": {"after": {"7"}}, "/oauth2/definitions": {"server": {"mail"}, "tool": {"list_messages"}, "digest": {aDigest}}}
	for path, form := range good {
		for name, tt := range map[string]struct {
			by     client
			status int
			code   string
		}{
			"a confidential client": {agent, http.StatusBadRequest, "unauthorized_client"},
			"a resource server":     {filesServer, http.StatusBadRequest, "unauthorized_client"},
			"a public client":       {stranger, http.StatusBadRequest, "unauthorized_client"},
			"without its secret":    {wrong, http.StatusUnauthorized, "invalid_client"},
		} {
			if a := w.postForm(path, &tt.by, form); a.status != tt.status || a.Error != tt.code {
				t.Errorf("%s, %s: %d %s", path, name, a.status, a.body)
			}
		}
	}
	if r.after != 0 || len(l.told) != 0 {
		t.Fatalf("read after %d, told %q", r.after, l.told)
	}
	if a := w.postForm("/oauth2/revocations", &mailServer, good["/oauth2/revocations"]); a.status != http.StatusOK || strings.TrimSpace(a.body) != `{"entries":[]}` || r.after != 7 {
		t.Errorf("none: %d %s", a.status, a.body)
	}
	r.entries = []revocation.Entry{{Kind: revocation.Server, Name: "mail", Frozen: true, Created: time.Unix(1, 0).UTC(), Expires: time.Unix(2, 0).UTC(), Seq: 8}}
	if a := w.postForm("/oauth2/revocations", &mailServer, good["/oauth2/revocations"]); !strings.Contains(a.body, `{"kind":"server","name":"mail","frozen":true,"created":"1970-01-01T00:00:01Z","expires":"1970-01-01T00:00:02Z","seq":8}`) {
		t.Errorf("one: %d %s", a.status, a.body)
	}
	if a := w.postForm("/oauth2/definitions", &mailServer, good["/oauth2/definitions"]); a.status != http.StatusOK || strings.TrimSpace(a.body) != `{"digest":"the one that stands"}` || !slices.Equal(l.told, []string{"mail list_messages " + aDigest}) {
		t.Errorf("a definition: %d %s, told %q", a.status, a.body, l.told)
	}
	r.err = errors.New("the store is away")
	if a := w.postForm("/oauth2/revocations", &mailServer, good["/oauth2/revocations"]); a.status != http.StatusInternalServerError || strings.Contains(a.body, "away") || strings.Contains(a.body, "entries") {
		t.Errorf("without the store: %d %s", a.status, a.body)
	}
}

func TestGatewaysAreToldWhatIsWrong(t *testing.T) {
	w := newWorld(t, withGateways)
	w.putResourceServers()
	for _, form := range []url.Values{{}, {"after": {""}}, {"after": {"-1"}}, {"after": {"x"}}, {"after": {"9223372036854775808"}}} {
		if a := w.postForm("/oauth2/revocations", &mailServer, form); a.status != http.StatusBadRequest || a.Error != "invalid_request" {
			t.Errorf("%v: %d %s", form, a.status, a.body)
		}
	}
	for _, form := range []url.Values{{}, {"tool": {"a b"}, "digest": {aDigest}}, {"tool": {"a"}}, {"tool": {"a"}, "digest": {"x"}}} {
		if a := w.postForm("/oauth2/definitions", &mailServer, form); a.status != http.StatusBadRequest || a.Error != "invalid_request" {
			t.Errorf("%v: %d %s", form, a.status, a.body)
		}
	}
}

func TestWithoutGatewaysNothingIsTold(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/oauth2/revocations", "/oauth2/definitions"} {
		if a := w.postForm(path, &agent, url.Values{"after": {"0"}}); a.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// TestFrozenGatewayIsToldNothing, and has no definition of a tool stand for all others.
func TestFrozenGatewayIsToldNothing(t *testing.T) {
	r, l := &reader{}, &learner{}
	w := newWorld(t, withGateways, func(c *authz.Config) { c.Gateways.Revocations, c.Gateways.Definitions = r, l })
	w.putResourceServers()
	w.freeze(revocation.Client, mailServer.ID)
	w.audit.take()
	for path, form := range map[string]url.Values{"/oauth2/revocations": {"after": {"7"}}, "/oauth2/definitions": {"server": {"mail"}, "tool": {"list_messages"}, "digest": {aDigest}}} {
		if a := w.postForm(path, &mailServer, form); a.status != http.StatusBadRequest || a.Error != "access_denied" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if r.after != 0 || len(l.told) != 0 {
		t.Errorf("read after %d, told %q", r.after, l.told)
	}
	if lines := w.audit.take(); len(lines) != 1 || lines[0].Client != mailServer.ID || lines[0].Reason != "access_denied" { // it asks every second: the rest is counted
		t.Errorf("audit lines %+v", lines)
	}
}

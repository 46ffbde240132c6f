package storetest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

var clientTests = []test{
	{"a client comes back with every field", clientRoundTrip},
	{"a public client without lists comes back", emptyClient},
	{"times come back in UTC with microseconds", clientTimes},
	{"an unknown client is not found", func(t *testing.T, s Stores) {
		_, err := s.Client(t.Context(), identity.MustClientID("nobody"))
		wantIs(t, "Client", err, authz.ErrNotFound)
	}},
	{"client identifiers are compared byte by byte", clientIDs},
	{"registration cannot take over an existing client", takeOverClient},
	{"one of 16 parallel registrations of one id wins", raceClients},
	{"a static client is replaced as a whole", replaceStatic},
	{"configuring the same secret again does not make it younger", sameSecret},
	{"a static client cannot replace one that registered itself", replaceRegistered},
	{"the configuration cannot put a client that is not static", putNotStatic},
	{"changing a returned or inserted client changes nothing in the store", ownClient},
	{"clients are there after the store was closed and opened", persistClient},
	{"text cannot become SQL", injection},
}

func someClient(id string) authz.Client {
	return authz.Client{
		ID:           identity.MustClientID(id),
		Name:         "Ünïcode \"client\" '; DROP",
		RedirectURIs: []string{"http://127.0.0.1/callback", "https://a.example/cb?x=1&y=[2]"},
		GrantTypes:   []string{"authorization_code", "refresh_token"},
		AuthMethod:   oauth.AuthBasic,
		Scope:        []string{"mcp:tools", "tool:a/b"},
		Created:      at,

		SecretHash: hashOf("secret"), SecretCreated: at.Add(time.Second),
		OldSecretHash: hashOf("old secret"), OldSecretExpires: at.Add(time.Hour),
		JWKS: []byte(`{"keys":[]}`), JWKSURI: "https://a.example/jwks", SigningAlg: "ES256", AssertionAudience: "https://b.example/token",
		TLSName: "dns:a.example", DPoPBound: true, RegistrationHash: hashOf("registration"),
	}
}

func clientRoundTrip(t *testing.T, s Stores) {
	for _, static := range []bool{false, true} {
		c := someClient("c1")
		if static {
			c.DPoPBound, c.CertificateBound = false, true
			c.ID, c.Static = identity.MustClientID("https://client.example/metadata.json"), true
		}
		must(t, s.InsertClient(t.Context(), c))
		got, err := s.Client(t.Context(), c.ID)
		must(t, err)
		wantSame(t, "Client", got, c)
	}
}

func emptyClient(t *testing.T, s Stores) {
	c := authz.Client{ID: identity.MustClientID("c1"), AuthMethod: oauth.AuthNone}
	must(t, s.InsertClient(t.Context(), c))
	got, err := s.Client(t.Context(), c.ID)
	must(t, err)
	wantSame(t, "Client", got, c)
	if !got.Created.IsZero() {
		t.Errorf("Created = %v, want the zero time", got.Created)
	}
}

func clientTimes(t *testing.T, s Stores) {
	c := someClient("c1")
	elsewhere := at.Add(789 * time.Nanosecond).In(time.FixedZone("elsewhere", 5*3600))
	c.Created, c.Used, c.SecretCreated, c.OldSecretExpires = elsewhere, elsewhere, elsewhere, elsewhere
	must(t, s.InsertClient(t.Context(), c))
	got, err := s.Client(t.Context(), c.ID)
	must(t, err)
	for _, v := range []time.Time{got.Created, got.Used, got.SecretCreated, got.OldSecretExpires} {
		wantSame(t, "a time", v, at)
		wantUTC(t, v)
	}
}

func clientIDs(t *testing.T, s Stores) {
	must(t, s.InsertClient(t.Context(), someClient("client")))
	for _, id := range []string{"Client", "CLIENT", "clien", "clientx", "cli%", "client%00", "_lient"} {
		_, err := s.Client(t.Context(), identity.MustClientID(id))
		wantIs(t, "Client "+id, err, authz.ErrNotFound)
	}
	must(t, s.InsertClient(t.Context(), someClient("CLIENT")))
}

func takeOverClient(t *testing.T, s Stores) {
	mine := someClient("c1")
	must(t, s.InsertClient(t.Context(), mine))
	theirs := mine
	theirs.RedirectURIs = []string{"https://attacker.example/"}
	wantIs(t, "InsertClient", s.InsertClient(t.Context(), theirs), authz.ErrExists)
	got, err := s.Client(t.Context(), mine.ID)
	must(t, err)
	wantSame(t, "Client", got, mine)
}

func raceClients(t *testing.T, s Stores) {
	var won atomic.Int32
	for _, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, _ int) error {
		return s.InsertClient(ctx, someClient("c1"))
	})) {
		if err == nil {
			won.Add(1)
		} else if !errors.Is(err, authz.ErrExists) {
			t.Errorf("a loser got %v, want ErrExists", err)
		}
	}
	if n := won.Load(); n != 1 {
		t.Errorf("%d registrations won, want 1", n)
	}
}

func replaceStatic(t *testing.T, s Stores) {
	first := someClient("c1")
	first.Static = true
	must(t, s.PutClient(t.Context(), first))
	must(t, s.UseClient(t.Context(), first.ID, at))
	second := authz.Client{ID: first.ID, Name: "new", RedirectURIs: []string{"https://b.example/"},
		GrantTypes: []string{"client_credentials"}, AuthMethod: oauth.AuthPost, SecretHash: hashOf("new secret"),
		SecretCreated: at.Add(time.Hour), Scope: []string{"mcp:prompts"}, CertificateBound: true, Static: true, Created: at.Add(time.Hour)}
	must(t, s.PutClient(t.Context(), second))
	got, err := s.Client(t.Context(), first.ID)
	must(t, err)
	second.Created, second.Used = first.Created, at // what the configuration does not say
	wantSame(t, "Client", got, second)
}

// sameSecret is a restart: it must not make a secret young again.
func sameSecret(t *testing.T, s Stores) {
	c := someClient("c1")
	c.Static = true
	must(t, s.PutClient(t.Context(), c))
	c.SecretCreated, c.Name = at.Add(1000*time.Hour), "new"
	must(t, s.PutClient(t.Context(), c))
	got, err := s.Client(t.Context(), c.ID)
	must(t, err)
	wantSame(t, "SecretCreated", got.SecretCreated, someClient("c1").SecretCreated)
	wantSame(t, "Name", got.Name, "new")
}

func replaceRegistered(t *testing.T, s Stores) {
	registered := someClient("c1")
	must(t, s.InsertClient(t.Context(), registered))
	static := authz.Client{ID: registered.ID, Static: true}
	wantIs(t, "PutClient", s.PutClient(t.Context(), static), authz.ErrExists)
	got, err := s.Client(t.Context(), registered.ID)
	must(t, err)
	wantSame(t, "Client", got, registered)
}

func putNotStatic(t *testing.T, s Stores) {
	if err := s.PutClient(t.Context(), someClient("c1")); err == nil {
		t.Error("PutClient of a client that is not static = nil, want an error")
	}
	_, err := s.Client(t.Context(), identity.MustClientID("c1"))
	wantIs(t, "Client", err, authz.ErrNotFound)
}

func ownClient(t *testing.T, s Stores) {
	spoil := func(c authz.Client) {
		c.RedirectURIs[0], c.GrantTypes[0], c.Scope[0] = "spoilt", "spoilt", "spoilt"
		for _, b := range [][]byte{c.SecretHash, c.OldSecretHash, c.JWKS, c.RegistrationHash} {
			clear(b)
		}
	}
	c := someClient("c1")
	must(t, s.InsertClient(t.Context(), c))
	spoil(c)
	for range 2 {
		got, err := s.Client(t.Context(), c.ID)
		must(t, err)
		wantSame(t, "Client", got, someClient("c1"))
		spoil(got)
	}
}

func persistClient(t *testing.T, s Stores) {
	c := someClient("c1")
	must(t, s.InsertClient(t.Context(), c))
	must(t, s.Close())
	got, err := s.Open(t).Client(t.Context(), c.ID)
	must(t, err)
	wantSame(t, "Client", got, c)
}

func injection(t *testing.T, s Stores) {
	c := someClient("x'--")
	c.Name = "'); DELETE FROM clients; --"
	must(t, s.InsertClient(t.Context(), c))
	must(t, s.InsertClient(t.Context(), someClient("c2")))
	_, err := s.Client(t.Context(), identity.MustClientID("'OR'1'='1"))
	wantIs(t, "Client", err, authz.ErrNotFound)
	got, err := s.Client(t.Context(), c.ID)
	must(t, err)
	wantSame(t, "Client", got, c)
}

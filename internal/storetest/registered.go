package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
)

var registeredTests = []test{
	{"a client replaces its registration, but not when it was created and used", replaceOwn},
	{"replacing a registration does not make a client static", replaceWithStatic},
	{"a static or unknown client cannot be replaced as if it had registered itself", replaceStaticAsOwn},
	{"deleting a client revokes all that it was granted, and nothing else", deleteClient},
	{"a static or unknown client cannot be deleted", deleteStatic},
	{"one of 16 parallel deletions removes the client", raceDeletions},
	{"a client is first used once", useClient},
	{"using an unknown client makes none", useUnknown},
	{"all clients are listed in the order of their ids", allClients},
	{"unused clients are counted, static and used ones are not", unusedClients},
	{"no used, static or young client is removed as unused", deleteUnused},
	{"unused clients are removed in bounded batches, oldest first", deleteUnusedBounded},
}

func getClient(t *testing.T, s Store, id string) authz.Client {
	t.Helper()
	c, err := s.Client(t.Context(), identity.MustClientID(id))
	must(t, err)
	return c
}

func insertStatic(t *testing.T, s Store, id string) authz.Client {
	t.Helper()
	c := someClient(id)
	c.Static = true
	must(t, s.PutClient(t.Context(), c))
	return c
}

func replaceOwn(t *testing.T, s Stores) {
	must(t, s.InsertClient(t.Context(), someClient("c1")))
	must(t, s.InsertClient(t.Context(), someClient("c2")))
	must(t, s.UseClient(t.Context(), someClient("c1").ID, at.Add(time.Minute)))
	second := authz.Client{ID: someClient("c1").ID, Name: "new", RedirectURIs: []string{"https://b.example/"},
		GrantTypes: []string{"client_credentials"}, AuthMethod: "private_key_jwt", Scope: []string{"mcp:prompts"},
		SecretHash: hashOf("new secret"), SecretCreated: at.Add(time.Hour), OldSecretHash: hashOf("secret"),
		OldSecretExpires: at.Add(2 * time.Hour), JWKS: []byte("{}"), JWKSURI: "https://b.example/jwks", SigningAlg: "EdDSA",
		AssertionAudience: "https://c.example/", TLSName: "ip:192.0.2.1", RegistrationHash: hashOf("new registration"),
		Created: at.Add(time.Hour), Used: at.Add(2 * time.Hour)}
	must(t, s.ReplaceClient(t.Context(), second))
	second.Created, second.Used = at, at.Add(time.Minute)
	wantSame(t, "Client", getClient(t, s, "c1"), second)
	wantSame(t, "the other client", getClient(t, s, "c2"), someClient("c2"))
}

func replaceWithStatic(t *testing.T, s Stores) {
	must(t, s.InsertClient(t.Context(), someClient("c1")))
	c := someClient("c1")
	c.Static = true
	must(t, s.ReplaceClient(t.Context(), c))
	wantSame(t, "Client", getClient(t, s, "c1"), someClient("c1"))
}

func replaceStaticAsOwn(t *testing.T, s Stores) {
	static := insertStatic(t, s, "static")
	changed := static
	changed.RedirectURIs = []string{"https://attacker.example/"}
	for _, isStatic := range []bool{true, false} {
		changed.Static = isStatic
		wantIs(t, "ReplaceClient of a static client", s.ReplaceClient(t.Context(), changed), authz.ErrNotFound)
	}
	wantSame(t, "Client", getClient(t, s, "static"), static)
	wantIs(t, "ReplaceClient of none", s.ReplaceClient(t.Context(), someClient("none")), authz.ErrNotFound)
	_, err := s.Client(t.Context(), someClient("none").ID)
	wantIs(t, "Client", err, authz.ErrNotFound)
}

// grantTo makes an authorization of the client, with a refresh token of that name.
func grantTo(t *testing.T, s Store, client, id string) {
	t.Helper()
	a := someAuthorization(id)
	a.ClientID = identity.MustClientID(client)
	must(t, s.InsertCode(t.Context(), a, someCode("code of "+id)))
	must(t, s.InsertRefreshToken(t.Context(), id, someRefreshToken("refresh of "+id)))
}

func wantRevoked(t *testing.T, s Store, id string, want time.Time) {
	t.Helper()
	_, a, err := s.RefreshToken(t.Context(), hashOf("refresh of "+id))
	must(t, err)
	wantSame(t, id+" revoked", a.Revoked, want)
}

func deleteClient(t *testing.T, s Stores) {
	must(t, s.InsertClient(t.Context(), someClient("c1")))
	must(t, s.InsertClient(t.Context(), someClient("c2")))
	for _, id := range []string{"first", "second", "revoked"} {
		grantTo(t, s, "c1", id)
	}
	grantTo(t, s, "c2", "other")
	must(t, s.RevokeAuthorization(t.Context(), "revoked", at))
	must(t, s.DeleteClient(t.Context(), someClient("c1").ID, at.Add(time.Hour)))
	_, err := s.Client(t.Context(), someClient("c1").ID)
	wantIs(t, "Client", err, authz.ErrNotFound)
	wantRevoked(t, s, "first", at.Add(time.Hour))
	wantRevoked(t, s, "second", at.Add(time.Hour))
	wantRevoked(t, s, "revoked", at) // the first time stands
	wantRevoked(t, s, "other", time.Time{})
	wantSame(t, "the other client", getClient(t, s, "c2"), someClient("c2"))
	wantIs(t, "DeleteClient again", s.DeleteClient(t.Context(), someClient("c1").ID, at), authz.ErrNotFound)
}

func deleteStatic(t *testing.T, s Stores) {
	static := insertStatic(t, s, "static")
	document := "https://client.example/metadata.json"
	for _, client := range []string{"static", document} {
		grantTo(t, s, client, "of "+client)
		wantIs(t, "DeleteClient "+client, s.DeleteClient(t.Context(), identity.MustClientID(client), at), authz.ErrNotFound)
		wantRevoked(t, s, "of "+client, time.Time{})
	}
	wantSame(t, "Client", getClient(t, s, "static"), static)
}

func raceDeletions(t *testing.T, s Stores) {
	must(t, s.InsertClient(t.Context(), someClient("c1")))
	grantTo(t, s, "c1", "a1")
	won := 0
	for _, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, _ int) error {
		return s.DeleteClient(ctx, someClient("c1").ID, at)
	})) {
		if err == nil {
			won++
		} else if !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("a loser got %v, want ErrNotFound", err)
		}
	}
	wantSame(t, "winners", won, 1)
	wantRevoked(t, s, "a1", at)
}

func useClient(t *testing.T, s Stores) {
	must(t, s.InsertClient(t.Context(), someClient("c1")))
	must(t, s.InsertClient(t.Context(), someClient("c2")))
	for _, now := range []time.Time{at.Add(time.Minute), at.Add(time.Hour), at} {
		must(t, s.UseClient(t.Context(), someClient("c1").ID, now))
	}
	want := someClient("c1")
	want.Used = at.Add(time.Minute)
	wantSame(t, "Client", getClient(t, s, "c1"), want)
	wantSame(t, "the other client", getClient(t, s, "c2"), someClient("c2"))
}

func useUnknown(t *testing.T, s Stores) {
	id := identity.MustClientID("https://client.example/metadata.json")
	must(t, s.UseClient(t.Context(), id, at))
	_, err := s.Client(t.Context(), id)
	wantIs(t, "Client", err, authz.ErrNotFound)
}

func allClients(t *testing.T, s Stores) {
	none, err := s.AllClients(t.Context())
	must(t, err)
	wantSame(t, "AllClients", none, nil)
	for _, id := range []string{"f", "a", "B", "~"} {
		must(t, s.InsertClient(t.Context(), someClient(id)))
	}
	static := insertStatic(t, s, "static")
	got, err := s.AllClients(t.Context())
	must(t, err)
	wantSame(t, "AllClients", got, []authz.Client{someClient("B"), someClient("a"), someClient("f"), static, someClient("~")})
}

func wantUnused(t *testing.T, s Store, want int) {
	t.Helper()
	n, err := s.UnusedClients(t.Context())
	must(t, err)
	wantSame(t, "UnusedClients", n, want)
}

// insertThree makes a static, a used and an unused client.
func insertThree(t *testing.T, s Store) {
	t.Helper()
	insertStatic(t, s, "static")
	must(t, s.InsertClient(t.Context(), someClient("used")))
	must(t, s.UseClient(t.Context(), someClient("used").ID, at))
	must(t, s.InsertClient(t.Context(), someClient("unused")))
}

func unusedClients(t *testing.T, s Stores) {
	wantUnused(t, s, 0)
	insertThree(t, s)
	wantUnused(t, s, 1)
	must(t, s.UseClient(t.Context(), someClient("unused").ID, at))
	wantUnused(t, s, 0)
}

func deleteUnused(t *testing.T, s Stores) {
	insertThree(t, s)
	for _, step := range []struct {
		before  time.Time
		removed int64
	}{{at, 0}, {at.Add(time.Microsecond), 1}, {at.Add(100000 * time.Hour), 0}} {
		n, err := s.DeleteUnusedClients(t.Context(), step.before)
		must(t, err)
		wantSame(t, fmt.Sprint("removed before ", step.before), n, step.removed)
	}
	_, err := s.Client(t.Context(), someClient("unused").ID)
	wantIs(t, "Client", err, authz.ErrNotFound)
	getClient(t, s, "static")
	getClient(t, s, "used")
}

func deleteUnusedBounded(t *testing.T, s Stores) {
	must(t, s.InTx(t.Context(), func(ctx context.Context) error {
		for i := range 1200 {
			c := authz.Client{ID: identity.MustClientID(fmt.Sprint("c", i)), Created: at.Add(-time.Duration(i) * time.Second)}
			if err := s.InsertClient(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}))
	for _, want := range []int64{1000, 200, 0} {
		n, err := s.DeleteUnusedClients(t.Context(), at.Add(time.Hour))
		must(t, err)
		wantSame(t, "removed", n, want)
		if want == 1000 {
			getClient(t, s, "c199")
			wantUnused(t, s, 200)
		}
	}
}

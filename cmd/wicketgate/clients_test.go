package main

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/postgres"
)

// stores are a SQLite and a PostgreSQL store to run a command on.
func stores(t *testing.T) map[string]houseConfig {
	t.Helper()
	lite := houseConfig{Data: t.TempDir()}
	lite.setPaths()
	many := houseConfig{Data: t.TempDir(), Store: storeConfig{Postgres: &postgres.Config{URL: pgtest.Migrated(t)}}}
	many.setPaths()
	return map[string]houseConfig{"sqlite": lite, "postgres": many}
}

func TestClientsListAndRotate(t *testing.T) {
	for name, h := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx, now := t.Context(), time.Now()
			h.Ages = ages{SecretWarn: 60 * 24 * time.Hour, SecretMax: 90 * 24 * time.Hour}
			store, err := openStore(ctx, h.Store)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			days := func(n int) time.Time { return now.Add(-time.Duration(n) * 24 * time.Hour) }
			old := sha256.Sum256([]byte("old"))
			for id, c := range map[string]authz.Client{
				"fresh":   {Name: "\x1b[31mred", AuthMethod: oauth.AuthBasic, SecretCreated: days(1), SecretHash: old[:]},
				"old":     {AuthMethod: oauth.AuthPost, SecretCreated: days(61)},
				"refused": {AuthMethod: oauth.AuthBasic, SecretCreated: days(91)},
				"public":  {AuthMethod: oauth.AuthNone},
			} {
				c.ID, c.Created = identity.MustClientID(id), days(100)
				if err := store.InsertClient(ctx, c); err != nil {
					t.Fatal(err)
				}
			}
			if err := store.PutClient(ctx, authz.Client{ID: identity.MustClientID("static"), AuthMethod: oauth.AuthBasic, Static: true}); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := listClients(ctx, h, &out, now); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{`fresh    "\x1b[31mred"`, "1 days", "61 days: rotate it", "91 days: refused, rotate it", "configuration", "registration"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the list lacks %q:\n%s", want, &out)
				}
			}
			out.Reset()
			if err := rotateClient(ctx, h, "fresh", time.Hour, &out); err != nil {
				t.Fatal(err)
			}
			c, err := store.Client(ctx, identity.MustClientID("fresh"))
			if err != nil {
				t.Fatal(err)
			}
			secret := sha256.Sum256([]byte(strings.TrimSpace(out.String())))
			if !bytes.Equal(c.SecretHash, secret[:]) || !bytes.Equal(c.OldSecretHash, old[:]) || c.SecretCreated.Before(now.Truncate(time.Microsecond)) ||
				!c.OldSecretExpires.After(now.Add(59*time.Minute)) || c.OldSecretExpires.After(now.Add(61*time.Minute)) {
				t.Errorf("after the rotation: %+v", c)
			}
			for id, want := range map[string]string{"public": "no secret", "static": "is configured", "nobody": "there is no client"} {
				out.Reset()
				if err := rotateClient(ctx, h, id, time.Hour, &out); err == nil || !strings.Contains(err.Error(), want) || out.Len() > 0 {
					t.Errorf("rotate %s: %v, printed %q, want an error with %q", id, err, &out, want)
				}
			}
		})
	}
}

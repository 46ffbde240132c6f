package exchange_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/exchange"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// benchWorld writes to a real audit log.
func benchWorld(b *testing.B) *world {
	dir, clock := b.TempDir(), func() time.Time { return now }
	store := must(sqlite.Open(b.Context(), filepath.Join(dir, "db")))
	ring := must(keys.Open(b.Context(), store, keys.KEK{1}, clock))
	b.Cleanup(func() { _ = store.Close() })
	log := must(audit.Open(b.Context(), audit.Config{Path: filepath.Join(dir, "audit.jsonl"), Signer: ring.AuditSigner(), Heads: store, Now: clock}))
	b.Cleanup(func() { _ = log.Close() })
	return buildWorld(must(policies.New(b.Context(), policies.Config{Access: []byte(access)})), agents, func(c *exchange.Config) { c.Audit = log })
}

// BenchmarkBareSigning is the floor: one access token, signed.
func BenchmarkBareSigning(b *testing.B) {
	w := benchWorld(b)
	spec := token.AccessSpec{Subject: must(identity.ParseSubject("alice")), ClientID: identity.MustClientID("editor"), Audience: mail, Scope: must(token.ParseScope("mcp:tools")),
		Txn: "grant-1", Lifetime: 5 * time.Minute}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := w.minter.Access(spec); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkExchange(b *testing.B, params ...string) {
	w := benchWorld(b)
	r := delegation("agent", forge(b, nil), params...)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Issue(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExchangeForOneCall(b *testing.B) {
	benchmarkExchange(b, "scope", "tool:read_message", "authorization_details", details)
}

func BenchmarkExchangeForDelegation(b *testing.B) {
	benchmarkExchange(b, "scope", "tool:read_message")
}

package audit_test

import (
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/audit"
)

func typical() audit.Event {
	const digest = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
	return audit.Event{
		Kind: audit.Intent, Call: "GQ5T3KX2WJ7M4N6P", Time: time.Now(),
		Subject: "alice@example.com", Client: "https://client.example/metadata.json", Actors: []string{"spiffe://example.org/agent"},
		Txn: "7YQH2M5NKD3TXW4A", TokenID: "C5WJ2QH7YNKD3TX4", CallTokenID: "X2WJ7M4N6PGQ5T3K",
		Source: "192.0.2.17", RequestID: "9f86d081884c7d65",
		Server: "mail", Action: "call", Tool: "send_message", ArgumentsDigest: digest, DefinitionDigest: digest, PolicyDigest: digest,
		Resource: "https://mcp.example.com/mcp/mail", Scope: "tool:send_message",
		Decision: audit.Allow, Reason: "granted", Rule: "roles/mailer",
	}
}

func BenchmarkRecord(b *testing.B) {
	l := benchLog(b)
	e := typical()
	for b.Loop() {
		if err := l.Record(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordParallel(b *testing.B) {
	l := benchLog(b)
	e := typical()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Record(b.Context(), e); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	d := newLogs(b)
	cfg := d.config()
	cfg.Every = 256
	l, err := audit.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	for range 10_000 {
		record(b, l, typical())
	}
	closeLog(b, l)
	b.SetBytes(int64(len(d.bytes())))
	for b.Loop() {
		d.intact()
	}
}

func benchLog(b *testing.B) *audit.Log {
	b.ReportAllocs()
	d := newLogs(b)
	cfg := d.config()
	cfg.Every = 256
	l, err := audit.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { closeLog(b, l) })
	return l
}

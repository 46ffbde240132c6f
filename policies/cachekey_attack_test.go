package policies_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/policies"
)

// TestCachedAnswerIsNotOfAnotherKeyLoginOrHour has for each part of the key of a cached
// answer one question that is allowed, and one that differs in that part alone.
func TestCachedAnswerIsNotOfAnotherKeyLoginOrHour(t *testing.T) {
	noon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		tools  string
		change func(*policies.Request)
		want   policies.Reason
	}{
		"key":       {`{t: {sender_constrained: true}}`, func(q *policies.Request) { q.Bound = false }, policies.ReasonSenderConstraint},
		"login":     {`{t: {acr: [strong]}}`, func(q *policies.Request) { q.ACR = "weak" }, policies.ReasonStepUp},
		"claims":    {`{t: {when: {a: 1}}}`, func(q *policies.Request) { q.Claims = jsontext.Value(`{"a":2}`) }, policies.ReasonCondition},
		"hour":      {`{t: {hours: day}}`, func(q *policies.Request) { q.Time = noon.Add(12 * time.Hour) }, policies.ReasonHours},
		"no time":   {`{t: {hours: day}}`, func(q *policies.Request) { q.Time = time.Time{} }, policies.ReasonHours},
		"approval":  {`{t: {approval: {by: [r]}}}`, func(q *policies.Request) { q.Rule = "" }, policies.ReasonApproval},
		"call":      {`{t: {sender_constrained: true}}`, func(q *policies.Request) { q.Bound, q.Arguments = false, nil }, policies.ReasonAllowed},
		"over edge": {`{t: {hours: day}}`, func(q *policies.Request) { q.Time = noon.Add(6 * time.Hour) }, policies.ReasonHours},
	} {
		p := newPDP(t, toAlice(tt.tools)+"hours: {day: {from: \"09:00\", to: \"18:00\", zone: UTC}}\n")
		good := call(t, "alice", "editor", "s", "t")
		good.Time, good.Bound, good.ACR, good.Rule = noon, true, "strong", "roles.r.servers.s.tools.t"
		good.Arguments, good.Claims = jsontext.Value(`{}`), jsontext.Value(`{"a":1}`)
		other := good
		tt.change(&other)
		for range 2 {
			decides(t, p, good, policies.ReasonAllowed)
			decides(t, p, other, tt.want)
		}
		if p.Cached() != 2 {
			t.Errorf("%s: %d answers are cached, want 2: this test shows nothing", name, p.Cached())
		}
	}
}

// TestDenialWithHoursAppliesWhereTheTimeIsNotKnown, whatever was answered at another time.
func TestDenialWithHoursAppliesWhereTheTimeIsNotKnown(t *testing.T) {
	p := newPDP(t, toAlice(`[t]`)+"hours: {day: {from: \"09:00\", to: \"18:00\", zone: UTC}}\ndeny: {d: {hours: day, servers: {s: {tools: [t]}}}}\n")
	q := call(t, "alice", "editor", "s", "t")
	for range 2 {
		q.Time = time.Date(2026, 11, 20, 20, 0, 0, 0, time.UTC)
		decides(t, p, q, policies.ReasonAllowed)
		q.Time = time.Time{}
		decides(t, p, q, policies.ReasonDenied)
	}
}

// TestBundleKeyThatIsTooShort to trust.
func TestBundleKeyThatIsTooShort(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	for bits, good := range map[int]bool{1024: false, 2048: true} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		k := policies.BundleKey{PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), Algorithm: "RS256"}
		if err := k.Check(); (err == nil) != good {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
}

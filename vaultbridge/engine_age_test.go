package vaultbridge

import (
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
)

// TestKeyOfAnUnknownAgeIsRefused: Vault, as it is here, always says when a key was made.
func TestKeyOfAnUnknownAgeIsRefused(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		made   string
		most   time.Duration
		want   time.Duration
		reason vault.Reason
	}{
		{"", time.Hour, 0, KeyAgeUnknown},
		{"yesterday", time.Hour, 0, KeyAgeUnknown},
		{"0001-01-01T00:00:00Z", time.Hour, 0, KeyAgeUnknown},
		{"", 0, 0, ""},
		{"2026-12-01T11:00:00Z", time.Hour, time.Hour, ""},
		{"2026-12-01T10:59:59.5Z", time.Hour, time.Hour + time.Second/2, KeyTooOld},
		{"2026-12-01T12:00:05Z", time.Hour, 0, ""}, // our clock is slow
	} {
		age, err := Server{Engine: KV, MaxAge: test.most}.age(now, test.made)
		if age != test.want || err == nil && test.reason != "" || err != nil && reasonOf(err) != test.reason {
			t.Errorf("age(%q), max_age %v = %v, %v, want %v, %q", test.made, test.most, age, err, test.want, test.reason)
		}
	}
}

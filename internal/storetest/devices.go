package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
)

var deviceTests = []test{
	{"a device code comes back with every field, by either code", deviceRoundTrip},
	{"a user code is not a device code, nor the reverse", deviceCodesApart},
	{"a user code in use is not given to another device", userCodeOnce},
	{"a device that polls too soon is told so, and does not have to wait longer for it", pollTooSoon},
	{"one of 16 parallel polls counts", racePolls},
	{"a decision stands: a denial is not approved, an approval not given to another", decideOnce},
	{"one of 16 parallel decisions stands", raceDecisions},
	{"a device code that nobody approved is not redeemed", redeemUnapproved},
	{"an approved device code is redeemed once by 16 parallel requests", raceRedeemDevice},
	{"an unknown device code is not found, polled, decided or redeemed", unknownDevice},
	{"changing a returned device code changes nothing in the store", ownDevice},
	{"what was decided and redeemed is so after the store was closed and opened", persistDevice},
}

func userHash(name string) []byte { return hashOf("user " + name) }

func someDeviceCode(name string) authz.DeviceCode {
	return authz.DeviceCode{Hash: hashOf(name), UserHash: userHash(name), ClientID: identity.MustClientID("c1"),
		Resource: "https://mcp.example.com/mcp/mail", Scope: "mcp:tools", Document: "sha-256:d", Created: at, Expires: at.Add(10 * time.Minute)}
}

func insertDevice(t *testing.T, s Store, name string) {
	t.Helper()
	must(t, s.InsertDeviceCode(t.Context(), someDeviceCode(name)))
}

func wantDevice(t *testing.T, s Store, want authz.DeviceCode) {
	t.Helper()
	got, err := s.DeviceCode(t.Context(), want.Hash)
	must(t, err)
	wantSame(t, "DeviceCode", got, want)
	wantUTC(t, got.Created, got.Expires, got.Polled, got.Decided, got.Used)
	byUser, err := s.UserCode(t.Context(), want.UserHash)
	must(t, err)
	wantSame(t, "UserCode", byUser, want)
}

func deviceRoundTrip(t *testing.T, s Stores) {
	done := someDeviceCode("done")
	done.Polled, done.Decided, done.Used, done.Authorization = at.Add(time.Second), at.Add(time.Minute), at.Add(time.Hour), "a1"
	for _, d := range []authz.DeviceCode{someDeviceCode("fresh"), done} {
		must(t, s.InsertDeviceCode(t.Context(), d))
		wantDevice(t, s, d)
	}
}

func deviceCodesApart(t *testing.T, s Stores) {
	insertDevice(t, s, "d1")
	_, err := s.DeviceCode(t.Context(), userHash("d1"))
	wantIs(t, "DeviceCode of a user code", err, authz.ErrNotFound)
	_, err = s.UserCode(t.Context(), hashOf("d1"))
	wantIs(t, "UserCode of a device code", err, authz.ErrNotFound)
	wantIs(t, "DecideDeviceCode by user code", s.DecideDeviceCode(t.Context(), userHash("d1"), "a1", at), authz.ErrSpent)
	wantDevice(t, s, someDeviceCode("d1"))
}

// userCodeOnce: an attacker's device with the user code of another would be
// approved in its place (RFC 8628 §5.1).
func userCodeOnce(t *testing.T, s Stores) {
	insertDevice(t, s, "d1")
	sameUser, sameHash := someDeviceCode("d2"), someDeviceCode("d2")
	sameUser.UserHash, sameHash.Hash = userHash("d1"), hashOf("d1")
	for _, d := range []authz.DeviceCode{sameUser, sameHash, someDeviceCode("d1")} {
		d.ClientID = identity.MustClientID("attacker")
		wantIs(t, "InsertDeviceCode", s.InsertDeviceCode(t.Context(), d), authz.ErrExists)
	}
	wantDevice(t, s, someDeviceCode("d1"))
}

func pollTooSoon(t *testing.T, s Stores) {
	insertDevice(t, s, "d1")
	insertDevice(t, s, "d2")
	const interval = 5 * time.Second
	want := someDeviceCode("d1")
	for _, step := range []struct {
		after time.Duration
		err   error
	}{{0, nil}, {interval - time.Microsecond, authz.ErrSpent}, {interval, nil}, {interval, authz.ErrSpent}, {time.Hour, nil}} {
		now := at.Add(step.after)
		wantIs(t, fmt.Sprint("poll after ", step.after), s.PollDeviceCode(t.Context(), want.Hash, now, now.Add(-interval)), step.err)
		if step.err == nil {
			want.Polled = now
		}
		wantDevice(t, s, want)
	}
	wantDevice(t, s, someDeviceCode("d2"))
}

func racePolls(t *testing.T, s Stores) {
	insertDevice(t, s, "d1")
	wantOneWinner(t, race(t.Context(), spread(t, s, func(ctx context.Context, s Store, _ int) error {
		return s.PollDeviceCode(ctx, hashOf("d1"), at, at.Add(-5*time.Second))
	})))
}

func decideOnce(t *testing.T, s Stores) {
	insertDevice(t, s, "other")
	for _, decision := range []string{"", "a1"} {
		want := someDeviceCode("decision " + decision)
		must(t, s.InsertDeviceCode(t.Context(), want))
		must(t, s.DecideDeviceCode(t.Context(), want.Hash, decision, at))
		want.Decided, want.Authorization = at, decision
		for _, again := range []string{"", "a1", "of the attacker"} {
			wantIs(t, "DecideDeviceCode again", s.DecideDeviceCode(t.Context(), want.Hash, again, at.Add(time.Hour)), authz.ErrSpent)
		}
		wantDevice(t, s, want)
	}
	wantDevice(t, s, someDeviceCode("other"))
}

func raceDecisions(t *testing.T, s Stores) {
	insertDevice(t, s, "d1")
	decision := func(i int) string { // every second denies
		if i%2 == 0 {
			return ""
		}
		return fmt.Sprint("a", i)
	}
	errs := race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) error {
		return s.DecideDeviceCode(ctx, hashOf("d1"), decision(i), at.Add(time.Duration(i)*time.Second))
	}))
	wantOneWinner(t, errs)
	want := someDeviceCode("d1")
	for i, err := range errs {
		if err == nil {
			want.Decided, want.Authorization = at.Add(time.Duration(i)*time.Second), decision(i)
		}
	}
	wantDevice(t, s, want)
}

func redeemUnapproved(t *testing.T, s Stores) {
	insertDevice(t, s, "undecided")
	insertDevice(t, s, "denied")
	must(t, s.DecideDeviceCode(t.Context(), hashOf("denied"), "", at))
	for _, name := range []string{"undecided", "denied"} {
		before, err := s.DeviceCode(t.Context(), hashOf(name))
		must(t, err)
		wantIs(t, "RedeemDeviceCode, "+name, s.RedeemDeviceCode(t.Context(), hashOf(name), at), authz.ErrSpent)
		wantDevice(t, s, before)
	}
	must(t, s.DecideDeviceCode(t.Context(), hashOf("undecided"), "a1", at))
	must(t, s.RedeemDeviceCode(t.Context(), hashOf("undecided"), at))
}

func raceRedeemDevice(t *testing.T, s Stores) {
	insertDevice(t, s, "d1")
	insertDevice(t, s, "d2")
	must(t, s.DecideDeviceCode(t.Context(), hashOf("d1"), "a1", at))
	wantOneWinner(t, race(t.Context(), spread(t, s, func(ctx context.Context, s Store, _ int) error {
		return s.RedeemDeviceCode(ctx, hashOf("d1"), at)
	})))
	wantIs(t, "RedeemDeviceCode", s.RedeemDeviceCode(t.Context(), hashOf("d1"), at.Add(time.Hour)), authz.ErrSpent)
	want := someDeviceCode("d1")
	want.Decided, want.Authorization, want.Used = at, "a1", at
	wantDevice(t, s, want)
	wantDevice(t, s, someDeviceCode("d2"))
}

func unknownDevice(t *testing.T, s Stores) {
	insertDevice(t, s, "d1")
	for _, hash := range [][]byte{nil, hashOf("d2"), []byte("d1"), userHash("d1")} {
		_, err := s.DeviceCode(t.Context(), hash)
		wantIs(t, "DeviceCode", err, authz.ErrNotFound)
		wantIs(t, "PollDeviceCode", s.PollDeviceCode(t.Context(), hash, at, at), authz.ErrSpent)
		wantIs(t, "DecideDeviceCode", s.DecideDeviceCode(t.Context(), hash, "a1", at), authz.ErrSpent)
		wantIs(t, "RedeemDeviceCode", s.RedeemDeviceCode(t.Context(), hash, at), authz.ErrSpent)
	}
	wantDevice(t, s, someDeviceCode("d1"))
}

func ownDevice(t *testing.T, s Stores) {
	insertDevice(t, s, "d1")
	for range 2 {
		got, err := s.DeviceCode(t.Context(), hashOf("d1"))
		must(t, err)
		wantSame(t, "DeviceCode", got, someDeviceCode("d1"))
		clear(got.Hash)
		clear(got.UserHash)
	}
}

func persistDevice(t *testing.T, s Stores) {
	insertDevice(t, s, "d1")
	must(t, s.DecideDeviceCode(t.Context(), hashOf("d1"), "a1", at))
	must(t, s.RedeemDeviceCode(t.Context(), hashOf("d1"), at))
	must(t, s.Close())
	again := s.Open(t)
	wantIs(t, "DecideDeviceCode", again.DecideDeviceCode(t.Context(), hashOf("d1"), "a2", at), authz.ErrSpent)
	wantIs(t, "RedeemDeviceCode", again.RedeemDeviceCode(t.Context(), hashOf("d1"), at), authz.ErrSpent)
}

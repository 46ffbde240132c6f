package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/keys"
)

var expireTests = []test{
	{"what expired is removed, but not before a day has passed", deleteExpired},
	{"an authorization stays as long as one of its refresh tokens", deleteExpiredRoot},
	{"a revoked family that has not expired stays revoked", deleteRevoked},
}

var keyTests = []test{
	{"keys come back with every field, oldest first", keyRoundTrip},
	{"a key id is used once", keyOnce},
	{"changing returned keys changes nothing in the store", ownKeys},
	{"a ring opens with the keys that it made before", reopenRing},
}

var pinTests = []test{
	{"pins come back with every field, by tool name", pinRoundTrip},
	{"a changed tool definition cannot replace a pin", addPinTwice},
	{"16 parallel pins of one tool make one", racePins},
	{"changing returned pins changes nothing in the store", ownPins},
}

func deleteAll(t *testing.T, s Store, now time.Time) (n int64) {
	t.Helper()
	for {
		some, err := s.DeleteExpired(t.Context(), now)
		must(t, err)
		if n += some; some == 0 {
			return n
		}
	}
}

func deleteExpired(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	must(t, s.RedeemCode(t.Context(), hashOf("code of a1"), at))
	steps := []struct {
		now           time.Time
		removed       int64
		code, refresh error
	}{
		{someCode("").Expires.Add(23 * time.Hour), 0, nil, nil},
		{someCode("").Expires.Add(24 * time.Hour), 1, authz.ErrNotFound, nil},
		{someRefreshToken("").Expires.Add(23 * time.Hour), 0, authz.ErrNotFound, nil},
		{someRefreshToken("").Expires.Add(24 * time.Hour), 1, authz.ErrNotFound, authz.ErrNotFound},
		{someAuthorization("").Expires.Add(23 * time.Hour), 0, authz.ErrNotFound, authz.ErrNotFound},
		{someAuthorization("").Expires.Add(24 * time.Hour), 1, authz.ErrNotFound, authz.ErrNotFound},
	}
	for _, step := range steps {
		if n := deleteAll(t, s, step.now); n != step.removed {
			t.Errorf("at %v: %d removed, want %d", step.now, n, step.removed)
		}
		_, _, err := s.Code(t.Context(), hashOf("code of a1"))
		wantIs(t, "Code", err, step.code)
		_, _, err = s.RefreshToken(t.Context(), hashOf("refresh"))
		wantIs(t, "RefreshToken", err, step.refresh)
	}
	if err := s.InsertRefreshToken(t.Context(), "a1", someRefreshToken("late")); err == nil {
		t.Error("a removed authorization got a refresh token")
	}
}

func deleteExpiredRoot(t *testing.T, s Stores) {
	insertFamily(t, s, "a1")
	late := someRefreshToken("late")
	late.Expires = at.Add(10000 * time.Hour)
	must(t, s.InsertRefreshToken(t.Context(), "a1", late))
	deleteAll(t, s, at.Add(9999*time.Hour))
	_, a, err := s.RefreshToken(t.Context(), late.Hash)
	must(t, err)
	wantSame(t, "authorization", a, someAuthorization("a1"))
	if n := deleteAll(t, s, at.Add(10024*time.Hour)); n != 2 {
		t.Errorf("%d removed, want the token and its authorization", n)
	}
}

func deleteRevoked(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	must(t, s.RotateRefreshToken(t.Context(), hashOf("refresh"), at))
	must(t, s.RevokeAuthorization(t.Context(), "a1", at))
	deleteAll(t, s, at.Add(25*time.Hour))
	got, a, err := s.RefreshToken(t.Context(), hashOf("refresh"))
	must(t, err)
	wantSame(t, "Rotated", got.Rotated, at)
	wantSame(t, "Revoked", a.Revoked, at)
}

func someKey(id string) keys.Record {
	return keys.Record{KeyID: id, Use: keys.UseToken, Algorithm: keys.AlgES256, Wrapped: []byte{0, 1, 2, 0xff}, Public: []byte{3, 0, 4},
		Created: at}
}

func keyRoundTrip(t *testing.T, s Stores) {
	newer, older, symmetric := someKey("newer"), someKey("older"), someKey("symmetric")
	newer.Created, symmetric.Created = at.Add(time.Hour), at.Add(time.Minute)
	symmetric.Use, symmetric.Algorithm, symmetric.Public = keys.UseSession, keys.AlgA256GCM, nil
	for _, r := range []keys.Record{newer, older, symmetric} {
		must(t, s.InsertKey(t.Context(), r))
	}
	got, err := s.Keys(t.Context())
	must(t, err)
	wantSame(t, "Keys", got, []keys.Record{older, symmetric, newer})
	wantUTC(t, got[0].Created)
}

func keyOnce(t *testing.T, s Stores) {
	must(t, s.InsertKey(t.Context(), someKey("k1")))
	other := someKey("k1")
	other.Wrapped = []byte("another")
	if err := s.InsertKey(t.Context(), other); err == nil {
		t.Error("InsertKey with a known id = nil, want an error")
	}
	got, err := s.Keys(t.Context())
	must(t, err)
	wantSame(t, "Keys", got, []keys.Record{someKey("k1")})
}

func ownKeys(t *testing.T, s Stores) {
	must(t, s.InsertKey(t.Context(), someKey("k1")))
	for range 2 {
		got, err := s.Keys(t.Context())
		must(t, err)
		wantSame(t, "Keys", got, []keys.Record{someKey("k1")})
		clear(got[0].Wrapped)
		clear(got[0].Public)
	}
}

func reopenRing(t *testing.T, s Stores) {
	now := func() time.Time { return at }
	first, err := keys.Open(t.Context(), s, keys.KEK{1}, now)
	must(t, err)
	must(t, s.Close())
	again := s.Open(t)
	second, err := keys.Open(t.Context(), again, keys.KEK{1}, now)
	must(t, err)
	wantSame(t, "kid", second.SigningKey().KeyID, first.SigningKey().KeyID)
	_, err = keys.Open(t.Context(), again, keys.KEK{2}, now)
	wantIs(t, "Open with another KEK", err, keys.ErrWrongKEK)
}

func somePin(server, tool string) gateway.Pin {
	return gateway.Pin{Server: server, Tool: tool, Digest: "sha-256:" + tool, Definition: []byte(`{"name":"é"}`), Seen: at, Approved: true}
}

func pinRoundTrip(t *testing.T, s Stores) {
	unapproved := somePin("mail", "b")
	unapproved.Approved = false
	// By bytes, in every store: a locale would put é beside e and a beside A.
	want := []gateway.Pin{somePin("mail", "B"), somePin("mail", "a"), unapproved, somePin("mail", "f"), somePin("mail", "é")}
	for _, i := range []int{3, 0, 4, 2, 1} {
		got, err := s.AddPin(t.Context(), want[i])
		must(t, err)
		wantSame(t, "AddPin", got, want[i])
	}
	_, err := s.AddPin(t.Context(), somePin("calendar", "a"))
	must(t, err)
	got, err := s.Pins(t.Context(), "mail")
	must(t, err)
	wantSame(t, "Pins", got, want)
	wantUTC(t, got[0].Seen)
	none, err := s.Pins(t.Context(), "unknown")
	must(t, err)
	wantSame(t, "Pins of an unknown server", none, nil)
}

func addPinTwice(t *testing.T, s Stores) {
	first, second := somePin("mail", "send"), somePin("mail", "send")
	first.Approved = false
	second.Digest, second.Definition, second.Seen = "sha-256:evil", []byte(`{"evil":1}`), at.Add(time.Hour)
	_, err := s.AddPin(t.Context(), first)
	must(t, err)
	got, err := s.AddPin(t.Context(), second)
	must(t, err)
	wantSame(t, "AddPin", got, first)
	pins, err := s.Pins(t.Context(), "mail")
	must(t, err)
	wantSame(t, "Pins", pins, []gateway.Pin{first})
}

func racePins(t *testing.T, s Stores) {
	stands := make([]gateway.Pin, 16)
	for _, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) (err error) {
		p := somePin("mail", "send")
		p.Digest = fmt.Sprint("sha-256:", i)
		stands[i], err = s.AddPin(ctx, p)
		return err
	})) {
		must(t, err)
	}
	pins, err := s.Pins(t.Context(), "mail")
	must(t, err)
	if len(pins) != 1 {
		t.Fatalf("%d pins, want 1", len(pins))
	}
	for _, p := range stands {
		wantSame(t, "the pin that stands", p, pins[0])
	}
}

func ownPins(t *testing.T, s Stores) {
	p := somePin("mail", "send")
	_, err := s.AddPin(t.Context(), p)
	must(t, err)
	clear(p.Definition)
	for range 2 {
		got, err := s.Pins(t.Context(), "mail")
		must(t, err)
		wantSame(t, "Pins", got, []gateway.Pin{somePin("mail", "send")})
		clear(got[0].Definition)
	}
}

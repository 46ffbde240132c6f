package storetest

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

var grantTests = []test{
	{"a code comes back with every field and its authorization", codeRoundTrip},
	{"a refresh token comes back with every field and its authorization", refreshRoundTrip},
	{"an unknown code is not found and cannot be redeemed", unknownCode},
	{"an unknown refresh token is not found and cannot be rotated", unknownRefreshToken},
	{"a code is stored with its authorization or not at all", codeBothOrNone},
	{"a refresh token needs an authorization", refreshNeedsAuthorization},
	{"an authorization without a code comes back with every field", authorizationRoundTrip},
	{"an authorization cannot be replaced", authorizationOnce},
	{"a redeemed code stays, so that its reuse is seen", redeemedStays},
	{"a rotated refresh token stays, so that its reuse is seen", rotatedStays},
	{"revoking a family marks its code and all its refresh tokens, once", revoke},
	{"revoking one family leaves the others alone", revokeOnlyOne},
	{"revoking a family that is gone is no error", func(t *testing.T, s Stores) {
		must(t, s.RevokeAuthorization(t.Context(), "gone", at))
	}},
	{"changing returned grants changes nothing in the store", ownGrants},
	{"what was used and revoked is so after the store was closed and opened", persistGrants},
}

var onceTests = []test{
	{"a code is redeemed once by 16 parallel requests", func(t *testing.T, s Stores) {
		must(t, s.InsertCode(t.Context(), someAuthorization("a1"), someCode("code")))
		wantOneWinner(t, race(t.Context(), spread(t, s, func(ctx context.Context, s Store, _ int) error {
			return s.RedeemCode(ctx, hashOf("code"), at)
		})))
	}},
	{"a code is redeemed once by 16 parallel transactions", func(t *testing.T, s Stores) {
		must(t, s.InsertCode(t.Context(), someAuthorization("a1"), someCode("code")))
		wantOneWinner(t, race(t.Context(), spread(t, s, redeemInTx)))
	}},
	{"a refresh token is rotated once by 16 parallel requests", func(t *testing.T, s Stores) {
		insertFamily(t, s, "a1", "refresh")
		wantOneWinner(t, race(t.Context(), spread(t, s, func(ctx context.Context, s Store, _ int) error {
			return s.RotateRefreshToken(ctx, hashOf("refresh"), hashOf("sealed"), at)
		})))
	}},
	{"a refresh token has one successor after 16 parallel refreshes", func(t *testing.T, s Stores) {
		insertFamily(t, s, "a1", "refresh")
		wantOneWinner(t, race(t.Context(), spread(t, s, rotateInTx)))
		wantSuccessors(t, s, 1)
	}},
	{"a redeemed code cannot be redeemed again, now or later", func(t *testing.T, s Stores) {
		must(t, s.InsertCode(t.Context(), someAuthorization("a1"), someCode("code")))
		must(t, s.RedeemCode(t.Context(), hashOf("code"), at))
		for _, now := range []time.Time{at, at.Add(-time.Hour), at.Add(time.Hour)} {
			wantIs(t, "RedeemCode", s.RedeemCode(t.Context(), hashOf("code"), now), authz.ErrSpent)
		}
	}},
}

func someAuthorization(id string) authz.Authorization {
	subject, err := identity.ParseSubject("alice@example.com")
	if err != nil {
		panic(err)
	}
	return authz.Authorization{
		ID: id, ClientID: identity.MustClientID("c1"), Subject: subject, Resource: "https://mcp.example.com/mcp/mail",
		Scope: "mcp:tools mcp:prompts", AuthTime: at.Add(-time.Minute), ACR: "urn:example:gold",
		Claims: []byte(`{"groups":["é","\u0000"]}`), Document: "sha-256:d", Created: at, Expires: at.Add(720 * time.Hour),
	}
}

func someCode(name string) authz.Code {
	return authz.Code{Hash: hashOf(name), RedirectURI: "http://127.0.0.1:1234/callback", Challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
		JKT: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", Expires: at.Add(time.Minute)}
}

func someRefreshToken(name string) authz.RefreshToken {
	return authz.RefreshToken{Hash: hashOf(name), Created: at, Expires: at.Add(24 * time.Hour),
		Bound: oauth.Proof{JKT: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", X5T: "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}
}

// insertFamily makes an authorization with a code and these refresh tokens.
func insertFamily(t *testing.T, s Store, id string, refresh ...string) {
	t.Helper()
	must(t, s.InsertCode(t.Context(), someAuthorization(id), someCode("code of "+id)))
	for _, name := range refresh {
		must(t, s.InsertRefreshToken(t.Context(), id, someRefreshToken(name)))
	}
}

func codeRoundTrip(t *testing.T, s Stores) {
	fresh, used := someCode("fresh"), someCode("used")
	used.Used = at.Add(time.Second)
	for _, c := range []authz.Code{fresh, used} {
		a := someAuthorization("of " + string(bytes.TrimSpace(c.Hash)))
		a.Revoked = c.Used
		must(t, s.InsertCode(t.Context(), a, c))
		gotCode, gotAuthorization, err := s.Code(t.Context(), c.Hash)
		must(t, err)
		wantSame(t, "code", gotCode, c)
		wantSame(t, "authorization", gotAuthorization, a)
		wantUTC(t, gotCode.Expires, gotCode.Used, gotAuthorization.AuthTime, gotAuthorization.Created,
			gotAuthorization.Expires, gotAuthorization.Revoked)
	}
}

func refreshRoundTrip(t *testing.T, s Stores) {
	insertFamily(t, s, "a1")
	fresh, rotated := someRefreshToken("fresh"), someRefreshToken("rotated")
	rotated.Rotated, rotated.Successor = at.Add(time.Second), []byte{0, 0xff, 1}
	for _, want := range []authz.RefreshToken{fresh, rotated} {
		must(t, s.InsertRefreshToken(t.Context(), "a1", want))
		got, a, err := s.RefreshToken(t.Context(), want.Hash)
		must(t, err)
		wantSame(t, "refresh token", got, want)
		wantSame(t, "authorization", a, someAuthorization("a1"))
		wantUTC(t, got.Created, got.Expires, got.Rotated)
	}
}

func unknownCode(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	for _, hash := range [][]byte{nil, {}, hashOf("other"), hashOf("refresh"), []byte("code of a1")} {
		_, _, err := s.Code(t.Context(), hash)
		wantIs(t, "Code", err, authz.ErrNotFound)
		if err := s.RedeemCode(t.Context(), hash, at); err == nil {
			t.Errorf("RedeemCode(%q) = nil, want an error", hash)
		}
	}
}

func unknownRefreshToken(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	for _, hash := range [][]byte{nil, {}, hashOf("other"), hashOf("code of a1"), []byte("refresh")} {
		_, _, err := s.RefreshToken(t.Context(), hash)
		wantIs(t, "RefreshToken", err, authz.ErrNotFound)
		if err := s.RotateRefreshToken(t.Context(), hash, hashOf("sealed"), at); err == nil {
			t.Errorf("RotateRefreshToken(%q) = nil, want an error", hash)
		}
	}
}

func codeBothOrNone(t *testing.T, s Stores) {
	must(t, s.InsertCode(t.Context(), someAuthorization("a1"), someCode("code")))
	if err := s.InsertCode(t.Context(), someAuthorization("a2"), someCode("code")); err == nil {
		t.Error("InsertCode of a known code = nil, want an error")
	}
	if err := s.InsertRefreshToken(t.Context(), "a2", someRefreshToken("refresh")); err == nil {
		t.Error("the authorization of a code that failed is there")
	}
	if err := s.InsertCode(t.Context(), someAuthorization("a1"), someCode("other")); err == nil {
		t.Error("InsertCode for a known authorization = nil, want an error")
	}
	_, _, err := s.Code(t.Context(), hashOf("other"))
	wantIs(t, "Code", err, authz.ErrNotFound)
}

func refreshNeedsAuthorization(t *testing.T, s Stores) {
	wantIs(t, "InsertRefreshToken without an authorization",
		s.InsertRefreshToken(t.Context(), "nothing", someRefreshToken("refresh")), authz.ErrNotFound)
	insertFamily(t, s, "a1", "refresh")
	wantIs(t, "InsertRefreshToken of a known token",
		s.InsertRefreshToken(t.Context(), "a1", someRefreshToken("refresh")), authz.ErrExists)
}

func authorizationRoundTrip(t *testing.T, s Stores) {
	bare := authz.Authorization{ID: "bare", ClientID: identity.MustClientID("c1"), Subject: someAuthorization("").Subject}
	revoked := someAuthorization("revoked")
	revoked.Revoked = at.Add(time.Second)
	for _, a := range []authz.Authorization{someAuthorization("a1"), revoked, bare} {
		must(t, s.InsertAuthorization(t.Context(), a))
		got, err := s.Authorization(t.Context(), a.ID)
		must(t, err)
		wantSame(t, "authorization", got, a)
		wantUTC(t, got.AuthTime, got.Created, got.Expires, got.Revoked)
	}
	must(t, s.InsertRefreshToken(t.Context(), "a1", someRefreshToken("refresh")))
	for _, id := range []string{"", "A1", "a", "a1 "} {
		_, err := s.Authorization(t.Context(), id)
		wantIs(t, "Authorization "+id, err, authz.ErrNotFound)
	}
}

// authorizationOnce: who could insert a revoked family again would revive it.
func authorizationOnce(t *testing.T, s Stores) {
	must(t, s.InsertAuthorization(t.Context(), someAuthorization("a1")))
	must(t, s.RevokeAuthorization(t.Context(), "a1", at))
	wantIs(t, "InsertAuthorization", s.InsertAuthorization(t.Context(), someAuthorization("a1")), authz.ErrExists)
	got, err := s.Authorization(t.Context(), "a1")
	must(t, err)
	wantSame(t, "Revoked", got.Revoked, at)
}

func redeemedStays(t *testing.T, s Stores) {
	must(t, s.InsertCode(t.Context(), someAuthorization("a1"), someCode("code")))
	used := at.Add(3 * time.Second)
	must(t, s.RedeemCode(t.Context(), hashOf("code"), used))
	wantIs(t, "RedeemCode", s.RedeemCode(t.Context(), hashOf("code"), used.Add(time.Second)), authz.ErrSpent)
	got, a, err := s.Code(t.Context(), hashOf("code"))
	must(t, err)
	want := someCode("code")
	want.Used = used
	wantSame(t, "code", got, want)
	wantSame(t, "authorization", a, someAuthorization("a1"))
}

func rotatedStays(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	rotated := at.Add(3 * time.Second)
	must(t, s.RotateRefreshToken(t.Context(), hashOf("refresh"), []byte("sealed"), rotated))
	wantIs(t, "RotateRefreshToken",
		s.RotateRefreshToken(t.Context(), hashOf("refresh"), []byte("of an attacker"), rotated.Add(time.Second)), authz.ErrSpent)
	got, _, err := s.RefreshToken(t.Context(), hashOf("refresh"))
	must(t, err)
	want := someRefreshToken("refresh")
	want.Rotated, want.Successor = rotated, []byte("sealed")
	wantSame(t, "refresh token", got, want)
}

func revoke(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "r1", "r2")
	for _, now := range []time.Time{at.Add(time.Second), at.Add(time.Minute)} {
		must(t, s.RevokeAuthorization(t.Context(), "a1", now))
	}
	want := someAuthorization("a1")
	want.Revoked = at.Add(time.Second) // the first time stands
	_, a, err := s.Code(t.Context(), hashOf("code of a1"))
	must(t, err)
	wantSame(t, "authorization of the code", a, want)
	for _, name := range []string{"r1", "r2"} {
		_, a, err := s.RefreshToken(t.Context(), hashOf(name))
		must(t, err)
		wantSame(t, "authorization of "+name, a, want)
	}
}

func revokeOnlyOne(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "r1")
	insertFamily(t, s, "a2", "r2")
	must(t, s.RevokeAuthorization(t.Context(), "a1", at))
	_, a, err := s.RefreshToken(t.Context(), hashOf("r2"))
	must(t, err)
	wantSame(t, "authorization", a, someAuthorization("a2"))
}

func ownGrants(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	for range 2 {
		c, _, err := s.Code(t.Context(), hashOf("code of a1"))
		must(t, err)
		wantSame(t, "code", c, someCode("code of a1"))
		clear(c.Hash)
		r, a, err := s.RefreshToken(t.Context(), hashOf("refresh"))
		must(t, err)
		wantSame(t, "refresh token", r, someRefreshToken("refresh"))
		wantSame(t, "authorization", a, someAuthorization("a1"))
		clear(r.Hash)
		clear(a.Claims)
	}
}

func persistGrants(t *testing.T, s Stores) {
	insertFamily(t, s, "a1", "refresh")
	must(t, s.RedeemCode(t.Context(), hashOf("code of a1"), at))
	must(t, s.RotateRefreshToken(t.Context(), hashOf("refresh"), hashOf("sealed"), at))
	must(t, s.RevokeAuthorization(t.Context(), "a1", at))
	must(t, s.Close())
	again := s.Open(t)
	wantIs(t, "RedeemCode", again.RedeemCode(t.Context(), hashOf("code of a1"), at), authz.ErrSpent)
	wantIs(t, "RotateRefreshToken", again.RotateRefreshToken(t.Context(), hashOf("refresh"), hashOf("sealed"), at), authz.ErrSpent)
	_, a, err := again.RefreshToken(t.Context(), hashOf("refresh"))
	must(t, err)
	wantSame(t, "Revoked", a.Revoked, at)
}

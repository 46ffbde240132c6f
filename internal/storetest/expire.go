package storetest

import (
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
)

var expireTests = []test{
	{"what expired is removed, but not before a day has passed", deleteExpired},
	{"an authorization stays as long as one of its refresh tokens", deleteExpiredRoot},
	{"a revoked family that has not expired stays revoked", deleteRevoked},
	{"a device code is removed a day after it expired", deleteDeviceCode},
	{"a ticket is removed when it has expired, and not before even if it was taken", deleteTickets},
	{"a metadata document stays as long as a grant names it", deleteDocuments},
	{"a metadata document that nothing names stays for 30 days", deleteUnnamed},
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
	must(t, s.RotateRefreshToken(t.Context(), hashOf("refresh"), hashOf("sealed"), at))
	must(t, s.RevokeAuthorization(t.Context(), "a1", at))
	deleteAll(t, s, at.Add(25*time.Hour))
	got, a, err := s.RefreshToken(t.Context(), hashOf("refresh"))
	must(t, err)
	wantSame(t, "Rotated", got.Rotated, at)
	wantSame(t, "Revoked", a.Revoked, at)
}

func deleteDeviceCode(t *testing.T, s Stores) {
	must(t, s.InsertDeviceCode(t.Context(), someDeviceCode("d1")))
	expires := someDeviceCode("").Expires
	if n := deleteAll(t, s, expires.Add(24*time.Hour-time.Microsecond)); n != 0 {
		t.Errorf("%d removed before a day has passed", n)
	}
	if n := deleteAll(t, s, expires.Add(24*time.Hour)); n != 1 {
		t.Errorf("%d removed, want the device code", n)
	}
	_, err := s.DeviceCode(t.Context(), hashOf("d1"))
	wantIs(t, "DeviceCode", err, authz.ErrNotFound)
}

func deleteTickets(t *testing.T, s Stores) {
	insertTicket(t, s, authz.TicketAssertion, "taken")
	insertTicket(t, s, authz.TicketRequest, "fresh")
	_, err := s.TakeTicket(t.Context(), authz.TicketAssertion, hashOf("taken"), at)
	must(t, err)
	// Of another kind, with the key of one that expires.
	must(t, s.InsertTicket(t.Context(), authz.TicketConsent, hashOf("taken"), nil, at, ticketExpires.Add(time.Hour)))
	if n := deleteAll(t, s, ticketExpires.Add(-time.Microsecond)); n != 0 {
		t.Errorf("%d removed that had not expired", n)
	}
	if n := deleteAll(t, s, ticketExpires); n != 2 {
		t.Errorf("%d removed, want both that expired", n)
	}
	_, err = s.Ticket(t.Context(), authz.TicketConsent, hashOf("taken"), ticketExpires)
	must(t, err)
}

func deleteDocuments(t *testing.T, s Stores) {
	named, other, ofDevice := someDocument("c1", "named"), someDocument("c2", "named"), someDocument("c3", "device")
	for _, d := range []authz.Document{named, other, ofDevice, someDocument("c1", "unnamed")} {
		must(t, s.PutDocument(t.Context(), d))
	}
	a := someAuthorization("a1")
	a.ClientID, a.Document, a.Expires = named.ClientID, named.Digest, at.Add(10000*time.Hour)
	must(t, s.InsertAuthorization(t.Context(), a))
	d := someDeviceCode("d1")
	d.ClientID, d.Document, d.Expires = ofDevice.ClientID, ofDevice.Digest, a.Expires
	must(t, s.InsertDeviceCode(t.Context(), d))
	if n := deleteAll(t, s, at.Add(9999*time.Hour)); n != 2 {
		t.Errorf("%d removed, want the one that nothing names and the one of another client", n)
	}
	for _, d := range []authz.Document{named, ofDevice} {
		got, err := s.Document(t.Context(), d.ClientID, d.Digest)
		must(t, err)
		wantSame(t, "Document", got, d)
	}
	if n := deleteAll(t, s, at.Add(10024*time.Hour)); n != 4 {
		t.Errorf("%d removed, want the grants with their documents", n)
	}
}

func deleteUnnamed(t *testing.T, s Stores) {
	must(t, s.PutDocument(t.Context(), someDocument("c1", "d")))
	for _, step := range []struct {
		after   time.Duration
		removed int64
	}{{24*time.Hour - time.Microsecond, 0}, {24 * time.Hour, 1}} {
		if n := deleteAll(t, s, at.Add(step.after)); n != step.removed {
			t.Errorf("%d removed after %v, want %d", n, step.after, step.removed)
		}
	}
}

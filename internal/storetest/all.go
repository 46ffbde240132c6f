package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
)

// allRows is what writeAll leaves and countAll finds.
const allRows = 13

// writeAll uses every method that writes, and reads back what it wrote.
func writeAll(t *testing.T, ctx context.Context, s Store) {
	t.Helper()
	static, unused := someClient("static"), someClient("unused")
	static.Static, unused.Created = true, at.Add(-time.Hour)
	for _, id := range []string{"c1", "deleted"} {
		must(t, s.InsertClient(ctx, someClient(id)))
	}
	must(t, s.InsertClient(ctx, unused))
	must(t, s.PutClient(ctx, static))
	must(t, s.ReplaceClient(ctx, someClient("c1")))
	must(t, s.UseClient(ctx, someClient("c1").ID, at))
	must(t, s.DeleteClient(ctx, someClient("deleted").ID, at))
	n, err := s.DeleteUnusedClients(ctx, at)
	must(t, err)
	wantSame(t, "unused clients removed", n, 1)
	writeGrants(t, ctx, s)
	must(t, s.InsertKey(ctx, someKey("k1")))
	must(t, s.ActivateKey(ctx, "k1", at))
	must(t, s.RewrapKey(ctx, "k1", someKey("k1").Wrapped, []byte("anew")))
	_, err = s.AddPin(ctx, somePin("mail", "send"))
	must(t, err)
	must(t, s.SaveHead(ctx, someHead("log", 1)))
	n, err = s.DeleteExpired(ctx, at)
	must(t, err)
	wantSame(t, "expired rows removed", n, 1)
	if n := countAll(t, ctx, s); n != allRows {
		t.Errorf("a transaction reads %d of its %d rows", n, allRows)
	}
}

func writeGrants(t *testing.T, ctx context.Context, s Store) {
	t.Helper()
	must(t, s.InsertCode(ctx, someAuthorization("a1"), someCode("code")))
	must(t, s.InsertAuthorization(ctx, someAuthorization("a2")))
	must(t, s.InsertRefreshToken(ctx, "a1", someRefreshToken("refresh")))
	must(t, s.RedeemCode(ctx, hashOf("code"), at))
	must(t, s.RotateRefreshToken(ctx, hashOf("refresh"), hashOf("sealed"), at))
	must(t, s.RevokeAuthorization(ctx, "a1", at))
	must(t, s.PutDocument(ctx, someDocument("c1", "one")))
	must(t, s.InsertTicket(ctx, authz.TicketLogin, hashOf("x"), nil, at, ticketExpires))
	must(t, s.InsertTicket(ctx, authz.TicketLogin, hashOf("expired"), nil, at, at))
	_, err := s.TakeTicket(ctx, authz.TicketLogin, hashOf("x"), at)
	must(t, err)
	must(t, s.InsertDeviceCode(ctx, someDeviceCode("d1")))
	must(t, s.PollDeviceCode(ctx, hashOf("d1"), at, at))
	must(t, s.DecideDeviceCode(ctx, hashOf("d1"), "a2", at))
	must(t, s.RedeemDeviceCode(ctx, hashOf("d1"), at))
}

// countAll uses every method that reads, on what writeAll wrote.
func countAll(t *testing.T, ctx context.Context, s Store) (n int) {
	t.Helper()
	_, err1 := s.Client(ctx, someClient("c1").ID)
	_, _, err2 := s.Code(ctx, hashOf("code"))
	_, _, err3 := s.RefreshToken(ctx, hashOf("refresh"))
	_, err4 := s.Authorization(ctx, "a2")
	_, err5 := s.Document(ctx, someDocument("c1", "one").ClientID, "one")
	_, err6 := s.Ticket(ctx, authz.TicketLogin, hashOf("x"), at)
	_, err7 := s.DeviceCode(ctx, hashOf("d1"))
	_, err8 := s.UserCode(ctx, userHash("d1"))
	for _, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8} {
		if err == nil {
			n++
		} else if !errors.Is(err, authz.ErrNotFound) {
			t.Error(err)
		}
	}
	clients, err := s.AllClients(ctx)
	must(t, err)
	unused, err := s.UnusedClients(ctx)
	must(t, err)
	records, err := s.Keys(ctx)
	must(t, err)
	pins, err := s.Pins(ctx, "mail")
	must(t, err)
	heads, err := s.Heads(ctx, "log")
	must(t, err)
	return n + len(clients) + unused + len(records) + len(pins) + len(heads)
}

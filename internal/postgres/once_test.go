package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/pgtest"
)

// TestSerializableRoleStillHasOneWinner: then the server undoes statements that
// conflict, and says so to the loser.
func TestSerializableRoleStillHasOneWinner(t *testing.T) {
	url := pgtest.Migrated(t)
	conn := connect(t, url)
	execute(t, conn, "ALTER DATABASE "+ask(t, conn, "SELECT current_database()::text")+" SET default_transaction_isolation = 'serializable'")
	s := open(t, url)
	for i := range 100 {
		name := fmt.Sprint("code ", i)
		insertCode(t, s, name)
		if err := s.InsertTicket(t.Context(), authz.TicketRequest, hashOf(name), nil, at, at.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		oneWins(t, func() error { return s.RedeemCode(t.Context(), hashOf(name), at) })
		oneWins(t, func() error {
			_, err := s.TakeTicket(t.Context(), authz.TicketRequest, hashOf(name), at)
			return err
		})
	}
}

func oneWins(t *testing.T, f func() error) {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := f(); err == nil {
				won.Add(1)
			} else if !errors.Is(err, authz.ErrSpent) {
				t.Errorf("a loser got %v, want ErrSpent", err)
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d won, want 1", n)
	}
}

// TestTicketThatComesLateWasNotSpent: it was added after the look for it, and who
// looked too early must not make it look stolen.
func TestTicketThatComesLateWasNotSpent(t *testing.T) {
	s := open(t, pgtest.Migrated(t))
	if err := s.InsertTicket(t.Context(), authz.TicketRequest, hashOf("x"), nil, at, at.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.Missed(t.Context(), authz.TicketRequest, hashOf("x"), at); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("why it was missed = %v, want ErrNotFound", err)
	}
}

// TestClientThatIsBeingUsedIsNotRemoved, nor waited for.
func TestClientThatIsBeingUsedIsNotRemoved(t *testing.T) {
	s := open(t, pgtest.Migrated(t))
	id := identity.MustClientID("c1")
	if err := s.InsertClient(t.Context(), authz.Client{ID: id, Created: at}); err != nil {
		t.Fatal(err)
	}
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		if err := s.UseClient(ctx, id, at); err != nil {
			return err
		}
		outside, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		n, err := s.DeleteUnusedClients(outside, at.Add(time.Hour))
		if n != 0 {
			t.Errorf("%d removed, want 0", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := s.Client(t.Context(), id); err != nil {
		t.Error(err)
	}
}

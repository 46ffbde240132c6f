// Package storetest is the one conformance suite for every store: what passes it
// may be put behind the authorization server and the gateway.
//
// It does not test what is special to one store (files, schemas, speed).
package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/webhook"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// Store is all that a store keeps.
type Store interface {
	authz.Store
	keys.Store
	keys.RewrapStore
	gateway.PinStore
	audit.Heads
	revocation.Store
	approval.Store
	webhook.Outbox
	vaultbridge.Records
	// EndLeases has those who hold them end the leases of a selection, for the operator by,
	// and returns their ids.
	EndLeases(ctx context.Context, of vaultbridge.Selection, by string) ([]string, error)
	// EndAuthorizations ends all of a subject or client, and returns how many.
	EndAuthorizations(ctx context.Context, of revocation.Kind, name string, now time.Time) (int64, error)
	// DeleteExpired removes a bounded number of codes, refresh tokens, device codes and
	// authorizations that expired at least a day before now, of tickets and
	// revocations that have expired, of documents that nothing has named for 30 days, of
	// approvals and messages that have been over for a week, and of leases for a day.
	DeleteExpired(ctx context.Context, now time.Time) (int64, error)
	// Ping reports whether the store can be read.
	Ping(ctx context.Context) error
	io.Closer
}

// Stores is a store over an empty database of its own.
type Stores struct {
	Store
	// Open opens the same database again, as another replica would. Who opens
	// also closes, at the end of the test; a store may be closed twice.
	Open func(t *testing.T) Store
	// Rounds of each contest; zero: 1,000.
	Rounds int
	before bool // the database has the schema before
}

// Run runs the suite; every test opens its own Stores.
func Run(t *testing.T, open func(t *testing.T) Stores) {
	for _, group := range [][]test{clientTests, registeredTests, grantTests, onceTests, ticketTests, deviceTests,
		documentTests, txTests, expireTests, keyTests, pinTests, orderTests, approvalTests, messageTests, leaseTests, headTests, revocationTests, pingTests, roundTests()} {
		for _, test := range group {
			t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
		}
	}
}

// RunBefore runs the suite on databases of the schema before, which lack what came with
// the newest one.
func RunBefore(t *testing.T, open func(t *testing.T) Stores) {
	Run(t, func(t *testing.T) Stores {
		s := open(t)
		s.before = true
		return s
	})
}

var pingTests = []test{
	{"an open store answers, a closed one and a cancelled context do not", func(t *testing.T, s Stores) {
		must(t, s.Ping(t.Context()))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantIs(t, "Ping", s.Ping(ctx), context.Canceled)
		must(t, s.Close())
		if err := s.Ping(t.Context()); err == nil {
			t.Error("Ping of a closed store = nil, want an error")
		}
	}},
}

type test struct {
	name string
	run  func(t *testing.T, s Stores)
}

// at is a time with microseconds, as stores keep it.
var at = time.Date(2026, 10, 7, 9, 30, 0, 123456000, time.UTC)

var errTest = errors.New("failed on purpose")

// contender is one of many that try the same at once.
type contender func(ctx context.Context) error

// race starts all at once and returns what each said.
func race(ctx context.Context, all []contender) []error {
	errs := make([]error, len(all))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, f := range all {
		wg.Go(func() {
			<-start
			errs[i] = f(ctx)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// spread makes 16 contenders, half of them at a second replica.
func spread(t *testing.T, s Stores, f func(ctx context.Context, s Store, i int) error) []contender {
	replicas := []Store{s.Store, s.Open(t)}
	all := make([]contender, 16)
	for i := range all {
		all[i] = func(ctx context.Context) error { return f(ctx, replicas[i%2], i) }
	}
	return all
}

func wantOneWinner(t *testing.T, errs []error) {
	t.Helper()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, authz.ErrSpent) {
			t.Errorf("a loser got %v, want ErrSpent", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d won, want exactly 1", won, len(errs))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

// wantSame compares; an empty list or hash may come back as nil.
func wantSame[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.AllowUnexported(identity.ClientID{}, identity.Subject{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// wantUTC refuses times of a zone that differs between machines.
func wantUTC(t *testing.T, times ...time.Time) {
	t.Helper()
	for _, v := range times {
		if v.Location() != time.UTC {
			t.Errorf("time %v is in %v, want UTC", v, v.Location())
		}
	}
}

func hashOf(name string) []byte { return fmt.Appendf(nil, "%-32s", name) }

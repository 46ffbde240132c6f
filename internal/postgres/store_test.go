package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/pgtest"
	"github.com/wicketgate/wicketgate/internal/postgres"
)

// at is a time with microseconds, and far enough from now to show a clock of the
// server's if one were used.
var at = time.Date(2026, 10, 7, 9, 30, 0, 123456000, time.UTC)

func hashOf(name string) []byte { return fmt.Appendf(nil, "%-32s", name) }

func insertCode(t testing.TB, s *postgres.Store, name string) {
	t.Helper()
	a := authz.Authorization{ID: name, ClientID: identity.MustClientID("c1"), Subject: alice(t), AuthTime: at, Created: at, Expires: at}
	if err := s.InsertCode(t.Context(), a, authz.Code{Hash: hashOf(name), Expires: at}); err != nil {
		t.Fatal(err)
	}
}

func alice(t testing.TB) identity.Subject {
	t.Helper()
	subject, err := identity.ParseSubject("alice")
	if err != nil {
		t.Fatal(err)
	}
	return subject
}

func TestURLThatMayDoWithoutTLSIsRefused(t *testing.T) {
	for _, url := range []string{
		"postgres://u:secret@db.example/w", // libpq's default is prefer
		"postgres://u:secret@db.example/w?sslmode=prefer",
		"postgres://u:secret@db.example/w?sslmode=allow",
		"host=db.example user=u password=secret",
		"postgres://u:secret@localhost,db.example/w",
		"postgres://u:secret@10.0.0.1/w",
		"postgres://u:secret@localhost.db.example/w",
	} {
		if err := postgres.CheckURL(url); !errors.Is(err, postgres.ErrPlaintext) {
			t.Errorf("%s: %v, want ErrPlaintext", url, err)
		}
	}
	for _, url := range []string{
		"postgres://u:secret@db.example/w?sslmode=verify-full",
		"postgres://u:secret@db.example/w?sslmode=require",
		"postgres://u:secret@db.example/w?sslmode=disable", // said in so many words
		"postgres://u:secret@localhost/w",
		"postgres://u:secret@127.0.0.1/w",
		"postgres://u:secret@[::1]/w",
		"postgres:///w?host=/run/postgresql",
	} {
		if err := postgres.CheckURL(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestErrorsDoNotTellThePassword(t *testing.T) {
	for _, url := range []string{
		"postgres://u:hunter2@127.0.0.1:1/w",
		"postgres://u:hunter2@127.0.0.1:1/w?sslmode=nonsense",
		"postgres://u:hunter2@127.0.0.1:port/w",
		"postgres://u:hunter2@db.example/w",
		"host=127.0.0.1 port=1 user=u password=hunter2",
		"host=127.0.0.1 port=x user=u password=hunter2",
		"password='hunter2",
	} {
		_, err := postgres.Open(t.Context(), postgres.Config{URL: url})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%s) = %v", url, err)
		}
	}
	if _, err := postgres.Open(t.Context(), postgres.Config{}); err == nil {
		t.Error("Open without a URL = nil, want an error")
	}
}

// TestSettingsOfARoleChangeNothing: an operator may have set them for people.
func TestSettingsOfARoleChangeNothing(t *testing.T) {
	direct := pgtest.Migrated(t)
	conn := connect(t, direct)
	for _, setting := range []string{"DateStyle = 'German, DMY'", "TimeZone = 'Asia/Kolkata'",
		"standard_conforming_strings = off", "default_transaction_isolation = 'serializable'", "extra_float_digits = -15"} {
		execute(t, conn, "ALTER DATABASE "+ask(t, conn, "SELECT current_database()::text")+" SET "+setting)
	}
	for i, url := range []string{direct, direct + "&default_query_exec_mode=exec", pgtest.Bounced(t, direct)} {
		s := open(t, url)
		name := fmt.Sprint(`code \'`, i)
		insertCode(t, s, name)
		c, a, err := s.Code(t.Context(), hashOf(name))
		if err != nil || string(c.Hash) != string(hashOf(name)) || c.Expires != at || a.ID != name || a.Created != at {
			t.Errorf("%s: %+v, %+v, %v", url, c, a, err)
		}
	}
}

// TestDeadlockIsTriedAgain makes two transactions lock two rows crosswise.
func TestDeadlockIsTriedAgain(t *testing.T) {
	s := open(t, pgtest.Migrated(t))
	for _, id := range []string{"a", "b"} {
		if err := s.InsertClient(t.Context(), authz.Client{ID: identity.MustClientID(id)}); err != nil {
			t.Fatal(err)
		}
	}
	var both, wg sync.WaitGroup
	both.Add(2)
	var attempts atomic.Int32
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		wg.Go(func() {
			first := true
			err := s.InTx(t.Context(), func(ctx context.Context) error {
				attempts.Add(1)
				if err := s.UseClient(ctx, identity.MustClientID(order[0]), at); err != nil {
					return err
				}
				if first {
					first = false
					both.Done()
					both.Wait()
				}
				return s.UseClient(ctx, identity.MustClientID(order[1]), at)
			})
			if err != nil {
				t.Errorf("InTx = %v", err)
			}
		})
	}
	wg.Wait()
	if n := attempts.Load(); n < 3 { // more when who is tried again is faster than who waits for the row
		t.Errorf("%d attempts, want two and another", n)
	}
}

// TestConflictThatStaysIsGivenUp keeps a retry from becoming a loop.
func TestConflictThatStaysIsGivenUp(t *testing.T) {
	url := pgtest.Migrated(t)
	execute(t, connect(t, url), `CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '40001'; END $$;
		CREATE TRIGGER conflict BEFORE INSERT ON clients FOR EACH ROW EXECUTE FUNCTION conflict()`)
	s := open(t, url)
	attempts := 0
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		attempts++
		return s.InsertClient(ctx, authz.Client{ID: identity.MustClientID("c1")})
	})
	if err == nil || attempts < 2 || attempts > 10 {
		t.Errorf("InTx = %v after %d attempts", err, attempts)
	}
	if err := s.InsertClient(t.Context(), authz.Client{ID: identity.MustClientID("c1")}); err == nil {
		t.Error("InsertClient = nil, want an error")
	}
}

// TestServerEndsASession is a restart or a failover: a transaction is lost as a
// whole, and the store comes back by itself.
func TestServerEndsASession(t *testing.T) {
	url := pgtest.Migrated(t)
	s := open(t, url)
	insertCode(t, s, "code")
	conn := connect(t, url)
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		if err := s.RedeemCode(ctx, hashOf("code"), at); err != nil {
			return err
		}
		ask(t, conn, `SELECT count(pg_terminate_backend(pid, 5000))::text FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		return nil
	})
	if err == nil {
		t.Error("InTx = nil although its session was ended")
	}
	for err := s.RedeemCode(t.Context(), hashOf("code"), at); err != nil; err = s.RedeemCode(t.Context(), hashOf("code"), at) {
		if errors.Is(err, authz.ErrSpent) || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestWaitForAConnectionEndsWithTheContext(t *testing.T) {
	s, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.Migrated(t), MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.InTx(t.Context(), func(context.Context) error { // has the only connection
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := s.Client(ctx, identity.MustClientID("c1"))
		return err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Client = %v, want DeadlineExceeded", err)
	}
}

func TestClosedStoreAnswersWithAnError(t *testing.T) {
	s := open(t, pgtest.Migrated(t))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Client(t.Context(), identity.MustClientID("c1"))
	if err == nil || errors.Is(err, authz.ErrNotFound) {
		t.Errorf("Client = %v, want an error", err)
	}
	if err := s.RedeemCode(t.Context(), hashOf("code"), at); err == nil || errors.Is(err, authz.ErrSpent) {
		t.Errorf("RedeemCode = %v, want an error", err)
	}
}

func TestStatementsArePreparedOnlyWhereNothingIsInBetween(t *testing.T) {
	direct := pgtest.Migrated(t)
	for url, want := range map[string]string{
		direct:                                   "cache statement",
		direct + "&default_query_exec_mode=exec": "exec",
		pgtest.Bounced(t, direct):                "exec",
	} {
		if got := open(t, url).ExecMode(); got != want {
			t.Errorf("%s: statements are sent by %s, want %s", url, got, want)
		}
	}
}

// TestKeptPlansDoNotScanTables: a plan that was made while a table was small is
// still in use when it has grown.
func TestKeptPlansDoNotScanTables(t *testing.T) {
	url := pgtest.Migrated(t)
	s := open(t, url)
	conn := connect(t, url)
	insertCode(t, s, "a")
	if err := s.InsertRefreshToken(t.Context(), "a", authz.RefreshToken{Hash: hashOf("refresh"), Expires: at}); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, "ANALYZE")
	scans := `SELECT sum(seq_scan)::text FROM pg_stat_user_tables WHERE relname IN ('codes', 'refresh_tokens', 'authorizations')`
	before := ask(t, conn, scans)
	for range 20 { // more than the server plans anew
		_, _, err1 := s.Code(t.Context(), hashOf("a"))
		_, _, err2 := s.RefreshToken(t.Context(), hashOf("refresh"))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left := `SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
	for ask(t, conn, left) != "0" { // a session counts when it ends, at the latest
		if t.Context().Err() != nil {
			t.Fatal("the store's sessions stay")
		}
	}
	if after := ask(t, conn, scans); after != before {
		t.Errorf("%s scans of whole tables, %s before the look-ups", after, before)
	}
}

func insertExpired(t *testing.T, s *postgres.Store, n int) {
	t.Helper()
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		for i := range n {
			a := authz.Authorization{ID: fmt.Sprint(i), ClientID: identity.MustClientID("c1"), Subject: alice(t), Expires: at}
			if err := s.InsertCode(ctx, a, authz.Code{Hash: fmt.Append(nil, i), Expires: at}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDeleteExpiredIsBounded(t *testing.T) {
	s := open(t, pgtest.Migrated(t))
	insertExpired(t, s, 1500)
	for _, want := range []int64{2000, 1000, 0} {
		if n, err := s.DeleteExpired(t.Context(), at.Add(48*time.Hour)); err != nil || n != want {
			t.Errorf("DeleteExpired = %d, %v, want %d", n, err, want)
		}
	}
}

// TestDeleteExpiredDoesNotWaitForAnother: a row that another replica is removing,
// or a request is using, is left for the next time.
func TestDeleteExpiredDoesNotWaitForAnother(t *testing.T) {
	s := open(t, pgtest.Migrated(t))
	insertExpired(t, s, 10)
	err := s.InTx(t.Context(), func(ctx context.Context) error {
		if err := s.RedeemCode(ctx, fmt.Append(nil, 3), at); err != nil {
			return err
		}
		n, err := s.DeleteExpired(t.Context(), at.Add(48*time.Hour))
		if n != 18 {
			t.Errorf("DeleteExpired = %d, %v, want all but a code and its authorization", n, err)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if n, err := s.DeleteExpired(t.Context(), at.Add(48*time.Hour)); err != nil || n != 2 {
		t.Errorf("DeleteExpired = %d, %v, want 2", n, err)
	}
}

func TestDeleteExpiredByManyReplicas(t *testing.T) {
	s := open(t, pgtest.Migrated(t))
	insertExpired(t, s, 3000)
	var total atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				n, err := s.DeleteExpired(t.Context(), at.Add(48*time.Hour))
				if err != nil {
					t.Error(err)
				}
				total.Add(n)
			}
		})
	}
	wg.Wait()
	for n := int64(1); n != 0; total.Add(n) {
		var err error
		if n, err = s.DeleteExpired(t.Context(), at.Add(48*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if n := total.Load(); n != 6000 {
		t.Errorf("%d removed together, want 6000", n)
	}
}

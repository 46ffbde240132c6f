package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/limit"
	"github.com/wicketgate/wicketgate/internal/limit/limittest"
	"github.com/wicketgate/wicketgate/internal/pgtest"
)

// TestLimits: two replicas count together.
func TestLimits(t *testing.T) {
	limittest.Run(t, func(t *testing.T, now func() time.Time) (a, b limit.Counter) {
		url := pgtest.Migrated(t)
		return open(t, url).Limits(now), open(t, url).Limits(now)
	})
}

func TestCountsThatSayNothingAnyMoreAreDeleted(t *testing.T) {
	url := pgtest.Migrated(t)
	s, conn := open(t, url), connect(t, url)
	l := s.Limits(func() time.Time { return at })
	for i := range 3 {
		if _, err := l.Take(t.Context(), []limit.Claim{{Key: fmt.Sprint("c", i), Calls: 1, Per: time.Minute}, {Key: fmt.Sprint("o", i), Concurrent: 1}}, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	rows := `SELECT (SELECT count(*) FROM limit_counts)::text || ' ' || (SELECT count(*) FROM limit_leases)::text`
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{time.Minute - time.Microsecond, "6 3"}, {time.Minute, "3 3"}, {time.Hour - time.Microsecond, "3 3"}, {time.Hour, "0 0"}} {
		if _, err := s.DeleteExpired(t.Context(), at.Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, conn, rows); got != step.want {
			t.Errorf("after %v: %s rows, want %s", step.after, got, step.want)
		}
	}
}

// TestLimitsWithoutTheirTables: nobody can tell, and nobody is let through.
func TestLimitsWithoutTheirTables(t *testing.T) {
	url := pgtest.Migrated(t)
	execute(t, connect(t, url), "DROP TABLE limit_counts; DROP TABLE limit_leases")
	s := open(t, url)
	for _, c := range []limit.Claim{{Key: "k", Calls: 1, Per: time.Minute}, {Key: "k", Concurrent: 1}} {
		_, err := s.Limits(time.Now).Take(t.Context(), []limit.Claim{c}, time.Minute)
		if err == nil || errors.As(err, new(*limit.Exhausted)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A call whose client has gone gives its place back all the same.
func TestPlaceIsGivenBackForAClientThatHasGone(t *testing.T) {
	l := open(t, pgtest.Migrated(t)).Limits(func() time.Time { return at })
	ctx, gone := context.WithCancel(t.Context())
	one := []limit.Claim{{Key: "k", Concurrent: 1}}
	release, err := l.Take(ctx, one, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	gone()
	release()
	if _, err := l.Take(t.Context(), one, time.Hour); err != nil {
		t.Error(err)
	}
}

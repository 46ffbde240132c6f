package limit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/limit"
	"github.com/wicketgate/wicketgate/internal/limit/limittest"
)

func TestMemory(t *testing.T) {
	limittest.Run(t, func(_ *testing.T, now func() time.Time) (a, b limit.Counter) {
		m := limit.NewMemory(now)
		return m, m
	})
}

// TestMemoryIsBounded: who makes ever more keys gets no more memory, and nobody who is
// counted is forgotten for it.
func TestMemoryIsBounded(t *testing.T) {
	now := time.Now()
	m := limit.NewMemory(func() time.Time { return now })
	take := func(key string) error {
		_, err := m.Take(t.Context(), []limit.Claim{{Key: key, Calls: 1, Per: time.Minute}}, time.Minute)
		return err
	}
	if err := take("first"); err != nil {
		t.Fatal(err)
	}
	var err error
	n := 1
	for ; err == nil && n < 200_000; n++ {
		err = take(fmt.Sprint(n))
	}
	if err == nil || n < 100_000 || n > 100_002 {
		t.Fatalf("%d keys, then %v", n, err)
	}
	if err := take("first"); err == nil {
		t.Error("the first was forgotten")
	}
	now = now.Add(time.Minute)
	if err := take("another"); err != nil {
		t.Errorf("once all are idle: %v", err)
	}
}

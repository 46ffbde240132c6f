package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
)

func subject(i int) identity.Subject {
	s, err := identity.ParseSubject(fmt.Sprintf("subject-%d", i))
	if err != nil {
		panic(err)
	}
	return s
}

// Whoever comes once costs no memory for ever, and whoever has spent something is not
// forgotten for it.
func TestIdleSubjectsAreForgotten(t *testing.T) {
	now := time.Unix(0, 0)
	b := newBudget(Budget{Calls: 1, Bytes: 600}, func() time.Time { return now })
	spender, err := b.enter(subject(0), 600, useCall)
	if err != nil {
		t.Fatal(err)
	}
	spender.release()
	holder, err := b.enter(subject(1), 0, useCall)
	if err != nil {
		t.Fatal(err)
	}
	for i := 2; i < 50_000; i++ {
		s, err := b.enter(subject(i), 0, useCall)
		if err != nil {
			t.Fatal(err)
		}
		s.release()
		s.release() // a second time counts for nothing
	}
	if n := len(b.known); n > 2048 {
		t.Errorf("%d subjects are known", n)
	}
	if _, err := b.enter(subject(0), 1, useCall); err == nil || err.reason != "budget_bytes" {
		t.Errorf("who had spent everything: %v", err)
	}
	if _, err := b.enter(subject(1), 0, useCall); err == nil || err.reason != "budget_calls" {
		t.Errorf("who has a call open: %v", err)
	}
	holder.release()
	now = now.Add(time.Minute)
	for _, i := range []int{0, 1} {
		if _, err := b.enter(subject(i), 600, useCall); err != nil {
			t.Errorf("subject %d a minute later: %v", i, err)
		}
	}
}

// With every account in use, a further subject is refused rather than remembered.
func TestAccountsAreBounded(t *testing.T) {
	b := newBudget(Budget{Calls: 1}, time.Now)
	for i := range maxAccounts {
		if _, err := b.enter(subject(i), 0, useCall); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.enter(subject(maxAccounts), 0, useCall); err == nil || len(b.known) != maxAccounts {
		t.Errorf("one more: %v, %d are known", err, len(b.known))
	}
}

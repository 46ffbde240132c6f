package gateway_test

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/identity"
)

type memStore struct {
	mu  sync.Mutex
	all []*approval.Request
}

func (m *memStore) InTx(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

func at(r approval.Request, now time.Time) approval.Request {
	if !now.Before(r.Expires) {
		r.State = approval.Expired
	}
	return r
}

func (m *memStore) OpenApproval(_ context.Context, r approval.Request, max int) (approval.Request, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, o := range m.all {
		s := at(*o, r.Created)
		if s.State != approval.Used && s.State != approval.Expired && bytes.Equal(s.Key(), r.Key()) {
			return s, false, nil
		}
		if s.State == approval.Pending && s.Subject == r.Subject {
			n++
		}
	}
	if n >= max {
		return r, false, approval.ErrTooMany
	}
	m.all = append(m.all, &r)
	return r, true, nil
}

func (m *memStore) find(id string) *approval.Request {
	for _, o := range m.all {
		if o.ID == id {
			return o
		}
	}
	return nil
}

func (m *memStore) Approval(_ context.Context, id string, now time.Time) (approval.Request, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.find(id); o != nil {
		return at(*o, now), nil
	}
	return approval.Request{}, approval.ErrNotFound
}

func (m *memStore) Approvals(_ context.Context, of approval.State, limit int, now time.Time) (all []approval.Request, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.all {
		all = append(all, at(*m.all[len(m.all)-1-i], now))
	}
	return all, nil
}

func (m *memStore) DecideApproval(_ context.Context, id string, as approval.State, by identity.Subject, comment string, now time.Time) (approval.Request, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.find(id)
	if o == nil || at(*o, now).State != approval.Pending {
		return approval.Request{}, approval.ErrDecided
	}
	o.State = as
	return *o, nil
}

func (m *memStore) UseApproval(_ context.Context, id string, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.find(id)
	if o == nil || at(*o, now).State != approval.Approved {
		return approval.ErrSpent
	}
	o.State = approval.Used
	return nil
}

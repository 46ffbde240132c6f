package vaultbridge_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/vaultbridge"
)

// memory is a Records that outlives a Bridge, as a store does, and fails where a test says
// so. The stores themselves have their own suite.
type memory struct {
	mu   sync.Mutex // guards what follows
	all  map[string]vaultbridge.Record
	fail map[string]error // by method
	seen []vaultbridge.Record
}

func newMemory() *memory {
	return &memory{all: map[string]vaultbridge.Record{}, fail: map[string]error{}}
}

func (m *memory) failing(method string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail[method] = err
}

func (m *memory) InsertLease(_ context.Context, r vaultbridge.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail["InsertLease"]; err != nil {
		return err
	}
	m.all[r.ID], m.seen = r, append(m.seen, r)
	return nil
}

// change is what every statement on one record does.
func (m *memory) change(method, id string, f func(*vaultbridge.Record)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.all[id]; ok && m.fail[method] == nil {
		f(&r)
		m.all[id] = r
	}
	return m.fail[method]
}

func (m *memory) NameLease(_ context.Context, id, lease string) error {
	return m.change("NameLease", id, func(r *vaultbridge.Record) { r.Lease = lease })
}

func (m *memory) FailLease(_ context.Context, id, failure string, next time.Time) error {
	return m.change("FailLease", id, func(r *vaultbridge.Record) { r.Failure, r.Next, r.Attempts = failure, next, r.Attempts+1 })
}

func (m *memory) DeleteLease(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail["DeleteLease"]; err != nil {
		return err
	}
	delete(m.all, id)
	return nil
}

func (m *memory) HoldLeases(_ context.Context, holder, boot string, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, r := range m.all {
		if r.Holder == holder && r.Boot == boot {
			r.Held = until
			m.all[id] = r
		}
	}
	return m.fail["HoldLeases"]
}

func (m *memory) ClaimLeases(_ context.Context, holder, boot string, now, until time.Time) (list []vaultbridge.Record, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, r := range m.all {
		orphan := r.Held.Before(now) || r.Holder == holder && r.Boot != boot
		if !orphan || len(list) == 100 || m.fail["ClaimLeases"] != nil {
			continue
		}
		r.Holder, r.Boot, r.Held = holder, boot, until
		m.all[id], list = r, append(list, r)
	}
	return list, m.fail["ClaimLeases"]
}

func (m *memory) EndedLeases(_ context.Context, holder, boot string) (list []vaultbridge.Record, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.all {
		if r.Holder == holder && r.Boot == boot && r.EndedBy != "" {
			list = append(list, r)
		}
	}
	return list, m.fail["EndedLeases"]
}

func (m *memory) Leases(context.Context) ([]vaultbridge.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.SortedFunc(maps.Values(m.all), func(a, b vaultbridge.Record) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list, m.fail["Leases"]
}

var _ vaultbridge.Records = (*memory)(nil)

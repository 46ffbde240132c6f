package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/limit"
	"github.com/wicketgate/wicketgate/internal/postgres"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/sqlite"
	"github.com/wicketgate/wicketgate/internal/webhook"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// storage is all that a process remembers.
type storage interface {
	authz.Store
	gateway.PinStore
	keys.Store
	keys.RewrapStore
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
	// Ping reports whether the store answers.
	Ping(ctx context.Context) error
	// DeleteExpired removes some of what expired long ago, and returns how many.
	DeleteExpired(ctx context.Context, now time.Time) (int64, error)
	Close() error
}

// storeConfig picks one store.
type storeConfig struct {
	SQLite   string           // path
	Postgres *postgres.Config // nil: SQLite
}

func openStore(ctx context.Context, cfg storeConfig) (storage, error) {
	if cfg.Postgres != nil {
		return postgres.Open(ctx, *cfg.Postgres)
	}
	return sqlite.Open(ctx, cfg.SQLite)
}

// openForReading opens the store for a tool that changes nothing.
func openForReading(ctx context.Context, cfg storeConfig) (storage, error) {
	if cfg.Postgres != nil {
		reader := *cfg.Postgres
		reader.Migrate = false
		return postgres.Open(ctx, reader)
	}
	return sqlite.OpenReadOnly(ctx, cfg.SQLite)
}

// where names the store for people.
func (c storeConfig) where() string {
	if c.Postgres != nil {
		return "the database"
	}
	return c.SQLite
}

// separate keeps data of development mode and of serve apart. In development mode
// anybody becomes anybody; a login session of then, sealed with the same keys,
// would be good now. The agent of development mode marks its data, before there
// are keys.
func separate(ctx context.Context, store storage, cfg houseConfig) error {
	development := len(cfg.Users) > 0
	records, err := store.Keys(ctx)
	if err != nil {
		return err
	}
	if err := separateRoles(records, cfg); err != nil {
		return err
	}
	_, err = store.Client(ctx, identity.MustClientID(devAgent))
	marked := err == nil
	switch {
	case err != nil && !errors.Is(err, authz.ErrNotFound):
		return err
	case marked && !development:
		return fmt.Errorf("%s was made by wicketgate dev, where anybody may log in as anybody: give serve a store of its own", cfg.Store.where())
	case !marked && development && len(records) > 0:
		return fmt.Errorf("%s was made by wicketgate serve: give dev a folder of its own", cfg.Store.where())
	case !marked && development:
		return store.PutClient(ctx, authz.Client{ID: identity.MustClientID(devAgent), AuthMethod: "none", Static: true, Created: time.Now()})
	}
	return nil
}

// limits counts calls against the limits of policy: over all replicas where they share a
// store that can, else in this process, which is the only one.
func limits(store storage) limit.Counter {
	if shared, ok := store.(*postgres.Store); ok {
		return shared.Limits(time.Now)
	}
	return limit.NewMemory(time.Now)
}

// single is the tickets of the store as gateway.Single.
type single struct {
	tickets authz.Tickets
	now     func() time.Time
}

// Spend implements gateway.Single.
func (s single) Spend(ctx context.Context, jti string, until time.Time) error {
	err := s.tickets.InsertTicket(ctx, authz.TicketToolToken, authz.TicketKey(jti), nil, s.now(), until)
	if errors.Is(err, authz.ErrExists) {
		return gateway.ErrSpent
	}
	return err
}

// configuredClients hides static clients that the configuration no longer has, so
// that removing one there is enough. Those that it has are read from an embedded store
// once: they change with the configuration only, and workloads come again and again. A
// store that can be away is asked each time, so that nothing is issued while it is.
type configuredClients struct {
	authz.Store
	ids      map[identity.ClientID]bool
	patterns []authz.Client // whose id is a pattern of SPIFFE IDs; no two overlap
	embedded bool

	mu    sync.RWMutex // guards known
	known map[identity.ClientID]authz.Client
}

func configured(store authz.Store, cfg houseConfig) authz.Store {
	ids, patterns := map[identity.ClientID]bool{}, []authz.Client{}
	for _, c := range cfg.Static {
		ids[c.ID] = true
		if p, err := identity.ParsePattern(c.ID.String()); err == nil && p.Any() {
			c.Static = true
			patterns = append(patterns, c)
		}
	}
	return &configuredClients{Store: store, ids: ids, patterns: patterns, embedded: cfg.Store.Postgres == nil, known: map[identity.ClientID]authz.Client{}}
}

// Client implements authz.Clients.
func (c *configuredClients) Client(ctx context.Context, id identity.ClientID) (authz.Client, error) {
	c.mu.RLock()
	known, ok := c.known[id]
	c.mu.RUnlock()
	if ok {
		return ownCopy(known), nil
	}
	found, err := c.Store.Client(ctx, id)
	gone := err == nil && found.Static && !c.ids[id]
	if errors.Is(err, authz.ErrNotFound) || gone {
		if named, ok := c.named(id); ok {
			return named, nil
		}
	}
	switch {
	case err != nil || !found.Static:
		return found, err
	case gone:
		return authz.Client{}, fmt.Errorf("client %s was removed from the configuration: %w", id, authz.ErrNotFound)
	case !c.embedded:
		return found, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[id] = ownCopy(found)
	return found, nil
}

// named is the workload that a pattern names: a client with an id of its own, which is
// as the pattern is, and of which the store knows nothing.
func (c *configuredClients) named(id identity.ClientID) (authz.Client, bool) {
	for _, p := range c.patterns {
		if p.ID.Names(id) {
			found := ownCopy(p)
			found.ID = id
			return found, true
		}
	}
	return authz.Client{}, false
}

// PutClient implements authz.Clients.
func (c *configuredClients) PutClient(ctx context.Context, client authz.Client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, client.ID) // the store knows how old its secret is
	return c.Store.PutClient(ctx, client)
}

// ownCopy shares nothing that a caller could write to.
func ownCopy(c authz.Client) authz.Client {
	for _, list := range []*[]string{&c.RedirectURIs, &c.GrantTypes, &c.Scope} {
		*list = slices.Clone(*list)
	}
	for _, b := range []*[]byte{&c.SecretHash, &c.OldSecretHash, &c.JWKS, &c.RegistrationHash} {
		*b = bytes.Clone(*b)
	}
	return c
}

// proofs is the tickets of the store as dpop.Once.
type proofs struct{ tickets authz.Tickets }

// Spend implements dpop.Once.
func (p proofs) Spend(ctx context.Context, key []string, now, expires time.Time) error {
	err := p.tickets.InsertTicket(ctx, authz.TicketProof, authz.TicketKey(key...), nil, now, expires)
	if errors.Is(err, authz.ErrExists) {
		return dpop.ErrSpent
	}
	return err
}

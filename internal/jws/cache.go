package jws

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Bounds of the cache.
const (
	throttle = 30 * time.Second // between two fetches of one jwks_uri
	maxAge   = 24 * time.Hour   // of keys that could not be fetched again, or said to be good for longer
	maxSets  = 1024             // in memory
)

// Fetcher gets a document from a URL that somebody else supplied, without letting
// that reach anything inside. Its errors say nothing that a stranger may learn.
type Fetcher interface {
	// Get returns at most maxBytes of JSON, and until when it may be kept.
	Get(ctx context.Context, url string, maxBytes int64) (body []byte, fresh time.Time, err error)
}

// Cache keeps what was fetched from jwks_uris, the most recently used ones. The
// zero value is empty.
type Cache struct {
	Uses []string // further ones of keys that may verify, as for ParseSet; set before the first Keys

	mu      sync.Mutex               // guards both
	entries map[string]*list.Element // by jwks_uri
	order   list.List                // of *fetchedKeys, the most recently used first
}

// fetchedKeys is the keys of one jwks_uri. Its last keys stay when it fails, so
// that a client whose server is down for an hour stays known.
type fetchedKeys struct {
	uri      string
	uses     []string
	fetching sync.Mutex // held by whom fetches, so that others wait for its keys; taken before mu

	mu      sync.Mutex // guards the rest
	set     Set        // nil: never fetched
	fetched time.Time
	fresh   time.Time // when to fetch again
	tried   time.Time // the last fetch, whatever came of it
}

// Keys returns the keys at uri. Where enough says no of keys that were fetched before,
// they are fetched again: their owner has rotated them.
func (kc *Cache) Keys(ctx context.Context, f Fetcher, now func() time.Time, uri string, enough func(Set) bool) (Set, error) {
	k := kc.entry(uri)
	if set, ok := k.good(now(), enough); ok {
		return set, nil
	}
	k.fetching.Lock()
	defer k.fetching.Unlock()
	if set, ok := k.good(now(), enough); ok { // somebody else fetched them meanwhile
		return set, nil
	}
	return k.refresh(ctx, f, now())
}

// entry finds or makes the entry. One that is forgotten while it is in use serves
// those who have it, and no more.
func (kc *Cache) entry(uri string) *fetchedKeys {
	kc.mu.Lock()
	defer kc.mu.Unlock()
	if e, ok := kc.entries[uri]; ok {
		kc.order.MoveToFront(e)
		return e.Value.(*fetchedKeys)
	}
	if kc.entries == nil {
		kc.entries = map[string]*list.Element{}
	}
	for kc.order.Len() >= maxSets {
		delete(kc.entries, kc.order.Remove(kc.order.Back()).(*fetchedKeys).uri)
	}
	k := &fetchedKeys{uri: uri, uses: kc.Uses}
	kc.entries[uri] = kc.order.PushFront(k)
	return k
}

// good returns keys that need not be fetched.
func (k *fetchedKeys) good(now time.Time, enough func(Set) bool) (Set, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set, k.set != nil && now.Before(k.fresh) && enough(k.set)
}

// refresh fetches, unless it was tried just now: anybody can send an unknown kid,
// and must not make us knock at somebody's door at will. Nor does the fetch end
// when whoever caused it hangs up, or that would keep others out until the next.
func (k *fetchedKeys) refresh(ctx context.Context, f Fetcher, now time.Time) (Set, error) {
	k.mu.Lock()
	throttled := now.Before(k.tried.Add(throttle))
	if !throttled {
		k.tried = now
	}
	k.mu.Unlock()
	var set Set
	var fresh time.Time
	err := errors.New("tried a moment ago")
	if !throttled {
		set, fresh, err = fetch(context.WithoutCancel(ctx), f, k.uri, k.uses)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.set, k.fetched, k.fresh = set, now, fresh
		if latest := now.Add(maxAge); fresh.After(latest) {
			k.fresh = latest
		}
	case k.set == nil, now.After(k.fetched.Add(maxAge)):
		return nil, fmt.Errorf("fetch keys: %w", err)
	}
	return k.set, nil
}

func fetch(ctx context.Context, f Fetcher, uri string, uses []string) (Set, time.Time, error) {
	body, fresh, err := f.Get(ctx, uri, maxSet)
	if err != nil {
		return nil, time.Time{}, err
	}
	set, err := ParseSet(body, uses...)
	return set, fresh, err
}

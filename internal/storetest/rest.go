package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/keys"
)

var keyTests = []test{
	{"keys come back with every field, oldest first", keyRoundTrip},
	{"a key id is used once", keyOnce},
	{"a key is activated once by 16 parallel requests", activateOnce},
	{"a key is wrapped anew once by 16 parallel requests", rewrapOnce},
	{"changing returned keys changes nothing in the store", ownKeys},
	{"a ring opens with the keys that it made before", reopenRing},
}

var pinTests = []test{
	{"pins come back with every field, by tool name", pinRoundTrip},
	{"a changed tool definition cannot replace a pin", addPinTwice},
	{"16 parallel pins of one tool make one", racePins},
	{"changing returned pins changes nothing in the store", ownPins},
}

func someKey(id string) keys.Record {
	return keys.Record{KeyID: id, Use: keys.UseToken, Algorithm: keys.AlgES256, Wrapped: []byte{0, 1, 2, 0xff}, Public: []byte{3, 0, 4},
		Created: at}
}

func keyRoundTrip(t *testing.T, s Stores) {
	newer, older, symmetric := someKey("newer"), someKey("older"), someKey("symmetric")
	older.Activated = at.Add(time.Minute)
	newer.Created, symmetric.Created = at.Add(time.Hour), at.Add(time.Minute)
	symmetric.Use, symmetric.Algorithm, symmetric.Public = keys.UseSession, keys.AlgA256GCM, nil
	for _, r := range []keys.Record{newer, older, symmetric} {
		must(t, s.InsertKey(t.Context(), r))
	}
	got, err := s.Keys(t.Context())
	must(t, err)
	wantSame(t, "Keys", got, []keys.Record{older, symmetric, newer})
	wantUTC(t, got[0].Created, got[0].Activated)
}

// activateOnce keeps two replicas from each making a key the current one.
func activateOnce(t *testing.T, s Stores) {
	must(t, s.InsertKey(t.Context(), someKey("k1")))
	must(t, s.InsertKey(t.Context(), someKey("k2")))
	won := 0
	for _, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) error {
		return s.ActivateKey(ctx, "k1", at.Add(time.Duration(i)*time.Second))
	})) {
		if err == nil {
			won++
		} else if !errors.Is(err, keys.ErrActive) {
			t.Errorf("a loser got %v, want ErrActive", err)
		}
	}
	if won != 1 {
		t.Errorf("%d activated the key, want 1", won)
	}
	before, err := s.Keys(t.Context())
	must(t, err)
	wantIs(t, "ActivateKey", s.ActivateKey(t.Context(), "k1", at.Add(time.Hour)), keys.ErrActive)
	wantIs(t, "ActivateKey of no key", s.ActivateKey(t.Context(), "k3", at), keys.ErrActive)
	after, err := s.Keys(t.Context())
	must(t, err)
	wantSame(t, "Keys", after, before)
	if before[0].Activated.IsZero() || !before[1].Activated.IsZero() {
		t.Errorf("activated: %v, want k1 alone", before)
	}
}

// rewrapOnce keeps two operators from each putting a key in the place of the other's.
func rewrapOnce(t *testing.T, s Stores) {
	k := someKey("k1")
	must(t, s.InsertKey(t.Context(), k))
	must(t, s.InsertKey(t.Context(), someKey("k2")))
	won := -1
	for i, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) error {
		return s.RewrapKey(ctx, "k1", k.Wrapped, []byte{byte(i)})
	})) {
		switch {
		case err == nil && won >= 0:
			t.Error("two wrapped the key anew")
		case err == nil:
			won = i
		case !errors.Is(err, keys.ErrChanged):
			t.Errorf("a loser got %v, want ErrChanged", err)
		}
	}
	k.Wrapped = []byte{byte(won)}
	wantIs(t, "RewrapKey of no key", s.RewrapKey(t.Context(), "k3", k.Wrapped, nil), keys.ErrChanged)
	got, err := s.Keys(t.Context())
	must(t, err)
	wantSame(t, "Keys", got, []keys.Record{k, someKey("k2")})
}

func keyOnce(t *testing.T, s Stores) {
	must(t, s.InsertKey(t.Context(), someKey("k1")))
	other := someKey("k1")
	other.Wrapped = []byte("another")
	if err := s.InsertKey(t.Context(), other); err == nil {
		t.Error("InsertKey with a known id = nil, want an error")
	}
	got, err := s.Keys(t.Context())
	must(t, err)
	wantSame(t, "Keys", got, []keys.Record{someKey("k1")})
}

func ownKeys(t *testing.T, s Stores) {
	must(t, s.InsertKey(t.Context(), someKey("k1")))
	for range 2 {
		got, err := s.Keys(t.Context())
		must(t, err)
		wantSame(t, "Keys", got, []keys.Record{someKey("k1")})
		clear(got[0].Wrapped)
		clear(got[0].Public)
	}
}

func reopenRing(t *testing.T, s Stores) {
	now := func() time.Time { return at }
	first, err := keys.Open(t.Context(), s, keys.KEK{1}, now)
	must(t, err)
	must(t, s.Close())
	again := s.Open(t)
	second, err := keys.Open(t.Context(), again, keys.KEK{1}, now)
	must(t, err)
	wantSame(t, "kid", second.SigningKey().KeyID, first.SigningKey().KeyID)
	_, err = keys.Open(t.Context(), again, keys.KEK{2}, now)
	wantIs(t, "Open with another KEK", err, keys.ErrWrongKEK)
}

func somePin(server, tool string) gateway.Pin {
	return gateway.Pin{Server: server, Tool: tool, Digest: "sha-256:" + tool, Definition: []byte(`{"name":"é"}`), Seen: at, Approved: true}
}

func pinRoundTrip(t *testing.T, s Stores) {
	unapproved := somePin("mail", "b")
	unapproved.Approved = false
	// By bytes, in every store: a locale would put é beside e and a beside A.
	want := []gateway.Pin{somePin("mail", "B"), somePin("mail", "a"), unapproved, somePin("mail", "f"), somePin("mail", "é")}
	for _, i := range []int{3, 0, 4, 2, 1} {
		got, err := s.AddPin(t.Context(), want[i])
		must(t, err)
		wantSame(t, "AddPin", got, want[i])
	}
	_, err := s.AddPin(t.Context(), somePin("calendar", "a"))
	must(t, err)
	got, err := s.Pins(t.Context(), "mail")
	must(t, err)
	wantSame(t, "Pins", got, want)
	wantUTC(t, got[0].Seen)
	none, err := s.Pins(t.Context(), "unknown")
	must(t, err)
	wantSame(t, "Pins of an unknown server", none, nil)
}

func addPinTwice(t *testing.T, s Stores) {
	first, second := somePin("mail", "send"), somePin("mail", "send")
	first.Approved = false
	second.Digest, second.Definition, second.Seen = "sha-256:evil", []byte(`{"evil":1}`), at.Add(time.Hour)
	_, err := s.AddPin(t.Context(), first)
	must(t, err)
	got, err := s.AddPin(t.Context(), second)
	must(t, err)
	wantSame(t, "AddPin", got, first)
	pins, err := s.Pins(t.Context(), "mail")
	must(t, err)
	for i := range pins {
		pins[i].Pending = gateway.Candidate{}
	}
	wantSame(t, "Pins", pins, []gateway.Pin{first})
}

func racePins(t *testing.T, s Stores) {
	stands := make([]gateway.Pin, 16)
	for _, err := range race(t.Context(), spread(t, s, func(ctx context.Context, s Store, i int) (err error) {
		p := somePin("mail", "send")
		p.Digest = fmt.Sprint("sha-256:", i)
		stands[i], err = s.AddPin(ctx, p)
		return err
	})) {
		must(t, err)
	}
	pins, err := s.Pins(t.Context(), "mail")
	must(t, err)
	if len(pins) != 1 {
		t.Fatalf("%d pins, want 1", len(pins))
	}
	pins[0].Pending = gateway.Candidate{}
	for _, p := range stands {
		wantSame(t, "the pin that stands", p, pins[0])
	}
}

func ownPins(t *testing.T, s Stores) {
	p := somePin("mail", "send")
	_, err := s.AddPin(t.Context(), p)
	must(t, err)
	clear(p.Definition)
	for range 2 {
		got, err := s.Pins(t.Context(), "mail")
		must(t, err)
		wantSame(t, "Pins", got, []gateway.Pin{somePin("mail", "send")})
		clear(got[0].Definition)
	}
}

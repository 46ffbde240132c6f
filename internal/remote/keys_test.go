package remote_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/remote"
	"github.com/wicketgate/wicketgate/internal/token"
)

// keyServer serves what handle does and counts how often it is asked.
type keyServer struct {
	url    string
	asked  int
	handle http.HandlerFunc
	now    time.Time
}

func newKeyServer(t *testing.T, handle http.HandlerFunc) (*keyServer, *remote.Keys) {
	t.Helper()
	s := &keyServer{handle: handle, now: time.Now()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked++
		s.handle(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s, remote.NewKeys(server.URL, nil, func() time.Time { return s.now })
}

func serve(keys ...jose.JSONWebKey) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeKeys(w, keys...) }
}

func TestKeysAreFetchedOnce(t *testing.T) {
	t.Parallel()
	s, keys := newKeyServer(t, serve(jwk("k1", ourKey.Public())))
	for range 3 {
		k, err := keys.Key(t.Context(), "k1")
		if err != nil || k.Algorithm != "ES256" || !ourKey.PublicKey.Equal(k.Key) {
			t.Fatalf("Key(k1) = %v, %v", k, err)
		}
	}
	if s.asked != 1 {
		t.Errorf("fetched %d times, want once", s.asked)
	}
}

func TestUnknownKidIsAskedForAtMostEveryThreeSeconds(t *testing.T) {
	t.Parallel()
	s, keys := newKeyServer(t, serve(jwk("k1", ourKey.Public())))
	for range 5 {
		if _, err := keys.Key(t.Context(), "k2"); !errors.Is(err, token.ErrUnknownKey) {
			t.Fatalf("Key(k2) = %v, want ErrUnknownKey", err)
		}
	}
	if s.asked != 1 {
		t.Errorf("fetched %d times, want once", s.asked)
	}
	s.handle = serve(jwk("k1", ourKey.Public()), jwk("k2", strangerKey.Public()))
	s.now = s.now.Add(3 * time.Second)
	if _, err := keys.Key(t.Context(), "k2"); err != nil {
		t.Errorf("Key(k2) after rotation = %v", err)
	}
	if _, err := keys.Key(t.Context(), "k1"); err != nil {
		t.Errorf("Key(k1) after rotation = %v", err)
	}
}

func TestWithdrawnKeyIsForgottenAfterFiveMinutes(t *testing.T) {
	t.Parallel()
	s, keys := newKeyServer(t, serve(jwk("k1", ourKey.Public())))
	if _, err := keys.Key(t.Context(), "k1"); err != nil {
		t.Fatal(err)
	}
	s.handle = serve()
	s.now = s.now.Add(5 * time.Minute)
	if _, err := keys.Key(t.Context(), "k1"); !errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("Key(k1) = %v, want ErrUnknownKey", err)
	}
}

func TestKeysRejectAnythingButAKeySet(t *testing.T) {
	t.Parallel()
	good := jwk("k1", ourKey.Public())
	for _, test := range []struct {
		name   string
		handle http.HandlerFunc
	}{
		{"error status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway); writeKeys(w, good) }},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				writeKeys(w, good)
				return
			}
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}},
		{"body without end", func(w http.ResponseWriter, _ *http.Request) {
			writeKeys(w, good)
			_, _ = w.Write([]byte(strings.Repeat(" ", 64<<10)))
		}},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("keys")) }},
		{"key for encryption", serve(jose.JSONWebKey{Key: good.Key, KeyID: "k1", Algorithm: "ES256", Use: "enc"})},
		{"key of another algorithm", serve(jose.JSONWebKey{Key: good.Key, KeyID: "k1", Algorithm: "ES384", Use: "sig"})},
		{"symmetric key", serve(jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "k1", Algorithm: "HS256", Use: "sig"})},
		{"private key", serve(jwk("k1", ourKey))},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, keys := newKeyServer(t, test.handle)
			if k, err := keys.Key(t.Context(), "k1"); err == nil {
				t.Errorf("Key(k1) = %v, want an error", k)
			}
		})
	}
}

func TestKeysRecoverFromAnOutage(t *testing.T) {
	t.Parallel()
	s, keys := newKeyServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	for range 2 { // the second time nobody is asked, and yet it is not known that there is no such key
		if _, err := keys.Key(t.Context(), "k1"); err == nil || errors.Is(err, token.ErrUnknownKey) {
			t.Fatalf("Key(k1) without a key set: %v", err)
		}
	}
	s.handle = serve(jwk("k1", ourKey.Public()))
	s.now = s.now.Add(3 * time.Second)
	if _, err := keys.Key(t.Context(), "k1"); err != nil {
		t.Errorf("Key(k1) after the outage = %v", err)
	}
}

package oidc_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// TestAFloodOfUnknownKeyIDsDoesNotHammerTheIdP: each of them makes go-oidc fetch
// the keys again.
func TestAFloodOfUnknownKeyIDsDoesNotHammerTheIdP(t *testing.T) {
	e := newEvil(t)
	w := newWorld(t, e.URL, nil)
	e.idToken = func(c object) string { return signed(jose.RS256, foreignKey, rand.Text(), encode(c)) }
	for range 50 {
		_, err := e.login(t, w, newLogin(), nil)
		wantRefusal(t, err, oauth.AccessDenied, "failed to verify")
	}
	if n := e.count("/jwks"); n != 1 {
		t.Errorf("the keys were fetched %d times", n)
	}
	e.idToken = nil
	if _, err := e.login(t, w, newLogin(), nil); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

func TestANewKeyOfTheIdPIsFound(t *testing.T) {
	e := newEvil(t)
	w := newWorld(t, e.URL, nil)
	if _, err := e.login(t, w, newLogin(), nil); err != nil {
		t.Fatal(err)
	}
	e.keys = append(e.keys, jose.JSONWebKey{Key: foreignKey.Public(), KeyID: "new"})
	e.idToken = func(c object) string { return signed(jose.RS256, foreignKey, "new", encode(c)) }
	w.clock.advance(10 * time.Second)
	if _, err := e.login(t, w, newLogin(), nil); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	e.idToken = nil
	if _, err := e.login(t, w, newLogin(), nil); err != nil || e.count("/jwks") != 2 {
		t.Errorf("with the old key: %v; the keys were fetched %d times", err, e.count("/jwks"))
	}
}

func TestAClockThatIsPutBackDoesNotKeepOldKeys(t *testing.T) {
	e := newEvil(t)
	w := newWorld(t, e.URL, nil)
	w.clock.advance(5 * time.Minute)
	if _, err := e.login(t, w, newLogin(), nil); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(-5 * time.Minute)
	e.keys = []jose.JSONWebKey{{Key: idpKey.Public(), KeyID: "new"}}
	e.idToken = func(c object) string { return signed(jose.RS256, idpKey, "new", encode(c)) }
	if _, err := e.login(t, w, newLogin(), nil); err != nil {
		t.Error(err)
	}
}

// TestAPersonWhoGoesAwayIsNotRefused: of a signature that nobody waited for,
// nothing is known.
func TestAPersonWhoGoesAwayIsNotRefused(t *testing.T) {
	e, l := newEvil(t), newLogin()
	w := newWorld(t, e.URL, nil)
	gone, leave := context.WithCancel(context.Background())
	answer := make(chan struct{})
	defer close(answer) // before the server closes
	e.answers["/jwks"] = func(http.ResponseWriter, *http.Request) {
		leave()
		<-answer
	}
	e.nonce = l.Nonce
	_, err := w.Finish(gone, url.Values{"state": {l.State}, "code": {"c"}, "iss": {e.URL}}, l)
	wantRefusal(t, err, oauth.TemporarilyUnavailable, "canceled")
}

func TestKeysThatCannotBeHadAreNotTheFaultOfThePerson(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"503":         broken,
		"is not JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "<html>") },
		"too large": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"keys":[],"x":"%s"}`, strings.Repeat("x", 1<<19))
		},
		"EOF": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = fmt.Fprint(w, "{")
		},
	}
	for cause, answer := range answers {
		t.Run(cause, func(t *testing.T) {
			e := newEvil(t)
			w := newWorld(t, e.URL, nil)
			e.answers["/jwks"] = answer
			for range 3 {
				_, err := e.login(t, w, newLogin(), nil)
				wantRefusal(t, err, oauth.TemporarilyUnavailable, cause)
			}
			if n := e.count("/jwks"); n != 1 {
				t.Errorf("the keys were fetched %d times", n)
			}
			delete(e.answers, "/jwks")
			w.clock.advance(10 * time.Second)
			_, err := e.login(t, w, newLogin(), nil)
			for range 100 { // go-oidc may not have ended the attempt before, whose answer it then is
				if err == nil {
					break
				}
				_, err = e.login(t, w, newLogin(), nil)
			}
			if err != nil {
				t.Errorf("when they can be had again: %v", err)
			}
		})
	}
}

package federation_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/federation"
)

// TestUnknownKidFetchesOnceAWhile: anybody can send one, and must not make us knock at
// an issuer's door at will.
func TestUnknownKidFetchesOnceAWhile(t *testing.T) {
	for _, d := range doors {
		t.Run(d.name, func(t *testing.T) {
			w := newWorld(t)
			for i := range 50 {
				raw := sign(ecKey, d.header.and(object{"kid": fmt.Sprint("guess ", i)}), d.claims)
				if err := d.open(w, raw); err == nil {
					t.Fatal("taken")
				}
			}
			if n := fetched(t); n != 1 {
				t.Errorf("%d fetches for 50 unknown kids", n)
			}
			w.clock = w.clock.Add(31 * time.Second)
			_ = d.open(w, sign(ecKey, d.header.and(object{"kid": "guess"}), d.claims))
			if n := fetched(t); n != 2 {
				t.Errorf("%d fetches half a minute later", n)
			}
		})
	}
}

// TestNothingIsFetchedForAStranger: an issuer that is not in the table, or not trusted
// for that, costs nothing.
func TestNothingIsFetchedForAStranger(t *testing.T) {
	w := newWorld(t)
	for _, d := range doors {
		_ = d.open(w, d.token(object{"iss": "https://evil.example"}))
	}
	_ = asGrant(w, sign(ecKey, grantHeader, idJAG.and(object{"iss": cluster})))
	_ = asSubject(w, sign(ecKey, accessHeader, access.and(object{"iss": cluster})))
	_ = asWorkload(w, sign(ecKey, workloadHeader, podToken.and(object{"iss": idp})))
	if n := fetched(t); n != 0 {
		t.Errorf("%d fetches", n)
	}
}

func TestRotatedKeysAreFound(t *testing.T) {
	for _, d := range doors {
		t.Run(d.name, func(t *testing.T) {
			w := newWorld(t)
			if err := d.open(w, d.token()); err != nil {
				t.Fatal(err)
			}
			publish(t, set(otherKey.Public(), object{"kid": "k2"}))
			w.clock = w.clock.Add(31 * time.Second) // the keys are fresh, and fetched again for the kid
			if err := d.open(w, sign(otherKey, d.header.and(object{"kid": "k2"}), d.claims)); err != nil {
				t.Errorf("new key: %v", err)
			}
			if err := d.open(w, d.token()); err == nil {
				t.Error("the old key still verifies")
			}
		})
	}
}

// TestKeysOfAnIssuerThatIsDown: what was fetched stays for a day; what never was is
// nothing.
func TestKeysOfAnIssuerThatIsDown(t *testing.T) {
	w := newWorld(t)
	publish(t, nil)
	if err := asGrant(w, doors[1].token()); err == nil {
		t.Error("taken without any key")
	}
	publish(t, set(ecKey.Public()))
	w.clock = w.clock.Add(31 * time.Second)
	if err := asGrant(w, doors[1].token()); err != nil {
		t.Fatal(err)
	}
	publish(t, nil)
	for wait, want := range map[time.Duration]bool{23 * time.Hour: true, 25 * time.Hour: false} {
		w.clock = now.Add(wait)
		later := object{"iat": w.clock.Unix(), "exp": w.clock.Unix() + 60}
		if err := asGrant(w, doors[1].token(later)); (err == nil) != want {
			t.Errorf("after %s: %v", wait, err)
		}
	}
}

// TestKeySetThatSpoilsItself: a private key among them, two of one kid, or none.
func TestKeySetThatSpoilsItself(t *testing.T) {
	for name, b := range map[string][]byte{"private": set(ecKey), "symmetric": []byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"k1"}]}`), "none": []byte(`{"keys":[]}`),
		"for encryption": set(ecKey.Public(), object{"use": "enc"}), "no JSON": []byte("<html>")} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			publish(t, b)
			if err := asGrant(w, doors[1].token()); err == nil {
				t.Error("taken")
			}
		})
	}
}

// TestJWKSAtAnAddressInside: the fetcher of the product goes to public addresses only,
// though an operator wrote the URI.
func TestJWKSAtAnAddressInside(t *testing.T) {
	for _, uri := range []string{"", "https://127.0.0.1/jwks", "https://[::1]/jwks", "https://169.254.169.254/latest/jwks", "https://10.0.0.1/jwks", "http://idp.example/jwks"} {
		w := newWorld(t, func(c *federation.Config) {
			c.Fetcher = guarded(false)
			if uri != "" {
				c.Issuers[0].JWKSURI = uri
			}
		})
		if err := asGrant(w, doors[1].token()); err == nil {
			t.Errorf("%q: taken", uri)
		}
	}
	if n := fetched(t); n != 0 {
		t.Errorf("%d fetches at a loopback address", n)
	}
}

// TestJWKSThatLeadsElsewhere: a redirect is not followed.
func TestJWKSThatLeadsElsewhere(t *testing.T) {
	w := newWorld(t)
	there := jwksServer.Config.Handler
	t.Cleanup(func() { jwksServer.Config.Handler = there })
	jwksServer.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("led") {
			t.Error("it was followed")
		}
		http.Redirect(w, r, r.URL.Path+"?led", http.StatusFound)
	})
	if err := asGrant(w, doors[1].token()); err == nil {
		t.Error("taken")
	}
}

// TestKeyFileThatChanges counts without a restart; one that is gone, or no key set,
// leaves the last one.
func TestKeyFileThatChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jwks.json")
	write := func(b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, func(c *federation.Config) { c.Issuers[1].JWKSURI, c.Issuers[1].JWKSFile = "", path })
	pod := doors[2]
	if err := pod.open(w, pod.token()); err == nil {
		t.Error("taken without a file")
	}
	write(set(ecKey.Public()))
	w.clock = w.clock.Add(time.Minute)
	if err := pod.open(w, pod.token()); err != nil {
		t.Error(err)
	}
	write(set(otherKey.Public()))
	w.clock = w.clock.Add(time.Minute)
	if err := pod.open(w, pod.token()); err == nil {
		t.Error("the old key still verifies")
	}
	write([]byte("{"))
	w.clock = w.clock.Add(time.Minute)
	if err := pod.open(w, sign(otherKey, pod.header, pod.claims)); err != nil {
		t.Errorf("a broken file took the keys away: %v", err)
	}
}

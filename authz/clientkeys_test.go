package authz_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// TestKeySetOfAClient: the key of k1 is always good; what stands beside it decides.
func TestKeySetOfAClient(t *testing.T) {
	w := newWorld(t)
	weak := must(rsa.GenerateKey(rand.Reader, 1024))(t)
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)
	good := jwkOf(testKeys()["ES256"].Public(), object{"kid": "k1"})
	other := func(more object) object { return jwkOf(testKeys()["other"].Public(), more) }
	rsaWith := func(more object) object { return jwkOf(testKeys()["RS256"].Public(), more) }
	n := testKeys()["RS256"].Public().(*rsa.PublicKey).N
	tests := map[string]struct {
		beside object
		raw    string // in place of both
		ok     bool
	}{
		"an RSA key":                           {beside: rsaWith(nil), ok: true},
		"an RSA key with e = 3":                {beside: rsaWith(object{"e": "Aw"}), ok: true},
		"a key without kid":                    {beside: other(nil), ok: true},
		"members that mean nothing here":       {beside: other(object{"kid": "k2", "name": "x", "x5t": "y"}), ok: true},
		"a key for encryption":                 {beside: other(object{"kid": "k2", "use": "enc"}), ok: true},
		"a key whose operations lack verify":   {beside: other(object{"kid": "k2", "key_ops": []string{"encrypt"}}), ok: true},
		"a key of another curve":               {beside: jwkOf(p384.Public(), object{"kid": "k2"}), ok: true},
		"a key of a kind that is to come":      {beside: object{"kty": "AKP", "kid": "k2", "pub": "x"}, ok: true},
		"a key for another alg":                {beside: rsaWith(object{"alg": "RS512"}), ok: true},
		"a private EC key":                     {beside: other(object{"kid": "k2", "d": "AQ"})},
		"a private member that is null":        {beside: other(object{"kid": "k2", "d": jsonNull})},
		"a private key for encryption":         {beside: other(object{"kid": "k2", "use": "enc", "d": "AQ"})},
		"an RSA key with p":                    {beside: rsaWith(object{"p": "AQ"})},
		"an RSA key with q":                    {beside: rsaWith(object{"q": "AQ"})},
		"an RSA key with dp":                   {beside: rsaWith(object{"dp": "AQ"})},
		"an RSA key with oth":                  {beside: rsaWith(object{"oth": []string{}})},
		"a private key of a kind to come":      {beside: object{"kty": "AKP", "priv": "AQ"}},
		"a symmetric key":                      {beside: object{"kty": "oct", "k": "c2VjcmV0"}},
		"a symmetric key without its k":        {beside: object{"kty": "oct"}},
		"RSA of 1024 bits":                     {beside: jwkOf(weak.Public(), nil)},
		"RSA of 2047 bits":                     {beside: rsaWith(object{"n": b64(new(big.Int).SetBit(new(big.Int).Rsh(n, 1), 0, 1).Bytes())})},
		"RSA of 2048 bits, padded with zeros":  {beside: rsaWith(object{"n": b64(append(make([]byte, 128), weak.N.Bytes()...))})},
		"RSA of 16384 bits":                    {beside: rsaWith(object{"n": b64([]byte(strings.Repeat("\xff", 2048)))})},
		"RSA with an even n":                   {beside: rsaWith(object{"n": b64(new(big.Int).SetBit(n, 0, 0).Bytes())})},
		"RSA with e = 1":                       {beside: rsaWith(object{"e": "AQ"})},
		"RSA with e = 2":                       {beside: rsaWith(object{"e": "Ag"})},
		"RSA with an even e":                   {beside: rsaWith(object{"e": "AQAC"})},
		"RSA with an e of 33 bits":             {beside: rsaWith(object{"e": "AQAAAAE"})},
		"RSA without e":                        {beside: rsaWith(object{"e": ""})},
		"an EC point off the curve":            {beside: other(object{"kid": "k2", "x": b64(make([]byte, 32))})},
		"an EC point of 31 bytes":              {beside: other(object{"kid": "k2", "x": b64(make([]byte, 31))})},
		"an Ed25519 key of 31 bytes":           {beside: object{"kty": "OKP", "crv": "Ed25519", "x": b64(make([]byte, 31))}},
		"a kid that comes twice":               {beside: other(object{"kid": "k1"})},
		"a kid of 257 bytes":                   {beside: other(object{"kid": strings.Repeat("k", 257)})},
		"an x5c of another key":                {beside: other(object{"kid": "k2", "x5c": []string{selfSigned(t, testKeys()["ES256"], nil).base64()}})},
		"an x5c that is none":                  {beside: other(object{"kid": "k2", "x5c": []string{"AA=="}})},
		"a member that comes twice":            {raw: strings.Replace(string(jwks(good)), `"kid"`, `"kid":"k2","kid"`, 1)},
		"a kty in another case":                {raw: strings.Replace(string(jwks(good)), `"kty"`, `"KTY"`, 1)},
		"no keys":                              {raw: `{"keys":[]}`},
		"no set":                               {raw: `[]`},
		"one key in place of a set":            {raw: string(jwks(good)[9:])},
		"more after the set":                   {raw: string(jwks(good)) + "{}"},
		"more than 64 KiB":                     {raw: string(jwks(good)) + strings.Repeat(" ", 64<<10)},
		"only a key that may not verify":       {raw: string(jwks(jwkOf(testKeys()["ES256"].Public(), object{"kid": "k1", "key_ops": []string{"sign"}})))},
		"only a key that may verify":           {raw: string(jwks(jwkOf(testKeys()["ES256"].Public(), object{"kid": "k1", "key_ops": []string{"verify"}}))), ok: true},
		"only a key for another use":           {raw: string(jwks(jwkOf(testKeys()["ES256"].Public(), object{"kid": "k1", "use": "enc"})))},
		"only a key for another alg":           {raw: string(jwks(jwkOf(testKeys()["ES256"].Public(), object{"kid": "k1", "alg": "ES384"})))},
		"a key that is for another alg by kty": {raw: string(jwks(jwkOf(testKeys()["ES256"].Public(), object{"kid": "k1", "alg": "RS256"})))},
		"twenty-one keys":                      {raw: string(jwks(append(otherKeys(20), good)...))},
		"twenty keys":                          {raw: string(jwks(append(otherKeys(19), good)...)), ok: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.static("real", func(c *authz.Client) {
				if c.JWKS = []byte(test.raw); test.raw == "" {
					c.JWKS = jwks(good, test.beside)
				}
			})
			a := w.assert(es256(t, w.claims("real")))
			if test.ok {
				w.wantOK(a)
			} else {
				w.wantRefused(a)
			}
		})
	}
}

// jsonNull is null, not an absent member.
var jsonNull *string

func otherKeys(n int) (keys []object) {
	for i := range n {
		keys = append(keys, jwkOf(newKey().Public(), object{"kid": fmt.Sprintf("other-%d", i)}))
	}
	return keys
}

// TestAssertionWithoutKidTriesAFewKeysOnly: each costs a signature check.
func TestAssertionWithoutKidTriesAFewKeysOnly(t *testing.T) {
	w := newWorld(t)
	good := jwkOf(testKeys()["ES256"].Public(), object{"kid": "k1"})
	for n, ok := range map[int]bool{3: true, 4: false} {
		w.static("real", func(c *authz.Client) { c.JWKS = jwks(append(otherKeys(n), good)...) })
		a := w.assert(es256(t, w.claims("real"), object{"kid": nil}))
		if ok {
			w.wantOK(a)
		} else {
			w.wantRefused(a)
		}
		w.wantOK(w.assert(es256(t, w.claims("real"))))
	}
}

// keyServer publishes key sets, and fetches them as the guarded fetcher would.
type keyServer struct {
	*httptest.Server
	w     *world
	mu    sync.Mutex // guards the rest
	count map[string]int
	set   []byte
	fresh time.Duration
	hook  func(ctx context.Context) error
}

func newKeyServer(t testing.TB, options ...func(*authz.Config)) *keyServer {
	k := &keyServer{count: map[string]int{}, fresh: time.Hour}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.count[r.URL.Path]++
		if k.set == nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(k.set)
	}))
	t.Cleanup(k.Close)
	k.w = newWorld(t, append(options, func(c *authz.Config) { c.Fetcher = k })...)
	k.w.static("real", func(c *authz.Client) { c.JWKS, c.JWKSURI = nil, k.URL+"/keys" })
	return k
}

func (k *keyServer) Get(ctx context.Context, url string, maxBytes int64) ([]byte, time.Time, error) {
	k.mu.Lock()
	fresh, hook := k.w.clock.Now().Add(k.fresh), k.hook
	k.mu.Unlock()
	if hook != nil {
		if err := hook(ctx); err != nil {
			return nil, time.Time{}, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, time.Time{}, err
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, time.Time{}, errors.New(resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes))
	return body, fresh, err
}

// publish replaces the key set; nil makes the server fail.
func (k *keyServer) publish(fresh time.Duration, keys ...object) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fresh, k.set = fresh, nil
	if keys != nil {
		k.set = jwks(keys...)
	}
}

func (k *keyServer) wantFetches(t testing.TB, n int) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.count["/keys"] != n {
		t.Errorf("the keys were fetched %d times, want %d", k.count["/keys"], n)
	}
}

// ask asks with an assertion of the key and kid.
func (k *keyServer) ask(t testing.TB, key crypto.Signer, kid string) answer {
	return k.w.in(t).assert(sign(t, key, object{"alg": "ES256", "kid": kid}, k.w.claims("real")))
}

func TestRotatedKeysAreFetchedAgain(t *testing.T) {
	k := newKeyServer(t)
	first, second := newKey(), newKey()
	k.publish(time.Hour, jwkOf(first.Public(), object{"kid": "k1"}))
	k.w.wantOK(k.ask(t, first, "k1"))
	k.w.wantOK(k.ask(t, first, "k1"))
	k.wantFetches(t, 1)
	k.publish(time.Hour, jwkOf(second.Public(), object{"kid": "k2"}))
	k.w.clock.advance(30 * time.Second)
	k.w.wantOK(k.ask(t, second, "k2"))
	k.wantFetches(t, 2)
	k.w.wantRefused(k.ask(t, first, "k1")) // it has been withdrawn
}

func TestKeysAreFetchedAgainWhenTheyAreNoLongerFresh(t *testing.T) {
	k := newKeyServer(t)
	first, second := newKey(), newKey()
	k.publish(10*time.Minute, jwkOf(first.Public(), object{"kid": "k1"}))
	k.w.wantOK(k.ask(t, first, "k1"))
	k.publish(365*24*time.Hour, jwkOf(second.Public(), object{"kid": "k1"})) // the same kid: nothing but time tells
	k.w.clock.advance(10*time.Minute - time.Second)
	k.w.wantOK(k.ask(t, first, "k1"))
	k.wantFetches(t, 1)
	k.w.clock.advance(time.Second)
	k.w.wantOK(k.ask(t, second, "k1"))
	k.wantFetches(t, 2)
	k.publish(time.Hour, jwkOf(first.Public(), object{"kid": "k1"}))
	k.w.clock.advance(24*time.Hour - time.Second)
	k.w.wantOK(k.ask(t, second, "k1"))
	k.w.clock.advance(time.Second) // a day is the most, whatever the server said
	k.w.wantRefused(k.ask(t, second, "k1"))
	k.wantFetches(t, 3)
}

// TestUnknownKidsCannotMakeUsFetchAtWill: nobody's server is flooded through us.
func TestUnknownKidsCannotMakeUsFetchAtWill(t *testing.T) {
	k := newKeyServer(t)
	key := newKey()
	k.publish(time.Hour, jwkOf(key.Public(), object{"kid": "k1"}))
	for i := range 20 {
		k.w.wantRefused(k.ask(t, newKey(), fmt.Sprint(i)))
	}
	k.wantFetches(t, 1)
	k.w.wantOK(k.ask(t, key, "k1"))
	k.w.clock.advance(29 * time.Second)
	k.w.wantRefused(k.ask(t, newKey(), "x"))
	k.wantFetches(t, 1)
	k.w.clock.advance(time.Second)
	for i := range 20 {
		k.w.wantRefused(k.ask(t, newKey(), fmt.Sprint(i)))
	}
	k.wantFetches(t, 2)
}

func TestKeyServerThatFails(t *testing.T) {
	k := newKeyServer(t)
	key := newKey()
	k.publish(time.Hour)
	for range 5 {
		k.w.wantRefused(k.ask(t, key, "k1")) // the same answer as a wrong key: it tells nothing of what is there
	}
	k.wantFetches(t, 1)
	k.publish(time.Hour, jwkOf(key.Public(), object{"kid": "k1"}))
	k.w.clock.advance(30 * time.Second)
	k.w.wantOK(k.ask(t, key, "k1"))
	for name, broken := range map[string][]object{"is down": nil, "has a bad set": {{"kty": "oct"}}} {
		k.publish(time.Hour, broken...)
		k.w.clock.advance(11 * time.Hour)
		if a := k.ask(t, key, "k1"); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	k.wantFetches(t, 4)
	k.w.clock.advance(2*time.Hour + time.Second)
	k.w.wantRefused(k.ask(t, key, "k1")) // a day is the most
}

func TestManyFirstAssertionsFetchOnce(t *testing.T) {
	k := newKeyServer(t)
	key := newKey()
	k.publish(time.Hour, jwkOf(key.Public(), object{"kid": "k1"}))
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if a := k.ask(t, key, "k1"); a.status != http.StatusOK {
				t.Errorf("answer %d %s", a.status, a.body)
			}
		})
	}
	wg.Wait()
	k.wantFetches(t, 1)
}

// TestHangingUpDoesNotKeepTheClientOut: a stranger who causes a fetch and leaves
// must not make it fail, or the throttle would keep the client out.
func TestHangingUpDoesNotKeepTheClientOut(t *testing.T) {
	k := newKeyServer(t)
	key := newKey()
	k.publish(time.Hour, jwkOf(key.Public(), object{"kid": "k1"}))
	ctx, cancel := context.WithCancel(t.Context())
	k.hook = func(ctx context.Context) error { cancel(); return ctx.Err() }
	form := strings.NewReader("grant_type=" + grantEcho + "&client_assertion_type=" + oauth.AssertionJWTBearer + "&client_assertion=" +
		sign(t, newKey(), object{"alg": "ES256", "kid": "k1"}, k.w.claims("real")))
	r := k.w.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", "").WithContext(ctx)
	r.Body = io.NopCloser(form)
	r.Host = strings.TrimPrefix(k.w.url, "http://")
	k.w.handler.ServeHTTP(httptest.NewRecorder(), r)
	if ctx.Err() == nil {
		t.Fatal("nothing was fetched")
	}
	k.w.wantOK(k.ask(t, key, "k1"))
	k.wantFetches(t, 1)
}

func TestWithoutAFetcherNobodyHasKeysElsewhere(t *testing.T) {
	k := newKeyServer(t)
	key := newKey()
	k.publish(time.Hour, jwkOf(key.Public(), object{"kid": "k1"}))
	w := newWorld(t)
	w.static("real", func(c *authz.Client) { c.JWKS, c.JWKSURI = nil, k.URL+"/keys" })
	w.wantRefused(w.assert(sign(t, key, object{"alg": "ES256", "kid": "k1"}, w.claims("real"))))
}

// manyClients has a client for every id, each with a jwks_uri of its own.
type manyClients struct {
	authz.Store
	k *keyServer
}

func (m *manyClients) Client(_ context.Context, id identity.ClientID) (authz.Client, error) {
	return authz.Client{ID: id, AuthMethod: oauth.AuthPrivateKeyJWT, JWKSURI: m.k.URL + "/" + id.String()}, nil
}

// TestManyKeySetsDoNotFillTheMemory: what was asked for least recently is forgotten.
func TestManyKeySetsDoNotFillTheMemory(t *testing.T) {
	many := &manyClients{}
	k := newKeyServer(t, func(c *authz.Config) { many.Store, c.Store = c.Store, many })
	many.k = k
	key := newKey()
	k.publish(time.Hour, jwkOf(key.Public(), object{"kid": "k1"}))
	ask := func(id string) {
		k.w.assert(sign(t, key, object{"alg": "ES256", "kid": "k1"}, k.w.claims(id)))
	}
	ask("first")
	for i := range 1023 {
		ask(fmt.Sprintf("c%d", i))
	}
	ask("first") // all fit; it is the most recent now
	ask("one-more")
	ask("first")
	ask("c0") // was forgotten
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.count["/first"] != 1 || k.count["/c0"] != 2 || k.count["/c1022"] != 1 {
		t.Errorf("fetched: first %d times, c0 %d times, c1022 %d times", k.count["/first"], k.count["/c0"], k.count["/c1022"])
	}
}

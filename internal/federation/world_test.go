package federation_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/pem"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/federation"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/metadata"
)

const (
	ours     = "https://mcp.example.com"
	endpoint = ours + "/oauth2/token"
	mail     = ours + "/mcp/mail"
	files    = ours + "/mcp/files"
	upstream = "http://10.0.0.7:3000/mcp" // internal
	idp      = "https://idp.example"
	cluster  = "https://kubernetes.default.svc.cluster.local"
	domain   = "example.org"
	svid     = "spiffe://example.org/ns/agents/sa/report"
	account  = "system:serviceaccount:agents:report"
)

var (
	now   = time.Date(2026, 11, 28, 16, 0, 0, 0, time.UTC)
	agent = identity.MustClientID("agent")

	ecKey, otherKey = newEC(), newEC()
	rsaKey          = must(rsa.GenerateKey(rand.Reader, 2048))
)

func newEC() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// jwksServer is where issuers publish their keys, over https with a certificate that
// this process believes.
var jwksServer *published

func TestMain(m *testing.M) {
	jwksServer = &published{}
	jwksServer.Server = httptest.NewTLSServer(jwksServer)
	dir := must(os.MkdirTemp("", "wicketgate-federation-"))
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: jwksServer.Certificate().Raw}), 0o600); err != nil {
		log.Fatal(err)
	}
	os.Setenv("SSL_CERT_FILE", ca) // before anybody looks at the authorities of the system
	code := m.Run()
	jwksServer.Close()
	os.RemoveAll(dir)
	os.Exit(code)
}

// published is key sets by path. What is not there is a server that is down.
type published struct {
	*httptest.Server
	mu   sync.Mutex // guards both
	sets map[string][]byte
	gets map[string]int
}

func (p *published) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gets[r.URL.Path]++
	set, ok := p.sets[r.URL.Path]
	if !ok {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(set)
}

// publish has the keys at a path of the test's own, or none: then it is down.
func publish(t *testing.T, set []byte) (uri string) {
	path := "/" + strings.ReplaceAll(t.Name(), "/", "_")
	jwksServer.mu.Lock()
	defer jwksServer.mu.Unlock()
	if jwksServer.sets == nil {
		jwksServer.sets, jwksServer.gets = map[string][]byte{}, map[string]int{}
	}
	delete(jwksServer.sets, path)
	if set != nil {
		jwksServer.sets[path] = set
	}
	return jwksServer.URL + path
}

// fetched is how often the keys of the test were asked for.
func fetched(t *testing.T) int {
	jwksServer.mu.Lock()
	defer jwksServer.mu.Unlock()
	return jwksServer.gets["/"+strings.ReplaceAll(t.Name(), "/", "_")]
}

type object map[string]any

// and is o with changes; nil removes a member.
func (o object) and(changes ...object) object {
	out := maps.Clone(o)
	for _, c := range changes {
		maps.Copy(out, c)
	}
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// set is a key set of one key, with changes to its members.
func set(key crypto.PublicKey, changes ...object) []byte {
	var k object
	if err := json.Unmarshal(must(jose.JSONWebKey{Key: key, KeyID: "k1"}.MarshalJSON()), &k); err != nil {
		log.Fatal(err)
	}
	return must(json.Marshal(object{"keys": []object{k.and(changes...)}}))
}

// world is a table with a clock. The IdP is trusted for access tokens and ID-JAGs, the
// cluster and the trust domain for workloads. All sign with ecKey.
type world struct {
	t     *testing.T
	table *federation.Table
	clock time.Time
	ids   map[string]bool // of our clients
	storm error           // what looking for one fails with
	jwks  string
}

func newWorld(t *testing.T, changes ...func(*federation.Config)) *world {
	t.Helper()
	w := &world{t: t, clock: now, ids: map[string]bool{"agent": true, "report-agent": true}, jwks: publish(t, set(ecKey.Public()))}
	cfg := w.config()
	for _, change := range changes {
		change(&cfg)
	}
	table, err := federation.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.table = table
	return w
}

func (w *world) now() time.Time { return w.clock }

func (w *world) config() federation.Config {
	resources := oauth.NewResources([]oauth.Resource{resource(mail), resource(files)}, []oauth.Resource{resource(upstream)})
	reporter := identity.MustClientID("report-agent")
	return federation.Config{Issuer: ours, TokenEndpoint: endpoint, Resources: resources, Now: w.now, Fetcher: guarded(true),
		IsClient: func(_ context.Context, id identity.ClientID) (bool, error) { return w.ids[id.String()], w.storm },
		Issuers: []federation.Issuer{
			{Name: idp, JWKSURI: w.jwks, Prefix: idp + "|", SubjectClaim: "sub", Grants: true,
				SubjectTokens: &federation.SubjectTokens{Clients: []identity.ClientID{agent}, Resources: []oauth.Resource{resource(mail)}}},
			{Name: cluster, JWKSURI: w.jwks, Prefix: cluster + "|", Workloads: &federation.Workloads{MaxAge: time.Hour, Identities: []federation.Identity{
				{Subject: "system:serviceaccount:agents:*", Client: reporter, Claims: []federation.Claim{{Name: "kubernetes.io.serviceaccount.name", Value: "report"}}}}}},
			{Name: "spiffe://" + domain, JWKSURI: w.jwks, Prefix: "spiffe://" + domain + "|", Workloads: &federation.Workloads{MaxAge: time.Hour,
				Identities: []federation.Identity{{Subject: "spiffe://example.org/ns/*/sa/report", Client: reporter}}}},
		}}
}

func resource(s string) oauth.Resource { return must(oauth.ParseResource(s)) }

// guarded is the fetcher of the product; on loopback it may go there.
func guarded(loopback bool) jws.Fetcher {
	return fetcher{metadata.NewFetcher(metadata.FetcherConfig{InsecureLoopback: loopback, Now: func() time.Time { return now }})}
}

type fetcher struct{ *metadata.Fetcher }

func (f fetcher) Get(ctx context.Context, url string, maxBytes int64) ([]byte, time.Time, error) {
	got, err := f.Fetcher.Get(ctx, url, maxBytes)
	return got.Body, got.Fresh, err
}

// Good claims and headers, one of each door.
var (
	accessHeader   = object{"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
	grantHeader    = object{"alg": "ES256", "kid": "k1", "typ": "oauth-id-jag+jwt"}
	workloadHeader = object{"alg": "ES256", "kid": "k1"}

	access = object{"iss": idp, "sub": "alice", "aud": ours, "client_id": "app", "scope": "mcp:tools", "jti": "a1",
		"iat": now.Unix() - 60, "exp": now.Unix() + 600}
	idJAG = object{"iss": idp, "sub": "alice", "aud": ours, "client_id": "agent", "resource": mail, "scope": "mcp:tools", "jti": "g1",
		"iat": now.Unix() - 10, "exp": now.Unix() + 290}
	podToken = object{"iss": cluster, "sub": account, "aud": []string{endpoint}, "iat": now.Unix() - 60, "nbf": now.Unix() - 60, "exp": now.Unix() + 3600,
		"kubernetes.io": object{"namespace": "agents", "serviceaccount": object{"name": "report", "uid": "4711"}}}
	jwtSVID = object{"sub": svid, "aud": endpoint, "iat": now.Unix() - 60, "exp": now.Unix() + 240}
)

// sign makes a compact JWS.
func sign(key crypto.Signer, header, payload any) string {
	input := part(header) + "." + part(payload)
	alg, _ := header.(object)["alg"].(string)
	return input + "." + base64.RawURLEncoding.EncodeToString(signature(key, alg, input))
}

// part encodes bytes as they are, and anything else as JSON.
func part(v any) string {
	b, ok := v.([]byte)
	if !ok {
		b = must(json.Marshal(v))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func signature(key crypto.Signer, alg, input string) []byte {
	h := crypto.SHA256.New()
	h.Write([]byte(input))
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if alg == "PS256" {
			return must(rsa.SignPSS(rand.Reader, k, crypto.SHA256, h.Sum(nil), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		}
		return must(rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, h.Sum(nil)))
	case ed25519.PrivateKey:
		return ed25519.Sign(k, []byte(input))
	}
	r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), h.Sum(nil))
	if err != nil {
		log.Fatal(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

// door is one of the three ways in, with a token that it takes.
type door struct {
	name           string
	header, claims object
	open           func(w *world, raw string) error
}

func (d door) token(changes ...object) string { return sign(ecKey, d.header, d.claims.and(changes...)) }

func asSubject(w *world, raw string) error {
	_, _, err := w.table.Subject(w.t.Context(), raw, agent, token.Confirmation{})
	return err
}

func asGrant(w *world, raw string) error {
	_, _, err := w.table.Grant(w.t.Context(), raw, agent, token.Confirmation{})
	return err
}

func asWorkload(w *world, raw string) error {
	_, _, err := w.table.Workload(w.t.Context(), raw)
	return err
}

var doors = []door{
	{"access token", accessHeader, access, asSubject},
	{"ID-JAG", grantHeader, idJAG, asGrant},
	{"service account", workloadHeader, podToken, asWorkload},
	{"JWT-SVID", workloadHeader, jwtSVID, asWorkload},
}

package gateway_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/token"
)

// keyHolder is who has a DPoP key, and a token that is bound to it.
type keyHolder struct {
	w             *world
	key           *ecdsa.PrivateKey
	bearer, nonce string
}

func (w *world) keyHolder() *keyHolder {
	h := &keyHolder{w: w, key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(w.t)}
	sum := must((&jose.JSONWebKey{Key: h.key.Public()}).Thumbprint(crypto.SHA256))(w.t)
	h.bearer = w.token(tokenSpec{subject: "alice", bound: token.Confirmation{JKT: b64(sum)}})
	return h
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// proof is a good proof for the token, with claims changed.
func (h *keyHolder) proof(changes ...map[string]any) string {
	h.w.t.Helper()
	sum := sha256.Sum256([]byte(h.bearer))
	claims := map[string]any{"jti": rand.Text(), "htm": "POST", "htu": resource, "iat": h.w.now.Now().Unix(), "ath": b64(sum[:]), "nonce": h.nonce}
	for _, c := range changes {
		for name, v := range c {
			claims[name] = v
		}
	}
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: h.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")))(h.w.t)
	signed := must(signer.Sign(must(json.Marshal(claims))(h.w.t)))(h.w.t)
	return must(signed.CompactSerialize())(h.w.t)
}

// send sends initialize with the token as DPoP and the proofs.
func (h *keyHolder) send(bearer string, proofs ...string) reply {
	h.w.t.Helper()
	req := must(http.NewRequest("POST", h.w.url, strings.NewReader(initialize)))(h.w.t)
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"DPoP " + bearer}, "Dpop": proofs}
	return read(h.w.t, must(http.DefaultClient.Do(req))(h.w.t))
}

// ready has the keyHolder be given a nonce.
func (h *keyHolder) ready() *keyHolder {
	h.w.t.Helper()
	r := h.send(h.bearer, h.proof())
	wantChallenge(h.w.t, r, "DPoP", "use_dpop_nonce")
	if h.nonce = r.header.Get("DPoP-Nonce"); h.nonce == "" {
		h.w.t.Fatal("no nonce")
	}
	return h
}

// wantChallenge checks a refusal: Bearer comes first, and the error is in the challenge of
// the scheme that was used.
func wantChallenge(t *testing.T, r reply, scheme, code string) {
	t.Helper()
	c := r.header.Values("WWW-Authenticate")
	if r.status != http.StatusUnauthorized || len(c) != 2 || !strings.HasPrefix(c[0], "Bearer ") || !strings.HasPrefix(c[1], "DPoP ") || !strings.Contains(c[1], `algs="RS256 PS256 ES256 EdDSA"`) ||
		!strings.Contains(c[0], `resource_metadata="`) {
		t.Fatalf("%s with %q", r, c)
	}
	for _, challenge := range c {
		if told := strings.Contains(challenge, `error="`+code+`"`); told != strings.HasPrefix(challenge, scheme+" ") || strings.Contains(challenge, "error=") != told {
			t.Errorf("%s: challenge %s", r, challenge)
		}
	}
}

func TestDPoPBoundTokenIsAdmitted(t *testing.T) {
	w := newWorld(t)
	h := w.keyHolder().ready()
	for _, htu := range []string{resource, resource + "?x=1", "https://mtls.example.com/mcp/mail"} {
		if r := h.send(h.bearer, h.proof(map[string]any{"htu": htu})); r.status != 200 {
			t.Errorf("%s: %s", htu, r)
		}
	}
	for _, e := range w.lines() {
		if e.Kind == audit.Refusal {
			t.Errorf("asking for a nonce was noted as a refusal: %+v", e)
		}
	}
}

// TestStolenDPoPToken: without the key that it is bound to, it is of no use.
func TestStolenDPoPToken(t *testing.T) {
	w := newWorld(t)
	h, thief := w.keyHolder().ready(), w.keyHolder()
	seen := h.proof()
	if r := h.send(h.bearer, seen); r.status != 200 {
		t.Fatal(r)
	}
	thief.bearer, thief.nonce = h.bearer, h.nonce
	wantChallenge(t, w.do("POST", w.url, h.bearer, initialize), "Bearer", "invalid_token")
	wantChallenge(t, w.do("POST", w.url, h.bearer, initialize, "DPoP", h.proof()), "Bearer", "invalid_token") // downgraded
	wantChallenge(t, thief.send(h.bearer, thief.proof()), "DPoP", "invalid_token")
	for name, proofs := range map[string][]string{
		"none": nil, "one that was seen": {seen}, "two": {h.proof(), h.proof()}, "no JWT": {"x"},
		"for another method": {h.proof(map[string]any{"htm": "GET"})}, "for another server of ours": {h.proof(map[string]any{"htu": strings.Replace(resource, "mail", "files", 1)})},
		"for where it was sent": {h.proof(map[string]any{"htu": w.url})}, "for the token endpoint": {h.proof(map[string]any{"htu": issuer + "/oauth2/token"})}, "for no token": {h.proof(map[string]any{"ath": nil})},
		"for another token": {h.proof(map[string]any{"ath": b64(make([]byte, 32))})}, "of ten minutes ago": {h.proof(map[string]any{"iat": w.now.Now().Unix() - 600})},
	} {
		t.Run(name, func(t *testing.T) { wantChallenge(t, h.send(h.bearer, proofs...), "DPoP", "invalid_dpop_proof") })
	}
}

// TestUnboundTokenAsDPoP: a proof by whatever key adds nothing to a bearer token.
func TestUnboundTokenAsDPoP(t *testing.T) {
	w := newWorld(t)
	h := w.keyHolder().ready()
	h.bearer = w.token(tokenSpec{subject: "alice"})
	wantChallenge(t, h.send(h.bearer, h.proof()), "DPoP", "invalid_token")
}

// TestSenderConstrainedServer takes no bearer tokens, and says so.
func TestSenderConstrainedServer(t *testing.T) {
	w := newWorld(t, func(c *gateway.Config) { c.Upstreams[0].SenderConstrained = true })
	r := w.do("POST", w.url, w.token(tokenSpec{subject: "alice"}), initialize)
	wantChallenge(t, r, "Bearer", "invalid_token")
	if !strings.Contains(r.body, "bound to a key") {
		t.Errorf("answer %s", r)
	}
	h := w.keyHolder().ready()
	if r := h.send(h.bearer, h.proof()); r.status != 200 {
		t.Error(r)
	}
}

// A12: TestProofInParallelAdmitsOnce: 32 requests with one proof, on a real store.
func TestProofInParallelAdmitsOnce(t *testing.T) {
	w := newWorld(t)
	h := w.keyHolder().ready()
	proof, replies := h.proof(), make([]reply, 32)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() { replies[i] = h.send(h.bearer, proof) })
	}
	wg.Wait()
	won := 0
	for _, r := range replies {
		if r.status == 200 {
			won++
		}
	}
	if won != 1 {
		t.Errorf("the proof counted %d times", won)
	}
}

// A12: TestProofStoreThatIsDownAdmitsNobody, and costs nobody the token, as 401 would.
func TestProofStoreThatIsDownAdmitsNobody(t *testing.T) {
	w := newWorld(t)
	h := w.keyHolder().ready()
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	r := h.send(h.bearer, h.proof())
	if r.status != http.StatusServiceUnavailable || r.header.Get("WWW-Authenticate") != "" || r.header.Get("Retry-After") == "" || !strings.Contains(r.body, "temporarily_unavailable") {
		t.Errorf("%s with %v", r, r.header)
	}
	if l := w.last(); l.Kind != audit.Refusal || l.Reason != "single_use_unknown" {
		t.Errorf("audit line %+v", l)
	}
}

// TestCertificateBoundToken: RFC 8705 §3: good over a connection with that certificate, and
// no other.
func TestCertificateBoundToken(t *testing.T) {
	w := newWorld(t)
	front := httptest.NewUnstartedServer(w.handler)
	front.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	front.StartTLS()
	t.Cleanup(front.Close)
	cert, other := newCertificate(t), newCertificate(t)
	sum := sha256.Sum256(cert.Certificate[0])
	bearer := w.token(tokenSpec{subject: "alice", bound: token.Confirmation{X5T: b64(sum[:])}})
	connect := func(certs ...tls.Certificate) reply {
		transport := front.Client().Transport.(*http.Transport).Clone()
		defer transport.CloseIdleConnections()
		transport.TLSClientConfig.Certificates = certs
		req := must(http.NewRequest("POST", front.URL+"/mcp/mail", strings.NewReader(initialize)))(t)
		req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + bearer},
			"Client-Cert": {":" + base64.StdEncoding.EncodeToString(cert.Certificate[0]) + ":"}} // from nobody who is trusted
		req.Host = strings.TrimPrefix(w.base, "http://")
		return read(t, must((&http.Client{Transport: transport}).Do(req))(t))
	}
	if r := connect(cert); r.status != 200 {
		t.Errorf("with the certificate: %s", r)
	}
	wantChallenge(t, connect(other), "Bearer", "invalid_token")
	wantChallenge(t, connect(), "Bearer", "invalid_token")
}

func newCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	return tls.Certificate{Certificate: [][]byte{must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)}, PrivateKey: key}
}

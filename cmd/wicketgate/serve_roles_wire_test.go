package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// wire is what lies between the gateway and the authorization server.
type wire struct {
	t       *testing.T
	address string

	mu       sync.Mutex // guards what follows
	listener net.Listener
	to       string // nobody: connections hang
	open     []net.Conn
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{t: t}
	w.mend()
	t.Cleanup(w.cut)
	return w
}

// mend listens, at the same address each time.
func (w *wire) mend() {
	w.t.Helper()
	if w.address == "" {
		w.address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener, w.address = l, l.Addr().String()
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			w.carry(from)
		}
	}()
}

func (w *wire) carry(from net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, from)
	if w.to == "" {
		return
	}
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		from.Close()
		return
	}
	w.open = append(w.open, to)
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
		}()
	}
}

// lead has new connections go there. What is open is cut.
func (w *wire) lead(to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = to
	w.hangUp()
}

// cut ends what is open, and refuses what is new.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener.Close()
	w.hangUp()
}

func (w *wire) hangUp() {
	for _, c := range w.open {
		c.Close()
	}
	w.open = nil
}

// prover is a client with a DPoP key: it proves it with every request, and once more
// with the nonce that it was given, one for each process.
type prover struct {
	http.RoundTripper
	t     *testing.T
	key   *ecdsa.PrivateKey
	token string // that is presented; empty at the token endpoint

	mu     sync.Mutex // guards nonces
	nonces map[bool]string
}

func newProver(t *testing.T, c *http.Client) *prover {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &prover{RoundTripper: c.Transport, t: t, key: key, nonces: map[bool]string{}}
}

func (p *prover) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(orEmpty(r.Body))
	if err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		try := r.Clone(r.Context())
		try.Body = io.NopCloser(bytes.NewReader(body))
		if p.token != "" {
			try.Header.Set("Authorization", "DPoP "+p.token)
		}
		enforces := strings.HasPrefix(r.URL.Path, "/mcp/")
		try.Header.Set("DPoP", p.proof(r, enforces))
		resp, err := p.RoundTripper.RoundTrip(try)
		if err != nil {
			return nil, err
		}
		if nonce := resp.Header.Get("DPoP-Nonce"); nonce != "" {
			p.mu.Lock()
			p.nonces[enforces] = nonce
			p.mu.Unlock()
		}
		if again || resp.Header.Get("DPoP-Nonce") == "" || resp.StatusCode/100 != 4 {
			return resp, nil
		}
		resp.Body.Close()
	}
}

// orEmpty is the body, or an empty one.
func orEmpty(body io.ReadCloser) io.Reader {
	if body == nil {
		return strings.NewReader("")
	}
	return body
}

func (p *prover) proof(r *http.Request, enforces bool) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	claims := map[string]any{"jti": rand.Text(), "htm": r.Method, "htu": r.URL.Scheme + "://" + r.URL.Host + r.URL.Path, "iat": time.Now().Unix()}
	if n := p.nonces[enforces]; n != "" {
		claims["nonce"] = n
	}
	if p.token != "" {
		sum := sha256.Sum256([]byte(p.token))
		claims["ath"] = b64.EncodeToString(sum[:])
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		p.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		p.t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}

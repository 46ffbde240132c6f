// Package dpop checks DPoP proofs (RFC 9449): that whoever sends a request has the
// key that a token is, or shall be, bound to.
//
// A proof counts for one method and one URL of ours, at one time, once, and at a
// resource for one access token. Each needs a nonce of ours, so that none can be made
// in advance (§11.2). The package does NOT know what the key is bound to: that is for
// the authorization server to note, and for package token to compare.
package dpop

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// Headers (RFC 9449 §4.1, §8).
const (
	header      = "DPoP"
	headerNonce = "DPoP-Nonce"
)

// Scheme is the authentication scheme of a token that is bound to the key of a proof
// (RFC 9449 §7.1).
const Scheme = "DPoP"

const (
	typeProof = "dpop+jwt"      // RFC 9449 §4.2
	maxID     = 256             // bytes of a jti
	window    = 5 * time.Minute // by which iat may be off, either way
)

// ErrSpent is what a Once returns for a proof that was seen before.
var ErrSpent = errors.New("used already")

// Once counts each key once, over all replicas, until it expires. It returns ErrSpent;
// any other error is a store that cannot tell.
type Once interface {
	Spend(ctx context.Context, key []string, now, expires time.Time) error
}

// Config is all that a Verifier needs.
type Config struct {
	Sealer Sealer // of nonces: the same on all replicas
	Proofs Once
	Now    func() time.Time
}

// Verifier checks proofs. It is safe for concurrent use.
type Verifier struct{ cfg Config }

// New makes a Verifier.
func New(cfg Config) *Verifier { return &Verifier{cfg} }

// Algs lists the algorithms of proofs, for metadata and challenges.
func Algs() []string { return jws.Algs() }

// Proof is a checked proof, which may have been seen before: Spend tells.
type Proof struct {
	Thumbprint string // jkt of the key; empty: there was no proof

	v        *Verifier
	id       string
	issuedAt int64
}

// claims has iat in whole seconds: what else RFC 7519 §2 would allow, no client sends.
type claims struct {
	ID       string `json:"jti"`
	Method   string `json:"htm"`
	URL      string `json:"htu"`
	IssuedAt int64  `json:"iat"`
	Nonce    string `json:"nonce"`
	Token    string `json:"ath"`
}

// Check holds the proof in the request to RFC 9449 §4.3: for one of urls, which are our
// own names for the endpoint, whatever host the request names, and for the access token,
// if there is one. It puts a nonce into the answer when the client needs another. It
// returns an *oauth.Error, and no error for a request without a proof.
//
// Nothing is spent yet, so that a stranger cannot fill the store with keys that it made up:
// call Spend once the request is known to be somebody's.
func (v *Verifier) Check(r *http.Request, answer http.Header, accessToken string, urls ...string) (Proof, error) {
	values := r.Header.Values(header)
	if len(values) == 0 {
		return Proof{}, nil
	}
	var c claims
	if len(values) > 1 {
		return Proof{}, &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "more than one DPoP header was sent"}
	}
	t, err := jws.ParseWithKey(values[0], &c, typeProof)
	if err != nil {
		return Proof{}, &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "the DPoP header is not one JWT of type dpop+jwt with a public key and an algorithm that the metadata lists", Cause: err}
	}
	if err := v.matches(c, r.Method, urls, accessToken); err != nil {
		return Proof{}, err
	}
	if err := v.checkNonce(c.Nonce, answer); err != nil {
		return Proof{}, err
	}
	thumbprint, err := t.VerifyBrought()
	if err != nil {
		return Proof{}, &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "the signature of the DPoP proof is not by the key in it, or that key is private, weak or for another algorithm", Cause: err}
	}
	return Proof{thumbprint, v, c.ID, c.IssuedAt}, nil
}

// matches holds the claims to the request.
func (v *Verifier) matches(c claims, method string, urls []string, accessToken string) error {
	now := v.cfg.Now().Unix()
	switch {
	case c.ID == "" || len(c.ID) > maxID:
		return &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "jti of the DPoP proof is missing or longer than 256 bytes"}
	case c.Method != method:
		return &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "htm of the DPoP proof is not the method of the request"}
	case !slices.ContainsFunc(urls, func(u string) bool { return sameURL(c.URL, u) }):
		return &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "htu of the DPoP proof is not the URL of this endpoint as the metadata spells it"}
	case c.IssuedAt < now-int64(window/time.Second) || c.IssuedAt > now+int64(window/time.Second):
		return &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "iat of the DPoP proof is missing or more than five minutes off: set the clock"}
	case accessToken != "" && c.Token != hash(accessToken):
		return &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "ath of the DPoP proof is not the hash of the access token"}
	}
	return nil
}

// hash is ath (RFC 9449 §4.2).
func hash(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sameURL compares htu with a URL of ours: without query and fragment, and after what
// of RFC 3986 §6.2.2 and §6.2.3 can be at issue, since no path of ours has an escape or
// a dot segment (RFC 9449 §4.3).
func sameURL(htu, ours string) bool {
	a, errA := url.Parse(htu)
	b, errB := url.Parse(ours)
	return errA == nil && errB == nil && a.User == nil && a.Opaque == "" && a.Host != "" &&
		strings.EqualFold(a.Scheme, b.Scheme) && authority(a) == authority(b) && path(a) == path(b)
}

func authority(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[strings.ToLower(u.Scheme)]
	}
	return host + " " + port
}

func path(u *url.URL) string {
	if u.EscapedPath() == "" {
		return "/"
	}
	return u.EscapedPath()
}

// Spend makes the proof count, once over all replicas, for longer than any of their
// clocks would take it. It returns an *oauth.Error for one that was used before; any
// other error is a store that cannot tell. It does nothing where there was none.
func (p Proof) Spend(ctx context.Context) error {
	if p.Thumbprint == "" {
		return nil
	}
	until := time.Unix(p.issuedAt, 0).Add(2 * window)
	err := p.v.cfg.Proofs.Spend(ctx, []string{p.Thumbprint, p.id}, p.v.cfg.Now(), until)
	if errors.Is(err, ErrSpent) {
		return &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "the DPoP proof was used before: make one for each request", Cause: err}
	}
	return err
}

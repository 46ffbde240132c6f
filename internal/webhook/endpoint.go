package webhook

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Secrets are symmetric keys of 24 to 64 bytes, written as whsec_ and their base64
// (Standard Webhooks 1.0, "Signature scheme").
const (
	secretPrefix = "whsec_"
	minSecret    = 24
	maxSecret    = 64
)

// Endpoint is where messages go, with the keys that sign them. Only ParseEndpoint makes one.
type Endpoint struct {
	url  *url.URL
	keys []*standardwebhooks.Webhook
}

// ParseEndpoint checks a URL, which is https, or http on this machine, and the secrets, one
// in a line. All of them sign, so that a receiver can change from one to the next. Its
// errors hold neither a secret nor more of the URL than its host.
func ParseEndpoint(raw, secrets string) (Endpoint, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return Endpoint{}, errors.New("it is not an https URL without user information: write for example https://chat.example.com/hooks/approvals")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return Endpoint{}, fmt.Errorf("%s is http on another machine: whoever is on the way reads what calls wait for; write https", u.Host)
	}
	e := Endpoint{url: u}
	for line := range strings.Lines(secrets) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		key, err := parseSecret(line)
		if err != nil {
			return Endpoint{}, err
		}
		e.keys = append(e.keys, key)
	}
	if len(e.keys) == 0 {
		return Endpoint{}, errBadSecret
	}
	return e, nil
}

var errBadSecret = fmt.Errorf(`a secret is %s and the base64 of %d to %d random bytes: echo "%s$(openssl rand -base64 32)" makes one`, secretPrefix, minSecret, maxSecret, secretPrefix)

func parseSecret(s string) (*standardwebhooks.Webhook, error) {
	text, ok := strings.CutPrefix(s, secretPrefix)
	raw, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(raw) < minSecret || len(raw) > maxSecret {
		return nil, errBadSecret
	}
	return standardwebhooks.NewWebhookRaw(raw)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// ID names the endpoint in the store: the path of its URL may be a secret.
func (e Endpoint) ID() string {
	sum := sha256.Sum256([]byte(e.url.String()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Host names the endpoint for people, in logs and metrics.
func (e Endpoint) Host() string { return e.url.Host }

// sign puts the three headers, as of now, into h.
func (e Endpoint) sign(h http.Header, m Message, now time.Time) error {
	var all []string
	for _, key := range e.keys {
		signature, err := key.Sign(m.ID, now, m.Body)
		if err != nil {
			return err
		}
		all = append(all, signature)
	}
	h.Set(standardwebhooks.HeaderWebhookID, m.ID)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	h.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(all, " "))
	return nil
}

// Package opaclient asks an OPA elsewhere for decisions, by its data API, and downloads
// bundles from a server of OPA's bundles.
//
// It does not know what is asked or answered (package policies has), and does NOT keep
// answers, ask again, follow redirects or use a proxy: what gives no answer in time denies.
package opaclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/policies"
)

// maxAnswer bounds what is read of a decision.
const maxAnswer = 1 << 20

// errRedirect ends a request: who was asked is who must answer.
var errRedirect = errors.New("redirects are not followed")

// Config is where an OPA is.
type Config struct {
	URL       *url.URL       // of CheckURL
	TokenFile string         // with the bearer token, read for each request; empty: none
	CAs       *x509.CertPool // nil: those of the system
}

// CheckURL parses the URL of an OPA, or of a bundle: https, or http to this machine.
func CheckURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("write an https URL without user information, query and fragment")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("http is for this machine alone, because whoever is on the way could answer: write https")
	}
	return u, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// client sends requests to one place.
type client struct {
	http      *http.Client
	tokenFile string
}

func newClient(cfg Config) client {
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: cfg.CAs, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10, DialContext: dial(cfg.URL.Scheme == "http")}
	return client{&http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect }}, cfg.TokenFile}
}

// dial refuses plain HTTP to another machine, whatever localhost is in a hosts file.
func dial(local bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if local && !thisMachine(c.RemoteAddr()) {
			return nil, errors.Join(errors.New("http, and not this machine"), c.Close())
		}
		return c, nil
	}
}

func thisMachine(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// send adds the bearer token.
func (c client) send(req *http.Request) (*http.Response, error) {
	if c.tokenFile != "" {
		b, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read bearer token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(b)))
	}
	return c.http.Do(req)
}

// Client asks one OPA.
type Client struct {
	client
	decision string // URL
}

// New makes a Client, which connects when it is first asked.
func New(cfg Config) *Client {
	u := cfg.URL.JoinPath("v1", "data", "wicketgate", "access", "decision")
	u.RawQuery = "provenance=true"
	return &Client{newClient(cfg), u.String()}
}

// Ask implements policies.OPA.
func (c *Client) Ask(ctx context.Context, document []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.decision, bytes.NewReader(document))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	// A question changes nothing: one that met a connection which was being closed is sent
	// on another one. The empty list is not sent, see http.Transport.
	req.Header["Idempotency-Key"] = nil
	resp, err := c.send(req)
	if err != nil {
		return nil, refused(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, &policies.OPAError{Reason: policies.ReasonOPAStatus, Err: fmt.Errorf("OPA answered %s", resp.Status)}
	case err != nil:
		return nil, refused(err)
	case len(body) > maxAnswer:
		return nil, &policies.OPAError{Reason: policies.ReasonMalformed, Err: fmt.Errorf("OPA's answer has more than %d bytes", maxAnswer)}
	}
	return body, nil
}

func refused(err error) error {
	reason := policies.ReasonOPAUnreachable
	if errors.Is(err, errRedirect) {
		reason = policies.ReasonOPARedirect
	}
	return &policies.OPAError{Reason: reason, Err: err}
}

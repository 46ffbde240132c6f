package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	defaultTimeout = 5 * time.Second
	maxAnswer      = 1 << 20 // bytes of an answer
	maxConnections = 64      // at once
)

// Client speaks with one Vault. It reads no environment variable, follows no redirect, and
// sends nothing twice. It is safe for concurrent use.
//
// It is NOT an api.Client, of which it has only the form of the answers: that one takes
// its address, token, proxy and trust from some twenty variables of the environment, sends
// again what failed (a GET of database/creds makes a second user), follows redirects with
// the token, and has one token for all.
type Client struct {
	cfg    Config
	base   *url.URL
	kept   *http.Transport // its connections are kept
	fresh  *http.Transport // a connection for each request, for what Vault asks of the certificate
	cancel context.CancelFunc
	closed context.Context
}

// New makes a Client, which connects when it is first asked.
func New(cfg Config) (*Client, error) {
	base, err := parseAddress(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("vault: address %q: %w", cfg.Address, err)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	c := &Client{cfg: cfg, base: base, kept: transport(cfg, base), fresh: transport(cfg, base)}
	c.fresh.DisableKeepAlives = true
	c.closed, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// parseAddress takes https, and http to this machine.
func parseAddress(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Hostname() == "", u.User != nil, strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.Fragment != "", u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("write https://HOST:PORT")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("http is for this machine alone, because whoever is on the way could read secrets: write https")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// transport speaks HTTP/1.1: with one connection for all, one that leads nowhere any more
// would be used until the kernel gives it up, a quarter of an hour later.
func transport(cfg Config, base *url.URL) *http.Transport {
	conf := &tls.Config{RootCAs: cfg.CAs, MinVersion: tls.VersionTLS12}
	if cfg.Certificate != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cfg.Certificate() }
	}
	return &http.Transport{
		TLSClientConfig:        conf,
		DialContext:            dial(base.Scheme == "http"),
		MaxConnsPerHost:        maxConnections,
		MaxIdleConnsPerHost:    maxConnections,
		IdleConnTimeout:        30 * time.Second, // before anything on the way gives it up
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // what is read is bounded before it is unpacked
	}
}

// dial refuses plain HTTP to another machine, whatever localhost is in a hosts file.
func dial(local bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if local && !thisMachine(conn.RemoteAddr()) {
			return nil, errors.Join(errors.New("http, and not this machine"), conn.Close())
		}
		return conn, nil
	}
}

func thisMachine(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// Close ends what is under way, and every connection.
func (c *Client) Close() {
	c.cancel()
	c.kept.CloseIdleConnections()
	c.fresh.CloseIdleConnections()
}

// request is one request to Vault.
type request struct {
	what    string // for errors: read database/creds/x
	method  string
	path    string // below /v1/
	query   url.Values
	body    any
	token   Token
	login   bool            // its refusal is LoggedOut
	fresh   bool            // on a connection of its own
	global  bool            // not of a namespace
	secrets func() []string // of the body: no error has them; nil: none
}

// do sends a request once. The answer is nil where there is none.
func (c *Client) do(ctx context.Context, r request) (*api.Secret, error) {
	status, body, err := c.exchange(ctx, r)
	if err != nil {
		return nil, err
	}
	secret, err := r.parse(body)
	// KV answers 404 for a version that was deleted, with what it was.
	if gone := status == http.StatusNotFound && err == nil && secret != nil && len(secret.Data) > 0; status/100 != 2 && !gone {
		return nil, r.refused(status, body)
	}
	return secret, err
}

// parse reads an answer. Why it is none is not told: the words could be of a secret.
func (r request) parse(body []byte) (*api.Secret, error) {
	secret, err := api.ParseSecret(bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Malformed, r.what, errors.New("the answer is not Vault's JSON")}
	}
	return secret, nil
}

// exchange returns what was answered, whatever it is.
func (c *Client) exchange(ctx context.Context, r request) (int, []byte, error) {
	req, err := c.request(r)
	if err != nil {
		return 0, nil, &Error{Refused, r.what, err}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(c.closed, cancel)()
	through := c.kept
	if r.fresh {
		through = c.fresh
	}
	resp, err := through.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return 0, nil, r.unanswered(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, nil, r.unanswered(ctx, err)
	case len(body) > maxAnswer:
		return 0, nil, &Error{Malformed, r.what, fmt.Errorf("the answer has more than %d bytes", maxAnswer)}
	case resp.StatusCode/100 == 3:
		return 0, nil, r.redirected(resp)
	}
	return resp.StatusCode, body, nil
}

// request makes the request of net/http.
func (c *Client) request(r request) (*http.Request, error) {
	if err := checkPath(r.path); err != nil {
		return nil, err
	}
	body, err := r.reader()
	if err != nil {
		return nil, err
	}
	u := *c.base
	u.Path, u.RawQuery = "/v1/"+r.path, r.query.Encode()
	req, err := http.NewRequest(r.method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set(api.RequestHeaderName, "true")
	if c.cfg.Namespace != "" && !r.global {
		req.Header.Set(api.NamespaceHeaderName, c.cfg.Namespace)
	}
	if !r.token.IsZero() {
		req.Header.Set(api.AuthHeaderName, r.token.s)
	}
	return req, nil
}

// reader is the body to send. A GET has an empty one that nobody can read twice: else
// net/http sends it again when a kept connection breaks, and there are two users then.
func (r request) reader() (io.Reader, error) {
	switch {
	case r.method == http.MethodGet:
		return io.NopCloser(strings.NewReader("")), nil
	case r.body == nil:
		return http.NoBody, nil
	}
	b, err := json.Marshal(r.body)
	if err != nil {
		return nil, errors.New("what is to be sent cannot be written as JSON")
	}
	return bytes.NewReader(b), nil
}

// checkPath refuses what would be another path than was written: Vault and what is before
// it may clean a path.
func checkPath(path string) error {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return errors.New("the path has a segment that is empty or of dots alone")
		}
	}
	for _, c := range path {
		if c < 0x20 || c == 0x7f || c == '\\' || c == '%' {
			return errors.New(`the path has a control character, \ or %`)
		}
	}
	return nil
}

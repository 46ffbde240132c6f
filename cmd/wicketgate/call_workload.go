package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/spiffe"
)

// Kinds of SVID, for --svid.
const (
	svidX509 = "x509"
	svidJWT  = "jwt"
)

// identityWithin is how long an identity may take: agents learn of a new registration
// entry within five seconds.
const identityWithin = 10 * time.Second

// workload is who we are, and how we reach a server.
type workload struct {
	source *spiffe.Source
	id     string            // our SPIFFE ID
	server identity.SPIFFEID // that of the server, zero where it proves its name by Web PKI
	log    *slog.Logger

	public *http.Client // for what everybody may read
	proved *http.Client // for tokens
	mutual *http.Client // for tokens, with our X.509-SVID
}

// workload takes our identity from the Workload API.
func (f callFlags) workload(ctx context.Context, log *slog.Logger) (*workload, error) {
	cfg := spiffe.Config{WorkloadAPI: f.workloadAPI, Log: log, Now: time.Now}
	if cfg.WorkloadAPI == "" {
		cfg.WorkloadAPI = os.Getenv(workloadapi.SocketEnv)
	}
	if cfg.WorkloadAPI == "" {
		return nil, fmt.Errorf("where is the Workload API? Set %s or --workload-api, for example to unix:///run/spire/agent/api.sock", workloadapi.SocketEnv)
	}
	w := &workload{log: log}
	if f.serverID != "" {
		var err error
		if w.server, err = identity.ParseSPIFFEID(f.serverID); err != nil {
			return nil, fmt.Errorf("--server-spiffe-id %s: %w", shown(f.serverID), err)
		}
		cfg.Domains = []spiffe.Domain{{Name: w.server.TrustDomain()}}
	}
	if path, ok := strings.CutPrefix(cfg.WorkloadAPI, "unix://"); ok {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no socket of a Workload API at %s: does the SPIRE agent run, and is its socket mounted here?", path)
		}
	}
	var err error
	if w.source, err = spiffe.New(cfg); err != nil {
		return nil, err
	}
	if err := w.arrive(ctx); err != nil {
		return nil, errors.Join(err, w.source.Close())
	}
	w.public, w.proved, w.mutual = w.clients()
	return w, nil
}

// arrive waits for our identity.
func (w *workload) arrive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, identityWithin)
	defer cancel()
	err := w.source.Wait(ctx)
	switch {
	case errors.Is(err, spiffe.ErrNoIdentity):
		return fmt.Errorf("no identity was issued to this process (uid %d): add a registration entry whose selectors it has, for example by spire-server entry create -selector unix:uid:%d, and try again: %w", os.Getuid(), os.Getuid(), err)
	case err != nil:
		return fmt.Errorf("no identity came from the Workload API: %w", err)
	}
	own, err := w.source.Own()
	if err != nil {
		return err
	}
	w.id = own.ID.String()
	return nil
}

// clients makes the HTTP clients.
//
// Authorization servers prove themselves by Web PKI, as
// draft-ietf-oauth-spiffe-client-auth-02 has it, unless the SPIFFE ID was said: then every
// connection that carries a token or an SVID is to that workload, and Web PKI counts for
// public documents only, as a listener for browsers has no SVID.
func (w *workload) clients() (public, proved, mutual *http.Client) {
	webPKI := http.DefaultTransport.(*http.Transport).Clone()
	if w.server == (identity.SPIFFEID{}) {
		withSVID := webPKI.Clone()
		withSVID.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetClientCertificate: w.source.ClientCertificate}
		return direct(webPKI), direct(webPKI), direct(withSVID)
	}
	strict := w.source.Transport(webPKI, w.server)
	return direct(publicly{w, webPKI}), direct(strict), direct(strict)
}

// direct follows no redirect: what we send is for who was asked.
func direct(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// publicly reads what everybody may: from the workload that was said, or from a server
// that has no SVID, and proves its name by Web PKI. It is one handshake, as operators are
// warned of each that fails.
type publicly struct {
	w    *workload
	base *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (p publicly) RoundTrip(r *http.Request) (*http.Response, error) {
	t := p.base.Clone()
	t.DisableKeepAlives = true
	t.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(c tls.ConnectionState) error {
			err := p.w.source.VerifyServer(c.PeerCertificates, p.w.server)
			if errors.Is(err, spiffe.ErrNoSVID) {
				return byWebPKI(c.PeerCertificates, r.URL.Hostname())
			}
			return err
		},
	}
	return t.RoundTrip(r)
}

// byWebPKI is what crypto/tls does by itself. The name is not that of the connection's
// state, which is empty for an IP address.
func byWebPKI(chain []*x509.Certificate, name string) error {
	opts := x509.VerifyOptions{DNSName: name, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(opts)
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%w; %s", err, ownAuthority)
	}
	return err
}

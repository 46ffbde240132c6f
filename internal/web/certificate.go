package web

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// maxForwardedCertificate bounds the header, bytes.
const maxForwardedCertificate = 16 << 10

type chainKey struct{}

// ClientCertificate is the certificate that the client proved to have the key of,
// when it connected to us or to the proxy whose word counts; nil: none. Who signed
// it has not been looked at.
func ClientCertificate(r *http.Request) *x509.Certificate {
	if chain := ClientChain(r); len(chain) > 0 {
		return chain[0]
	}
	return nil
}

// ClientChain is ClientCertificate with the further certificates that the client
// sent, which prove nothing and may help to find an authority. A proxy forwards none.
func ClientChain(r *http.Request) []*x509.Certificate {
	if chain, ok := r.Context().Value(chainKey{}).([]*x509.Certificate); ok { // of a proxy: r.TLS is its own
		return chain
	}
	if r.TLS == nil {
		return nil
	}
	return r.TLS.PeerCertificates
}

// ViaProxy reports whether the request came from a proxy whose word counts, so that
// ClientChain is nothing that was proved to us.
func ViaProxy(r *http.Request) bool {
	_, ok := r.Context().Value(chainKey{}).([]*x509.Certificate)
	return ok
}

// ClientThumbprint is the base64url SHA-256 of ClientCertificate, as tokens are bound to
// it (RFC 8705 §3.1); "" without one.
func ClientThumbprint(r *http.Request) string {
	cert := ClientCertificate(r)
	if cert == nil {
		return ""
	}
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// takeCertificate returns the request without any header that could pass for a
// client's certificate, and where it comes from a proxy, with what that says.
func (p Proxies) takeCertificate(r *http.Request, trusted bool) (*http.Request, error) {
	var chain []*x509.Certificate
	if trusted {
		if p.ClientCertificate != "" {
			cert, err := parseForwarded(r.Header.Values(p.ClientCertificate))
			if err != nil {
				return r, err
			}
			if cert != nil {
				chain = []*x509.Certificate{cert}
			}
		}
		r = r.WithContext(context.WithValue(r.Context(), chainKey{}, chain))
	}
	return without(r, p.ClientCertificate, "Client-Cert", "Client-Cert-Chain"), nil // RFC 9440 §2.2, §2.3
}

// without returns r, or where it has one of the headers, a copy that has none: the
// server's own must not change.
func without(r *http.Request, names ...string) *http.Request {
	changed := r
	for _, name := range names {
		if len(r.Header.Values(name)) == 0 {
			continue
		}
		if changed == r {
			changed = r.WithContext(r.Context())
			changed.Header = r.Header.Clone()
		}
		changed.Header.Del(name)
	}
	return changed
}

// parseForwarded reads a forwarded certificate: that of RFC 9440 §2.2, or a PEM
// block that is escaped as for a URL, which nginx calls $ssl_client_escaped_cert.
// No header, or an empty one, is a client without a certificate.
func parseForwarded(values []string) (*x509.Certificate, error) {
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return nil, nil
	}
	if len(values) > 1 || len(values[0]) > maxForwardedCertificate {
		return nil, errors.New("several certificates, or too long a one")
	}
	der, err := decodeForwarded(values[0])
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse forwarded certificate: %w", err)
	}
	return cert, nil
}

func decodeForwarded(s string) ([]byte, error) {
	if inner, ok := strings.CutPrefix(s, ":"); ok {
		inner, ok = strings.CutSuffix(inner, ":")
		if !ok {
			return nil, errors.New("decode forwarded certificate: no colon at the end")
		}
		return base64.StdEncoding.Strict().DecodeString(inner)
	}
	text, err := url.PathUnescape(s) // not QueryUnescape: a plus is a plus
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" || !strings.HasPrefix(text, "-----BEGIN ") {
		return nil, errors.New("decode forwarded certificate: not one PEM block")
	}
	return block.Bytes, nil
}

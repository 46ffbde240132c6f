package oidc

import (
	"net/http"
	"time"
)

const (
	timeout    = 10 * time.Second // of a request to the IdP, its body included
	maxBody    = 256 << 10        // bytes of an answer of the IdP
	maxHeaders = 64 << 10         // bytes of its headers, where the transport is ours
)

// restrict makes the client for all requests to the IdP. It follows no redirect: a
// redirect of the token endpoint would carry code and secret elsewhere, and no
// other endpoint has one to make (OpenID Connect Discovery 1.0 §4.2 wants 200).
func restrict(c *http.Client) *http.Client {
	r := &http.Client{Timeout: timeout, CheckRedirect: stay}
	var transport http.RoundTripper
	if c != nil {
		transport = c.Transport
		if c.Timeout > 0 && c.Timeout < timeout {
			r.Timeout = c.Timeout
		}
	}
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxResponseHeaderBytes = maxHeaders
		transport = t
	}
	r.Transport = bounded{transport}
	return r
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// bounded fails the reading of a body that is longer than maxBody.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxBody)
	return resp, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/metadata"
)

const maxDocument = 1 << 20 // bytes, of what a server answers that is no result

// target is what somebody wants to call.
type target struct {
	resource string // as the server spells it
	issuer   string // "": nobody named one, and the resource may
}

// target makes the resource of a server's name or URL.
func (f callFlags) target(server string) (target, error) {
	to := target{issuer: f.issuer}
	if to.issuer == "" {
		to.issuer = os.Getenv(issuerEnv)
	}
	if strings.Contains(server, "://") {
		to.resource = server
		if to.issuer == "" && f.subject != "" { // or any server could send us anywhere with it
			return to, errors.New("--subject-token-file: say by --issuer which authorization server may see the person's token")
		}
		_, err := safeURL("SERVER", server)
		return to, err
	}
	if to.issuer == "" {
		to.issuer = issuerOfDev
	}
	u, err := safeURL("--issuer", to.issuer)
	if err == nil && u.Scheme+"://"+u.Host != to.issuer {
		err = fmt.Errorf("--issuer %s: leave out path, query and trailing slash, or give the server's whole URL instead of its name", shown(to.issuer))
	}
	to.resource = to.issuer + "/mcp/" + url.PathEscape(server)
	return to, err
}

// safeURL refuses URLs where tokens would cross a network in the clear. what says whose
// it is.
func safeURL(what, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%s %s is no https URL", what, shown(raw))
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("%s %s: tokens would cross the network in the clear; only on this machine may it be http", what, shown(raw))
	}
	return u, nil
}

// route is where a workload gets its token, and where it presents it.
type route struct {
	issuer, resource string
	method           string // by which SVID, as in the metadata
	tokenEndpoint    string // URL
	mcp              string // URL
	client           *http.Client
}

// find discovers the route: the protected resource's metadata (RFC 9728 §3) and that of
// its authorization server (RFC 8414 §3). What they say is public, and leads nowhere
// but to who proves itself once more, for what is sent there.
func (w *workload) find(ctx context.Context, to target, svid string) (route, error) {
	var resource metadata.ProtectedResource
	at, err := w.document(ctx, to.resource, "oauth-protected-resource", &resource)
	switch {
	case errors.Is(err, errNoDocument):
		return route{}, fmt.Errorf("there is no such server: %w", err)
	case err != nil:
		return route{}, err
	case resource.Resource != to.resource: // RFC 9728 §3.3
		return route{}, fmt.Errorf("%s describes %s, not %s: name it as it spells itself", at, shown(resource.Resource), shown(to.resource))
	}
	if to.issuer == "" && len(resource.AuthorizationServers) > 0 {
		to.issuer = resource.AuthorizationServers[0]
	}
	if !slices.Contains(resource.AuthorizationServers, to.issuer) {
		return route{}, fmt.Errorf("%s takes no tokens of --issuer %s: its authorization servers are %+q", to.resource, shown(to.issuer), resource.AuthorizationServers)
	}
	var as metadata.AuthorizationServer
	at, err = w.document(ctx, to.issuer, "oauth-authorization-server", &as)
	switch {
	case err != nil:
		return route{}, err
	case as.Issuer != to.issuer: // RFC 8414 §3.3
		return route{}, fmt.Errorf("%s is of the issuer %s, not of %s", at, shown(as.Issuer), shown(to.issuer))
	}
	return w.choose(to, as, svid)
}

var errNoDocument = errors.New("answers with HTTP 404")

// document reads a metadata document of an identifier.
func (w *workload) document(ctx context.Context, of, name string, into any) (at string, err error) {
	u, err := safeURL(name, of)
	if err != nil {
		return "", err
	}
	at = wellKnown(u, name)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return at, err
	}
	status, body, err := do(w.public, req)
	switch {
	case err != nil:
		return at, err
	case status == http.StatusNotFound:
		return at, fmt.Errorf("%s %w", at, errNoDocument)
	case status == http.StatusMisdirectedRequest: // RFC 9110 §15.5.20
		return at, fmt.Errorf("%s answers with HTTP 421: it goes by another name, which --issuer has to be", at)
	case status == http.StatusBadRequest && u.Scheme == "http":
		return at, fmt.Errorf("%s answers with HTTP 400: is it https?", at)
	case status != http.StatusOK:
		return at, fmt.Errorf("%s answers with HTTP %d", at, status)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return at, fmt.Errorf("%s: %w", at, err)
	}
	return at, nil
}

// wellKnown is where the document is: at a path before the identifier's own (RFC 9728
// §3.1, RFC 8414 §3.1).
func wellKnown(u *url.URL, name string) string {
	at := u.Scheme + "://" + u.Host + "/.well-known/" + name
	if path := u.EscapedPath(); path != "/" {
		at += path
	}
	if u.RawQuery != "" {
		at += "?" + u.RawQuery
	}
	return at
}

// do sends a request and reads the answer.
func do(client *http.Client, req *http.Request) (status int, body []byte, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err == nil && len(body) > maxDocument {
		err = fmt.Errorf("%s answers with more than %d bytes", req.URL, maxDocument)
	}
	return resp.StatusCode, body, err
}

// choose picks the SVID, and with it where to go: to the aliases for mutual TLS, if the
// server has any (RFC 8705 §5).
func (w *workload) choose(to target, as metadata.AuthorizationServer, svid string) (route, error) {
	r := route{issuer: to.issuer, resource: to.resource, method: oauth.AuthSPIFFEJWT, tokenEndpoint: as.TokenEndpoint, mcp: to.resource, client: w.proved}
	alias := as.MTLSAliases != nil && as.MTLSAliases.TokenEndpoint != ""
	if svid == svidX509 || svid == "" && alias && slices.Contains(as.TokenAuthMethods, oauth.AuthSPIFFEX509) {
		r.method, r.client = oauth.AuthSPIFFEX509, w.mutual
	}
	if !slices.Contains(as.TokenAuthMethods, r.method) {
		return route{}, fmt.Errorf("%s does not take %s: its methods are %+q; an operator adds spiffe with the trust domain of %s, and mutual_tls for X.509-SVIDs", r.issuer, r.method, as.TokenAuthMethods, w.id)
	}
	if alias && r.method == oauth.AuthSPIFFEX509 {
		r.tokenEndpoint = as.MTLSAliases.TokenEndpoint
		r.mcp = r.overMutualTLS()
	}
	return r, w.check(r)
}

// overMutualTLS is the resource at the mutual TLS endpoints of the server that issues
// the token: the token may be bound to our certificate, and is then good only over
// connections that show it (RFC 8705 §3). The listener elsewhere asks for none.
func (r route) overMutualTLS() string {
	at, err := url.Parse(r.tokenEndpoint)
	path, same := strings.CutPrefix(r.resource, r.issuer+"/")
	if err != nil || !same {
		return r.resource
	}
	return at.Scheme + "://" + at.Host + "/" + path
}

// check refuses to send tokens in the clear, or to who has not proved to be the server.
func (w *workload) check(r route) error {
	token, err := safeURL("token_endpoint", r.tokenEndpoint)
	if err != nil {
		return err
	}
	mcp, err := safeURL("SERVER", r.mcp)
	switch {
	case err != nil:
		return err
	case token.Scheme == "http" && r.method == oauth.AuthSPIFFEX509:
		return fmt.Errorf("%s is plain http, and an X.509-SVID is for mutual TLS: an operator adds mutual_tls, or use --svid jwt", r.tokenEndpoint)
	case token.Scheme+mcp.Scheme != "httpshttps" && w.server != identity.SPIFFEID{}:
		return fmt.Errorf("%s or %s is plain http, where nobody proves to be %s: use --svid x509, or leave --server-spiffe-id out", r.tokenEndpoint, r.mcp, w.server)
	}
	return nil
}

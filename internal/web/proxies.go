package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// Proxies says whose word counts for where a request came from. The zero value
// trusts nobody and serves everybody.
type Proxies struct {
	Addresses []netip.Prefix // of the proxies
	Header    string         // lists the addresses that a request was forwarded for, the nearest last
	// ClientCertificate is the header in which the proxies say what certificate the
	// client connected to them with (RFC 9440, or $ssl_client_escaped_cert of nginx); they
	// must remove what a client puts there. Empty: none says so.
	ClientCertificate string

	Only    bool                                 // refuse what comes from anybody else: plain HTTP that others could reach
	Refused func(r *http.Request, reason string) // told of each refusal, for the audit log; may be nil
}

// Wrap gives h requests whose RemoteAddr, and so Source, is the client's: the
// last forwarded address that is no proxy of ours. What stands left of it was
// written by somebody whom nobody vouches for. From an address that is not listed
// no header is read at all. A forwarded certificate never reaches h as a header, and
// the one of a proxy's own connection is not the client's: see [ClientCertificate].
func (p Proxies) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, ok := parseAddr(r.RemoteAddr)
		trusted := ok && p.trusts(peer)
		if p.Only && !trusted && r.TLS == nil {
			p.refuse(w, r, "peer", http.StatusForbidden, "this listener is for the proxy in front of it")
			return
		}
		r, err := p.takeCertificate(r, trusted)
		if err != nil {
			p.refuse(w, r, "certificate", http.StatusBadRequest, "the proxy forwarded a malformed client certificate, or more than one")
			return
		}
		if trusted {
			r = r.WithContext(r.Context()) // a copy: the server's own must not change
			r.RemoteAddr = net.JoinHostPort(p.client(peer, r.Header.Values(p.Header)).String(), "0")
		}
		h.ServeHTTP(w, r)
	})
}

func (p Proxies) refuse(w http.ResponseWriter, r *http.Request, reason string, status int, description string) {
	if p.Refused != nil {
		p.Refused(r, reason)
	}
	_ = WriteJSON(w, status, &oauth.Error{Code: oauth.InvalidRequest, Description: description})
}

// client walks the forwarded addresses from the nearest hop outwards, as far as
// each hop is one of ours; an entry that is no address ends the walk.
func (p Proxies) client(peer netip.Addr, forwarded []string) netip.Addr {
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, ok := parseAddr(strings.TrimSpace(hop))
		if !ok {
			return peer
		}
		if peer = addr; !p.trusts(addr) {
			return peer
		}
	}
	return peer
}

func (p Proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.Addresses, func(n netip.Prefix) bool { return n.Contains(a) })
}

// parseAddr reads an address with or without a port.
func parseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}

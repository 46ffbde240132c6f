package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/web"
)

const (
	maxConfig = 1 << 20 // bytes of wicketgate.yaml
	minSecret = 43      // characters: 32 bytes in base64
)

// settings is a configuration that was checked, with what its files say.
type settings struct {
	Config
	house       houseConfig
	proxies     web.Proxies
	certificate *certificate // nil: plain HTTP
	notes       []string     // what an operator should know before it starts
}

// configCheck fills in settings from a Config, and notes what is wrong with it.
type configCheck struct {
	*document
	dir   string // relative files are below
	asked role   // what it is read for
	s     *settings
}

// loadConfig reads and checks wicketgate.yaml and the files that it names. It
// changes nothing. Its error has a line for each mistake.
func loadConfig(ctx context.Context, path string, r role) (*settings, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(b) > maxConfig {
		return nil, fmt.Errorf("read configuration: %s has more than %d bytes", path, maxConfig)
	}
	c := configCheck{&document{file: path}, filepath.Dir(path), r, &settings{}}
	c.read(b, &c.s.Config)
	if c.nodes[""] != nil {
		c.check(ctx)
	}
	return c.s, c.err()
}

func (c configCheck) check(ctx context.Context) {
	s := c.s
	origin := c.issuer()
	c.trusted()
	c.listeners(origin)
	c.spiffe()
	c.role()
	c.tls(origin)
	c.store()
	c.folder()
	c.vault(origin)
	c.keysInVault()
	c.servers(origin)
	c.downstream()
	c.clients()
	c.workloads()
	c.gateways()
	c.trustedIssuers()
	c.certificates()
	c.login()
	c.registration()
	c.ages()
	c.origins()
	c.lifetimes()
	c.approvals()
	c.policy(ctx)
	if s.Trust == "approve" && len(s.Servers) > 0 {
		s.notes = append(s.notes, "trust is approve: nobody sees a tool that no operator has approved (wicketgate tools); trust: first-use takes the first definition seen")
	}
	s.house.TrustFirstUse = s.Trust == "first-use"
	s.house.NoConsole = !s.Console.Enabled
}

// file is the path of a file that the configuration names.
func (c configCheck) file(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

func (c configCheck) note(format string, args ...any) {
	c.s.notes = append(c.s.notes, fmt.Sprintf(format, args...))
}

// issuer returns the parsed issuer, nil if it is wrong.
func (c configCheck) issuer() *url.URL {
	raw := c.s.Issuer
	if !c.good("issuer") {
		return nil
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Opaque != "":
		c.refuse("issuer", "issuer is %s: write an absolute URL, for example https://mcp.example.com", shown(raw))
	case u.Path != "" || strings.ContainsAny(raw, "?#"):
		c.refuse("issuer", "issuer is %s: leave out path, query and trailing slash: %s://%s", shown(raw), u.Scheme, u.Host)
	case raw != strings.ToLower(raw) || raw != u.String() || strings.HasSuffix(u.Host, ":") || u.Port() == map[string]string{"https": "443", "http": "80"}[u.Scheme]:
		c.refuse("issuer", "issuer is %s: write it as browsers do, in lower case and without a default port", shown(raw))
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.refuse("issuer", "issuer is %s: tokens would cross the network in the clear; write https://%s", shown(raw), u.Host)
	default:
		c.s.house.Issuer = raw
		return u
	}
	return nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// trusted reads the addresses of the proxies.
func (c configCheck) trusted() {
	p := c.s.TrustedProxies
	if p == nil {
		return
	}
	c.s.proxies.Header = p.Header
	if strings.EqualFold(p.Header, "Forwarded") {
		c.refuse("trusted_proxies.header", "the Forwarded header of RFC 7239 is not read: have the proxy set X-Forwarded-For")
	}
	if len(p.Addresses) == 0 {
		c.refuse("trusted_proxies.addresses", "trusted_proxies.addresses is empty: list the proxies, or remove trusted_proxies")
	}
	for i, s := range p.Addresses {
		at := fmt.Sprintf("trusted_proxies.addresses[%d]", i)
		n, err := parsePrefix(s)
		switch {
		case err != nil:
			c.refuse(at, "%s is %s: write an IP address or a network like 10.1.2.0/24", at, shown(s))
		case n.Addr() != n.Masked().Addr():
			c.refuse(at, "%s is %s: the network is %s", at, shown(s), n.Masked())
		case n.Addr().Is4() && n.Bits() < 8 || n.Addr().Is6() && n.Bits() < 16:
			c.refuse(at, "%s is %s: that trusts half the world to say where requests come from; list the proxies", at, shown(s))
		default:
			c.s.proxies.Addresses = append(c.s.proxies.Addresses, n)
		}
	}
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return a.Prefix(a.BitLen())
	}
	return netip.ParsePrefix(s)
}

// listeners holds the addresses against what protects them: what other machines
// reach is TLS, or for a proxy that does TLS.
func (c configCheck) listeners(origin *url.URL) {
	s := c.s
	local, ok := c.address("listen", s.Listen)
	adminLocal, adminOK := c.address("admin.listen", s.Admin.Listen)
	if ok && adminOK && s.Listen == s.Admin.Listen && !strings.HasSuffix(s.Listen, ":0") {
		c.refuse("admin.listen", "admin.listen is the address of listen: operators need one of their own")
	}
	if adminOK && !adminLocal {
		c.note("whoever reaches %s may read health and metrics", s.Admin.Listen)
	}
	if !ok || origin == nil {
		return
	}
	switch {
	case origin.Scheme == "http" && s.TLS != nil:
		c.refuse("issuer", "issuer is http, but tls is configured: write https://%s", origin.Host)
	case origin.Scheme == "http" && !local:
		c.refuse("listen", "listen is %s, which other machines reach, but issuer is http: listen on 127.0.0.1, or make the issuer https", shown(s.Listen))
	case s.TLS == nil && !local && s.TrustedProxies == nil:
		c.refuse("listen", "listen is %s, which other machines reach, and nothing encrypts: configure tls, or listen on 127.0.0.1, or list the proxy that does TLS in trusted_proxies", shown(s.Listen))
	case s.TLS == nil && !local:
		s.proxies.Only = true
	case s.TLS == nil && origin.Scheme == "https" && s.TrustedProxies == nil:
		c.note("a proxy on this machine does TLS, but is not in trusted_proxies: every caller will look like that proxy in the audit log")
	}
}

// address checks HOST:PORT and reports whether only this machine reaches it.
func (c configCheck) address(path, s string) (local, ok bool) {
	if !c.good(path) {
		return false, false
	}
	host, port, err := net.SplitHostPort(s)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || strconv.FormatUint(n, 10) != port {
		c.refuse(path, "%s is %s: write HOST:PORT, for example 127.0.0.1:8420", path, shown(s))
		return false, false
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		c.refuse(path, "%s is %s: HOST must be an IP address of this machine, localhost, or nothing for every address", path, shown(s))
		return false, false
	}
	return isLoopback(host), true
}

// tls loads the certificate and looks whether it is the right one.
func (c configCheck) tls(origin *url.URL) {
	t := c.s.TLS
	switch {
	case t == nil || !c.good("tls.cert") || !c.good("tls.key"):
		return
	case t.SVID && (t.Cert != "" || t.Key != ""):
		c.refuse("tls.svid", "tls.svid is true, and there is a cert or key: remove one of the two")
		return
	case t.SVID:
		c.needsOwn("tls.svid")
		return
	case t.Cert == "":
		c.refuse("tls", "tls has no cert: add it, or write svid: true")
		return
	case t.Key == "":
		c.refuse("tls", "tls has no key: add it")
		return
	}
	if err := privateFile(c.file(t.Key)); err != nil {
		c.refuse("tls.key", "tls.key: %v", err)
		return
	}
	cert, err := loadCertificate(c.file(t.Cert), c.file(t.Key))
	if err != nil {
		c.refuse("tls.cert", "tls: %v", err)
		return
	}
	c.s.certificate = cert
	leaf := cert.current.Leaf
	if origin != nil && leaf.VerifyHostname(origin.Hostname()) != nil {
		c.note("the certificate is not for %s: clients that connect directly will refuse it", origin.Hostname())
	}
	if time.Now().After(leaf.NotAfter) {
		c.note("the certificate expired on %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	}
}

// privateFile refuses a file with a secret that everybody can read.
func privateFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file", path)
	case info.Mode().Perm()&0o007 != 0:
		return fmt.Errorf("%s can be read by others (mode %04o): chmod o= it", path, info.Mode().Perm())
	}
	return nil
}

// folder completes the paths in the data folder and looks at what is there.
func (c configCheck) folder() {
	s, h := c.s, &c.s.house
	if !c.good("data") {
		return
	}
	h.Data = c.file(s.Data)
	if err := privateFolder(h.Data); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.refuse("data", "data: %v", err)
		return
	}
	h.KEK, h.Audit, h.AuditName, h.AuditSync = c.file(s.KeyEncryptionKey), c.file(s.Audit.Path), s.Audit.Name, s.Audit.Sync
	h.KeepArguments = s.Audit.Arguments == "redacted"
	if s.Store.SQLite != nil {
		h.Store.SQLite = c.file(s.Store.SQLite.Path)
	}
	h.setPaths()
	if s.Keys.Transit == nil {
		c.kek()
	}
}

// kek looks at the key-encryption key, if it is there.
func (c configCheck) kek() {
	h := &c.s.house
	_, err := os.Stat(h.KEK)
	_, storeErr := os.Stat(h.Store.SQLite)
	if h.Store.Postgres != nil {
		storeErr = fs.ErrNotExist // whether there are keys in it is seen at the start
	}
	switch {
	case err == nil:
		_, err = keys.LoadKEK(h.KEK)
	case storeErr == nil:
		err = fmt.Errorf("%s is not there, but the store is: without it the store's keys are lost; restore it from the backup", h.KEK)
	default: // the first start makes it
		err = nil
	}
	if err != nil {
		c.refuse("key_encryption_key", "%v", err)
	}
}

// privateFolder refuses a folder that anybody but its owner may enter.
func privateFolder(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder", path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %04o): chmod 700 it", path, info.Mode().Perm())
	}
	return nil
}

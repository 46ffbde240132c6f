// Package federation owns which other issuers are believed, and for what: there are
// three doors, each with typ and audience of its own, so that what one issuer signed
// for one of them is good at no other.
//
//   - [Table.Subject]: another issuer's access token, as the subject of an exchange
//     (RFC 8693, RFC 9068);
//   - [Table.Grant]: an identity assertion, an ID-JAG
//     (draft-ietf-oauth-identity-assertion-authz-grant-04);
//   - [Table.Workload]: what a platform says of a workload: a token of a Kubernetes
//     service account, or a JWT-SVID (RFC 7523 §2.1, SEP-1933).
//
// Names of another issuer never are names of ours: people have its prefix, its clients
// and actors its name before theirs, and workloads become configured clients.
//
// It does NOT count a jti (package authz does, with what it issues), does NOT decide
// what anybody may call, and does NOT discover issuers: what is trusted, and the keys
// of that, are configured.
package federation

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
	"github.com/wicketgate/wicketgate/internal/oauth"
)

// Bounds of what others sign. Times are seconds.
const (
	skew          = 60           // that clocks may differ, for iat and nbf: exp is never stretched
	maxGrantAge   = 20 * 60      // of an ID-JAG, from iat to exp: the draft's own example has 1000
	maxSubjectAge = 24 * 60 * 60 // of an access token, from iat to exp: some IdPs issue them for a day; see revocation.New
	maxID         = 256          // bytes of a jti
)

const (
	spiffeScheme = "spiffe://"
	useSVID      = "jwt-svid" // use of such keys in a bundle (SPIFFE Trust Domain and Bundle §4.2.2)
)

// Config is what a Table is made of.
type Config struct {
	Issuer        string // ours: aud of ID-JAGs, and of access tokens where nothing else is configured
	TokenEndpoint string // aud of workloads' assertions where nothing else is configured (SEP-1933), or the issuer is
	Issuers       []Issuer
	Fetcher       jws.Fetcher // of jwks_uris: guarded, though an operator wrote them
	Resources     oauth.Resources
	Now           func() time.Time

	// IsClient reports whether a client of ours has that id: nobody from elsewhere gets
	// its name.
	IsClient func(ctx context.Context, id identity.ClientID) (bool, error)
}

// Issuer is an issuer that is trusted, and for what.
type Issuer struct {
	Name              string // iss, to the letter
	JWKSURI, JWKSFile string // one of the two; a file is read anew when it has changed

	// TrustDomain is that of SPIFFE whose JWT-SVIDs it signs: they may come without iss, and
	// its keys may have the use that SPIFFE bundles give them.
	TrustDomain string

	// Tenant is the tenant claim that its tokens must have, since people of two tenants may
	// share a sub; empty: those with one are refused.
	Tenant string

	// Prefix comes before the names of its people. Empty: they are the people of login, by
	// the same claim, which is right for the very issuer of login only.
	Prefix       string
	SubjectClaim string // sub, email or preferred_username
	GroupsClaim  string // empty: no groups; dots lead into objects
	Claims       []string

	SubjectTokens *SubjectTokens // nil: its access tokens are no subjects
	Grants        bool           // its ID-JAGs are taken
	Workloads     *Workloads     // nil: it has no workloads here
}

// SubjectTokens is for whom and what access tokens of an issuer may be exchanged.
type SubjectTokens struct {
	Audience  string // their aud; empty: our issuer
	Clients   []identity.ClientID
	Resources []oauth.Resource // public ones
}

// Workloads is which workloads of an issuer are which clients.
type Workloads struct {
	Audience   string        // their aud; empty: our token endpoint, or our issuer
	MaxAge     time.Duration // since iat, whatever exp says
	Identities []Identity
}

// Identity makes a configured client of a workload.
type Identity struct {
	Subject string  // sub; see CheckPattern
	Claims  []Claim // that the assertion must have besides
	Client  identity.ClientID
}

// Claim is the one value that a claim must have.
type Claim struct{ Name, Value string }

// Table is the trusted issuers. It is safe for concurrent use.
type Table struct {
	cfg     Config
	issuers map[string]*issuer // by name
	domains map[string]*issuer // by trust domain
}

// issuer is an Issuer with its keys.
type issuer struct {
	Issuer
	workloads []workload
	keys      jws.Cache
}

// New makes a Table. It fails for what could mean two things.
func New(cfg Config) (*Table, error) {
	t := &Table{cfg, map[string]*issuer{}, map[string]*issuer{}}
	for _, is := range cfg.Issuers {
		if err := t.add(is); err != nil {
			return nil, fmt.Errorf("trusted issuer %s: %w", is.Name, err)
		}
	}
	return t, t.checkPrefixes()
}

func (t *Table) add(is Issuer) error {
	if err := CheckName(is.Name); err != nil {
		return err
	}
	i := &issuer{Issuer: is}
	if domain, ok := strings.CutPrefix(is.Name, spiffeScheme); ok && i.TrustDomain == "" {
		i.TrustDomain = domain
	}
	switch {
	case is.Name == t.cfg.Issuer:
		return errors.New("it is this very server, whose tokens need no table") // draft-ietf-oauth-identity-assertion-authz-grant §9.3
	case t.issuers[is.Name] != nil:
		return errors.New("it is there twice")
	case (is.JWKSURI == "") == (is.JWKSFile == ""):
		return errors.New("it needs either a JWKS URI or a file, one of the two")
	}
	if d := i.TrustDomain; d != "" {
		if identity.CheckTrustDomain(d) != nil || t.domains[d] != nil || strings.HasPrefix(is.Name, spiffeScheme) && is.Name != spiffeScheme+d {
			return errors.New("its trust domain is malformed, another than in its name, or that of another issuer")
		}
		i.keys.Uses = []string{useSVID}
		t.domains[d] = i
	}
	t.issuers[is.Name] = i
	return i.compile()
}

// CheckName takes what can be the iss of an issuer: an https URL, or a SPIFFE trust
// domain. It is compared to the letter, a trailing slash too.
func CheckName(name string) error {
	if domain, ok := strings.CutPrefix(name, spiffeScheme); ok && identity.CheckTrustDomain(domain) == nil {
		return nil
	}
	u, err := url.Parse(name)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsAny(name, "?#|") {
		return errors.New("write an https URL without query, or spiffe://TRUST_DOMAIN")
	}
	return nil
}

// checkPrefixes keeps a name of one issuer from being read as one of another.
func (t *Table) checkPrefixes() error {
	for i, a := range t.cfg.Issuers {
		for j, b := range t.cfg.Issuers {
			own := b.Name + "|" // of its clients, actors and workloads
			switch {
			case i != j && (a.Prefix == "" && b.Prefix == "" || meet(a.Prefix, b.Prefix)), meet(a.Prefix, own) && (i != j || a.Prefix != own):
				return fmt.Errorf("trusted issuers %s and %s: the subject prefix of one begins with that of the other, or with its name, or both have none", a.Name, b.Name)
			}
		}
	}
	return nil
}

// meet reports whether some name has both prefixes.
func meet(a, b string) bool {
	return a != "" && b != "" && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))
}

// Grants reports whether ID-JAGs of anybody are taken.
func (t *Table) Grants() bool { return t.any(func(i *issuer) bool { return i.Grants }) }

// Workloads reports whether there are workloads of anybody.
func (t *Table) Workloads() bool {
	return t.any(func(i *issuer) bool { return i.Workloads != nil })
}

func (t *Table) any(f func(*issuer) bool) bool {
	for _, i := range t.issuers {
		if f(i) {
			return true
		}
	}
	return false
}

// Owns reports whether a name is one that only a trusted issuer may give: who logs in
// with it is not the one that it names.
func (t *Table) Owns(name string) bool {
	return t.any(func(i *issuer) bool {
		return i.Prefix != "" && strings.HasPrefix(name, i.Prefix) || strings.HasPrefix(name, i.Name+"|")
	})
}

// errUnknown means that nobody could tell, which is no refusal.
var errUnknown = errors.New("whether a client has the name cannot be told")

// refusal is what a door returns: an *oauth.Error, which holds the cause, for what it
// refuses.
func refusal(cause error) error {
	if cause == nil || errors.Is(cause, errUnknown) {
		return cause
	}
	return &oauth.Error{Code: oauth.InvalidGrant, Description: "this server does not take the token of the other issuer", Cause: cause}
}

// mayExchange reports whether the client is one of those for the issuer's tokens.
func (s *SubjectTokens) mayExchange(c identity.ClientID) bool {
	return s != nil && slices.ContainsFunc(s.Clients, func(named identity.ClientID) bool { return named.Names(c) })
}

package federation

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/jws"
)

// workloadTypes are the typ of service-account tokens, which have none, and of JWT-SVIDs
// (JWT-SVID §2.3). ID tokens have the same: the audience keeps those out.
var workloadTypes = []string{"", "JWT", "JOSE"}

// workload is an Identity that was compiled.
type workload struct {
	Identity
	subject *regexp.Regexp
}

func (is *issuer) compile() error {
	if is.Workloads == nil {
		return nil
	}
	for _, id := range is.Workloads.Identities {
		if err := CheckPattern(id.Subject, is.TrustDomain); err != nil {
			return err
		}
		is.workloads = append(is.workloads, workload{id, compilePattern(id.Subject)})
	}
	return nil
}

// CheckPattern takes the subject of a workload: a name to the letter, or one in which a
// * stands for one whole segment between colons or slashes. In a trust domain it must be
// a SPIFFE ID of that.
func CheckPattern(pattern, trustDomain string) error {
	segments := strings.FieldsFunc(pattern, separator)
	for i, s := range segments {
		if strings.Contains(s, "*") && (s != "*" || i == 0) {
			return fmt.Errorf("%q: a * stands for one whole segment, as in spiffe://example.org/ns/*/sa/agent, and not for the first", pattern)
		}
	}
	if _, err := identity.ParseClientID(pattern); err != nil || len(segments) == 0 {
		return fmt.Errorf("%q is no name", pattern)
	}
	if trustDomain == "" && !strings.HasPrefix(pattern, "spiffe:") {
		return nil
	}
	p, err := identity.ParsePattern(pattern)
	if err != nil || trustDomain != "" && p.TrustDomain() != trustDomain {
		return fmt.Errorf("%q is no SPIFFE ID of the trust domain: write spiffe://%s/PATH", pattern, trustDomain)
	}
	return nil
}

func separator(r rune) bool { return r == ':' || r == '/' }

// compilePattern makes the one expression for a checked pattern.
func compilePattern(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`\A` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `[^/:]+`) + `\z`)
}

// Workload verifies what a platform says of a workload, and returns the configured client
// that it is, with how the platform calls it. It fails with an *oauth.Error.
//
// A jti counts as often as it likes: agents and kubelets keep a token for minutes and hand
// the same one out again, so that one that counted once would lock workloads out at their
// second connection. What bounds a stolen one is its audience, and its age by MaxAge.
func (t *Table) Workload(ctx context.Context, raw string) (identity.ClientID, string, error) {
	client, name, err := t.workload(ctx, raw)
	if err != nil {
		return identity.ClientID{}, "", refusal(err)
	}
	return client, name, nil
}

func (t *Table) workload(ctx context.Context, raw string) (identity.ClientID, string, error) {
	var c claims
	signed, err := jws.Parse(raw, &c, workloadTypes...)
	if err != nil {
		return identity.ClientID{}, "", err
	}
	is, sub, err := t.platform(c)
	if err != nil {
		return identity.ClientID{}, "", err
	}
	if err := t.verify(ctx, is, signed); err != nil {
		return identity.ClientID{}, "", err
	}
	if err := t.checkWorkload(is, c); err != nil {
		return identity.ClientID{}, "", err
	}
	client, err := is.client(sub, c)
	return client, is.Name + "|" + sub, err
}

// platform finds who says it of whom. A JWT-SVID need not have iss: its keys are then
// those of the trust domain in sub (JWT-SVID §3). With iss, the identities are all of the
// issuer's trust domain.
func (t *Table) platform(c claims) (*issuer, string, error) {
	sub, err := c.text("sub")
	if err != nil {
		return nil, "", err
	}
	if _, err := identity.ParseClientID(sub); err != nil { // printable, and no space
		return nil, "", errors.New("sub is missing, or no name of a workload")
	}
	domain := ""
	if strings.HasPrefix(sub, "spiffe:") {
		id, err := identity.ParseSPIFFEID(sub)
		if err != nil {
			return nil, "", err
		}
		domain = id.TrustDomain()
	}
	is := t.domains[domain]
	if _, ok := c["iss"]; ok {
		if is, err = t.issuer(c); err != nil {
			return nil, "", err
		}
	}
	if is == nil || is.Workloads == nil {
		return nil, "", errors.New("no trusted issuer has workloads like this")
	}
	return is, sub, nil
}

func (t *Table) checkWorkload(is *issuer, c claims) error {
	w := is.Workloads
	audiences := []string{w.Audience}
	if w.Audience == "" { // SEP-1933 has the one, those who send client assertions the other; both are ours alone
		audiences = []string{t.cfg.TokenEndpoint, t.cfg.Issuer}
	}
	if err := c.audience(audiences...); err != nil {
		return err
	}
	now := t.cfg.Now().Unix()
	issued, _, err := c.times(now)
	if err != nil {
		return err
	}
	if now-issued > int64(w.MaxAge.Seconds()) {
		return errors.New("it was issued too long ago")
	}
	return nil
}

// client is the one client that the workload is. Where two identities match and name two,
// it is neither: their order must not matter.
func (is *issuer) client(sub string, c claims) (out identity.ClientID, err error) {
	for _, w := range is.workloads {
		if !w.subject.MatchString(sub) || !c.have(w.Claims) {
			continue
		}
		if !out.IsZero() && out != w.Client {
			return identity.ClientID{}, errors.New("the workload is configured as two clients")
		}
		out = w.Client
	}
	if out.IsZero() {
		return out, errors.New("the workload is not configured")
	}
	return out, nil
}

// have reports whether each claim has the wanted value, as text.
func (c claims) have(wanted []Claim) bool {
	for _, w := range wanted {
		var s string
		if v, ok := c.lookup(w.Name); !ok || json.Unmarshal(v, &s) != nil || s != w.Value {
			return false
		}
	}
	return true
}

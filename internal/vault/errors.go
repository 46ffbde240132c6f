package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/hashicorp/vault/api"
)

// ErrInvalidToken is in the chain of an Error when Vault does not know the token (any more):
// it was revoked, or has expired. Then a new login helps.
var ErrInvalidToken = errors.New("vault: the token is not valid")

const (
	maxWords  = 400 // bytes of Vault's own words
	minSecret = 4   // bytes: what is shorter is no secret, and would blot out words
	minPart   = 16  // bytes of a part of a JWT
	hidden    = "[secret]"
)

// unanswered is the error of a request that no answer came to within ctx.
func (r request) unanswered(ctx context.Context, err error) error {
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &Error{Timeout, r.what, errors.New("no answer in time")}
	case ctx.Err() != nil:
		return &Error{Canceled, r.what, errors.New("whoever asked went away, or the client was closed")}
	}
	return &Error{Unreachable, r.what, errors.New(r.words(err.Error()))}
}

// redirected is the error of a redirect, by which a standby names the active one: to
// follow it would be to send the token to wherever an answer says.
func (r request) redirected(resp *http.Response) error {
	to, err := resp.Location()
	if err != nil {
		to = &url.URL{Host: "nowhere"}
	}
	why := Malformed
	if resp.StatusCode == http.StatusTemporaryRedirect { // of a standby of Vault's
		why = Sealed
	}
	return &Error{why, r.what, fmt.Errorf("HTTP %d to %s: redirects are not followed; configure the address of the active Vault, or let its standbys forward", resp.StatusCode, r.words(to.Host))}
}

// refused is the error of an answer that is none of 2xx.
func (r request) refused(status int, body []byte) error {
	words := vaultsWords(body)
	cause := fmt.Errorf("HTTP %d: %s", status, cmp.Or(r.words(words), http.StatusText(status)))
	if status == http.StatusForbidden && !r.login && strings.Contains(words, "invalid token") {
		cause = fmt.Errorf("%w: %w", ErrInvalidToken, cause)
	}
	return &Error{r.reason(status, words), r.what, cause}
}

func (r request) reason(status int, words string) Reason {
	switch {
	case status == http.StatusServiceUnavailable && isSealed(words):
		return Sealed
	case r.login && isOfCertificate(words):
		return LoggedOut
	case status >= 500:
		return Failed
	case status == http.StatusTooManyRequests, strings.Contains(words, "quota exceeded"):
		return Limited
	case r.login:
		return LoggedOut
	case status == http.StatusForbidden:
		return Denied
	case status == http.StatusNotFound:
		return NotFound
	}
	return Refused
}

// isOfCertificate reports whether a login failed for its certificate, to which Vault says
// HTTP 500 when it has expired or has no common name.
func isOfCertificate(words string) bool {
	return strings.Contains(words, "failed to verify client's certificate") || strings.Contains(words, noCommonName)
}

// noCommonName is all that Vault says to a certificate without one.
const noCommonName = "missing name in alias"

// isSealed reports whether Vault itself says that it cannot serve anybody; a proxy before
// it says something else with the same HTTP status.
func isSealed(words string) bool {
	words = strings.ToLower(words)
	for _, w := range []string{"sealed", "not initialized", "standby", "no active vault"} {
		if strings.Contains(words, w) {
			return true
		}
	}
	return false
}

// vaultsWords are the errors of an answer, empty if it is not Vault's.
func vaultsWords(body []byte) string {
	var answer api.ErrorResponse
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return strings.Join(answer.Errors, "; ")
}

// secretWords match what looks like a secret that we did not send: a token of Vault's, a
// JWT, the user and password of a URL.
var secretWords = regexp.MustCompile(`\bhv[sbr]\.[\w.-]+|\beyJ[\w-]+\.[\w-]+\.[\w-]*|://[^/@\s]+@`)

// words makes one short line of what Vault said, without what was sent in secret.
func (r request) words(s string) string {
	s = folded(s)
	for _, secret := range r.sent() {
		s = strings.ReplaceAll(s, secret, hidden)
	}
	s = secretWords.ReplaceAllString(s, hidden)
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	return s
}

// folded is s in one line that can be printed.
func folded(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }), " ")
}

// sent are the texts that were sent in secret, as Vault might repeat them, longest first.
func (r request) sent() (all []string) {
	secrets := []string{r.token.s}
	if r.secrets != nil {
		secrets = append(secrets, r.secrets()...)
	}
	for _, s := range secrets {
		b, _ := json.Marshal(s)
		written := string(b[1 : len(b)-1])
		all = append(all, folded(s), quoted(s), written, quoted(written), url.QueryEscape(s), url.PathEscape(s))
		for part := range strings.SplitSeq(s, ".") { // of a JWT
			if len(part) >= minPart {
				all = append(all, part)
			}
		}
	}
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < minSecret })
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// quoted is s as %q has it, without the quotes.
func quoted(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// texts are the texts in a value of JSON.
func texts(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case map[string]any:
		for _, e := range v {
			all = append(all, texts(e)...)
		}
	case []any:
		for _, e := range v {
			all = append(all, texts(e)...)
		}
	}
	return all
}

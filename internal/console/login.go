package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/policies"
)

const (
	loginWithin  = 15 * time.Minute
	redeemWithin = 10 * time.Second
	maxAnswer    = 64 << 10 // bytes of the token endpoint's
)

// underWay is a login that a browser has begun. The browser carries it, sealed, under a
// name of its state, so that several tabs can log in at once.
type underWay struct {
	State    string `json:"s"`
	Verifier string `json:"v"` // PKCE code_verifier (RFC 7636 §4.1)
	Return   string `json:"r"` // a path of ours
	Expires  int64  `json:"e"` // Unix seconds
}

// returnPaths are where a login may lead: whatever a link says, nowhere but to pages of ours.
var returnPaths = regexp.MustCompile(`^/console/approvals/([A-Za-z0-9_-]{1,64})?$`)

// begin sends the browser to the authorization endpoint (RFC 6749 §4.1.1). More is further
// parameters.
func (c *Console) begin(w http.ResponseWriter, r *http.Request, back string, more url.Values) error {
	if !returnPaths.MatchString(back) {
		back = PathApprovals
	}
	l := underWay{State: rand.Text(), Verifier: rand.Text() + rand.Text(), Return: back, Expires: c.cfg.Now().Add(loginWithin).Unix()}
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	c.setCookie(w, loginCookie(l.State), base64.RawURLEncoding.EncodeToString(c.cfg.Sealer.Seal(b)), int(loginWithin.Seconds()))
	sum := sha256.Sum256([]byte(l.Verifier))
	q := url.Values{"response_type": {"code"}, "client_id": {c.cfg.Client.String()}, "redirect_uri": {c.cfg.Issuer + PathCallback}, "state": {l.State},
		"scope": {oauth.ScopeApprovals}, "resource": {c.cfg.Resource.String()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
	for name, v := range more {
		q[name] = v
	}
	seeOther(w, r, c.cfg.AuthorizationEndpoint+"?"+q.Encode())
	return nil
}

func loginCookie(state string) string { return "console_login_" + state[:min(8, len(state))] }

// seeOther redirects with a GET, whatever the request was.
func seeOther(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// login begins a login, as somebody else if that is asked for.
func (c *Console) login(w http.ResponseWriter, r *http.Request) error {
	q, more := r.URL.Query(), url.Values{}
	if q.Get("as") == "other" {
		more.Set("prompt", "select_account")
	}
	return c.begin(w, r, q.Get("return"), more)
}

// stronger asks for the login that the policy wants (RFC 9470 §4).
func stronger(needs policies.Needs) url.Values {
	more := url.Values{}
	if len(needs.ACR) > 0 {
		more.Set("acr_values", strings.Join(needs.ACR, " "))
	}
	if needs.MaxAge > 0 {
		more.Set("max_age", strconv.FormatInt(seconds(needs.MaxAge), 10))
		more.Set("prompt", "login") // auth_time has whole seconds: by max_age alone a login on the brink may do there, and not here
	}
	return more
}

// seconds is never more than what is allowed.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// errAnswer is for an answer that is not one to a login of this browser.
var errAnswer = errors.New("this is no answer to a login that this browser has begun here, or it came too late")

// callback takes the answer of the authorization endpoint (RFC 6749 §4.1.2), once, in the
// browser that asked, and from our own authorization server (RFC 9207 §2.4).
func (c *Console) callback(w http.ResponseWriter, r *http.Request) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || hasTwice(q) {
		return errAnswer
	}
	l, ok := c.underWay(r, q.Get("state"))
	if !ok || q.Get("iss") != c.cfg.Issuer {
		return errAnswer
	}
	c.setCookie(w, loginCookie(l.State), "", -1)
	if q.Has("error") {
		return &loginError{oauth.ErrorCode(q.Get("error")), l.Return}
	}
	raw, err := c.redeem(r.Context(), q.Get("code"), l.Verifier)
	if err != nil {
		return fmt.Errorf("redeem code: %w", err)
	}
	who, err := c.admit(r.Context(), raw)
	if err != nil {
		return fmt.Errorf("verify the token that was issued: %w", err)
	}
	if err := c.signIn(w, r, who, raw); err != nil {
		return err
	}
	seeOther(w, r, c.cfg.Issuer+l.Return)
	return nil
}

func hasTwice(q url.Values) bool {
	for _, v := range q {
		if len(v) > 1 {
			return true
		}
	}
	return false
}

// underWay is the login that this browser has begun with the state.
func (c *Console) underWay(r *http.Request, state string) (underWay, bool) {
	k, err := r.Cookie(c.cookieName(loginCookie(state)))
	if err != nil || state == "" {
		return underWay{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(k.Value)
	var l underWay
	ok := err == nil && c.open(b, &l) && l.State == state && l.Verifier != "" && c.cfg.Now().Unix() < l.Expires && returnPaths.MatchString(l.Return)
	return l, ok
}

// loginError is what the authorization server answered instead of a code.
type loginError struct {
	code oauth.ErrorCode
	back string
}

func (e *loginError) Error() string { return "the authorization server answered with an error" }

// text says it to the person. What the query says is not repeated: anybody can write one.
func (e *loginError) text() string {
	switch e.code {
	case oauth.AccessDenied:
		return "You did not allow it, so you are not signed in here."
	case oauth.UnmetAuthenticationRequirements:
		return "Your login is not of the kind, or not as recent, as the policy asks for. If it stays so after you log in once more, tell those who look after the policy."
	}
	return "Signing in did not work."
}

// redeem exchanges the code for an access token (RFC 6749 §4.1.3), which never leaves this
// process but for the sealed session.
func (c *Console) redeem(ctx context.Context, code, verifier string) (string, error) {
	form := url.Values{"grant_type": {oauth.GrantAuthorizationCode}, "code": {code}, "redirect_uri": {c.cfg.Issuer + PathCallback}, "code_verifier": {verifier},
		"client_id": {c.cfg.Client.String()}, "resource": {c.cfg.Resource.String()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", err
	}
	var answer struct {
		oauth.Error
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
	}
	err = json.Unmarshal(body, &answer)
	switch {
	case err != nil:
		return "", fmt.Errorf("token endpoint answers with HTTP %d: %w", resp.StatusCode, err)
	case slices.Contains([]oauth.ErrorCode{oauth.InvalidGrant, oauth.AccessDenied}, answer.Code): // revoked since, or a code of somebody's making
		return "", errAnswer
	case resp.StatusCode != http.StatusOK || answer.AccessToken == "" || !strings.EqualFold(answer.TokenType, "Bearer"):
		return "", fmt.Errorf("token endpoint answers with HTTP %d, error %q", resp.StatusCode, answer.Code)
	}
	return answer.AccessToken, nil
}

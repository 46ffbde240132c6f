package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/console"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/metadata"
)

// approver is a person at a terminal. The access token is kept here and nowhere else.
type approver struct {
	ctx            context.Context
	http           *http.Client
	stdout, stderr io.Writer
	wait           waitFunc

	issuer string
	as     metadata.AuthorizationServer
	token  string
}

// waitFunc waits so long, or returns the error of a context that is done before.
type waitFunc func(ctx context.Context, d time.Duration) error

func waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loginAsked is the login that is needed (RFC 9470 §4).
type loginAsked struct {
	acr       string // space-separated
	maxAge    int64  // seconds, if hasMaxAge
	hasMaxAge bool
}

// find reads where the authorization server has its endpoints (RFC 8414 §3).
func (a *approver) find(issuer string) error {
	u, err := safeURL("--issuer", issuer)
	if err != nil {
		return err
	}
	if u.Scheme+"://"+u.Host != issuer {
		return fmt.Errorf("--issuer %s: leave out path, query and trailing slash", shown(issuer))
	}
	at := wellKnown(u, "oauth-authorization-server")
	req, err := http.NewRequestWithContext(a.ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	status, body, err := do(a.http, req)
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return fmt.Errorf("%s answers with HTTP %d: is that the issuer?", at, status)
	}
	if err := json.Unmarshal(body, &a.as); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if a.as.Issuer != issuer { // RFC 8414 §3.3
		return fmt.Errorf("%s is of the issuer %s, not of %s", at, shown(a.as.Issuer), shown(issuer))
	}
	for what, endpoint := range map[string]string{"token_endpoint": a.as.TokenEndpoint, "device_authorization_endpoint": a.as.DeviceEndpoint} {
		if _, err := safeURL(what, endpoint); err != nil {
			return err
		}
	}
	a.issuer = issuer
	return nil
}

// deviceAnswer is the response of RFC 8628 §3.2.
type deviceAnswer struct {
	oauth.Error
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int64  `json:"expires_in"`
	Interval   int64  `json:"interval"`
}

// logIn has the person log in by a browser (RFC 8628), as the built-in client.
func (a *approver) logIn(asked loginAsked) error {
	var d deviceAnswer
	form := url.Values{"client_id": {cliID.String()}, "resource": {a.issuer + console.Path}, "scope": {oauth.ScopeApprovals}}
	status, err := a.post(a.as.DeviceEndpoint, form, &d)
	switch {
	case err != nil:
		return err
	case d.Code == oauth.InvalidTarget || d.Code == oauth.InvalidClient:
		return fmt.Errorf("%s has no console: it is a gateway of another kind, or console.enabled is false there", a.issuer)
	case d.Code != "":
		return refusal(d.Error)
	case status != http.StatusOK || d.DeviceCode == "" || !userCode.MatchString(d.UserCode):
		return fmt.Errorf("%s answers with HTTP %d, and no code", a.as.DeviceEndpoint, status)
	}
	link, err := asked.link(d)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "To log in, open\n\n  %s\n\nand look that it shows the code %s.\n", link, d.UserCode)
	return a.await(d)
}

var userCode = regexp.MustCompile(`^[A-Za-z0-9-]{1,32}$`)

// link is what the person opens, with the login that is needed.
func (l loginAsked) link(d deviceAnswer) (string, error) {
	if d.Complete == "" {
		d.Complete = d.URI
	}
	u, err := safeURL("verification_uri", d.Complete)
	if err != nil {
		return "", err
	}
	q := u.Query()
	if l.acr != "" {
		q.Set("acr_values", l.acr)
	}
	if l.hasMaxAge {
		q.Set("max_age", strconv.FormatInt(max(0, l.maxAge-1), 10)) // auth_time has whole seconds: one on the brink would not do
	}
	u.RawQuery = q.Encode()
	return u.String(), nil // escaped, so that it does nothing to a terminal
}

// leastInterval is that of RFC 8628 §3.5, where the server says none.
const leastInterval = 5 * time.Second

// await polls until the person has decided (RFC 8628 §3.4).
func (a *approver) await(d deviceAnswer) error {
	interval := time.Duration(d.Interval) * time.Second
	if interval <= 0 || interval > time.Minute {
		interval = leastInterval
	}
	form := url.Values{"grant_type": {oauth.GrantDeviceCode}, "device_code": {d.DeviceCode}, "client_id": {cliID.String()}}
	for {
		if err := a.wait(a.ctx, interval); err != nil {
			return fmt.Errorf("nobody has logged in: %w", err)
		}
		var answer struct {
			oauth.Error
			AccessToken string `json:"access_token"`
			TokenType   string `json:"token_type"`
		}
		status, err := a.post(a.as.TokenEndpoint, form, &answer)
		switch {
		case err != nil:
			return err
		case answer.Code == oauth.AuthorizationPending:
		case answer.Code == oauth.SlowDown:
			interval += leastInterval
		case answer.Code == oauth.AccessDenied:
			return errors.New("you were not logged in: it was denied in the browser")
		case answer.Code == oauth.ExpiredToken:
			return errors.New("you were not logged in: the code was not entered in time")
		case answer.Code != "":
			return refusal(answer.Error)
		case status != http.StatusOK || answer.AccessToken == "" || !strings.EqualFold(answer.TokenType, "Bearer"):
			return fmt.Errorf("%s answers with HTTP %d, and no token", a.as.TokenEndpoint, status)
		default:
			a.token = answer.AccessToken
			return nil
		}
	}
}

func (a *approver) post(to string, form url.Values, into any) (int, error) {
	req, err := http.NewRequestWithContext(a.ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, err := do(a.http, req)
	if err != nil {
		return status, err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return status, fmt.Errorf("%s answers with HTTP %d, and no JSON", to, status)
	}
	return status, nil
}

// call asks the API of the console.
func (a *approver) call(method, path string, body, into any) error {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(a.ctx, method, a.issuer+path, sent)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxApprovals+1))
	switch {
	case err != nil:
		return err
	case len(b) > maxApprovals:
		return fmt.Errorf("%s answers with more than %d bytes", a.issuer+path, maxApprovals)
	case resp.StatusCode != http.StatusOK:
		return apiRefusal(resp, b)
	}
	return json.Unmarshal(b, into)
}

const maxApprovals = 32 << 20 // bytes: hundreds, each with its arguments

// apiRefusal is what the API answered instead.
func apiRefusal(resp *http.Response, body []byte) error {
	var e oauth.Error
	switch err := json.Unmarshal(body, &e); {
	case err != nil || e.Code == "":
		return fmt.Errorf("the server answers with HTTP %d, and no error of the API", resp.StatusCode)
	case e.Code == oauth.InsufficientUserAuthentication:
		return &errStepUp{askedBy(resp.Header.Get("WWW-Authenticate"))}
	case resp.StatusCode == http.StatusNotFound:
		return errors.New("there is no such request, or it is not for you to see")
	case e.Description != "":
		return fmt.Errorf("the server answers: %s", console.Visible(e.Description))
	}
	return fmt.Errorf("the server answers %s", shown(string(e.Code)))
}

// challengeParameter is one of a challenge (RFC 9110 §11.6.1) that is a quoted-string.
var challengeParameter = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)

// askedBy reads what login a challenge asks for (RFC 9470 §3).
func askedBy(challenge string) (l loginAsked) {
	for _, m := range challengeParameter.FindAllStringSubmatch(challenge, -1) {
		value := regexp.MustCompile(`\\(.)`).ReplaceAllString(m[2], "$1")
		switch m[1] {
		case "acr_values":
			l.acr = value
		case "max_age":
			n, err := strconv.ParseUint(value, 10, 31)
			l.maxAge, l.hasMaxAge = int64(n), err == nil
		}
	}
	return l
}

package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// accessToken gets an access token for the resource: as the workload itself, or as who
// acts for the subject of a person's access token (RFC 8693 §1.1).
func (w *workload) accessToken(ctx context.Context, r route, subject string) (string, error) {
	form := url.Values{"client_id": {w.id}, "resource": {r.resource}, "grant_type": {oauth.GrantClientCredentials}}
	if subject != "" {
		form.Set("grant_type", oauth.GrantTokenExchange)
		form.Set("subject_token", subject)
		form.Set("subject_token_type", oauth.TokenTypeAccessToken)
	}
	if r.method == oauth.AuthSPIFFEJWT {
		svid, err := w.source.JWTSVID(ctx, r.issuer)
		if err != nil {
			return "", err
		}
		form.Set("client_assertion_type", oauth.AssertionJWTSPIFFE)
		form.Set("client_assertion", svid)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.tokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, body, err := do(r.client, req)
	if err != nil {
		return "", err
	}
	raw, err := granted(status, body)
	if err != nil {
		return "", fmt.Errorf("%s gives %s no token for %s: %w", r.tokenEndpoint, w.id, r.resource, err)
	}
	w.log.Info("access token", "spiffe_id", w.id, "method", r.method, "token_endpoint", r.tokenEndpoint, "txn", txnOf(raw))
	return raw, nil
}

// granted reads the answer of a token endpoint (RFC 6749 §5).
func granted(status int, body []byte) (string, error) {
	var answer struct {
		oauth.Error
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
	}
	err := json.Unmarshal(body, &answer)
	switch {
	case err != nil || status != http.StatusOK && answer.Code == "":
		return "", fmt.Errorf("it answers with HTTP %d, and no OAuth error", status)
	case status != http.StatusOK:
		return "", refusal(answer.Error)
	case !strings.EqualFold(answer.TokenType, "Bearer") || answer.AccessToken == "":
		return "", fmt.Errorf("it issued a token of the type %s, where wicketgate call has use for Bearer only", shown(answer.TokenType))
	}
	return answer.AccessToken, nil
}

// remedies are what the user could do about an error.
var remedies = map[oauth.ErrorCode]string{
	oauth.InvalidClient:          "an operator adds this SPIFFE ID to clients, with auth_method spiffe, and its trust domain to spiffe.trust_domains; the server's log says what was wrong",
	oauth.UnauthorizedClient:     "an operator adds the grant to the grant_types of this client: client_credentials, or " + oauth.GrantTokenExchange + " for --subject-token-file",
	oauth.InvalidTarget:          "the server is unknown, or nothing there is for this workload: see the name, and access.yaml",
	oauth.InvalidScope:           "nothing that the person's token allows is for this workload",
	oauth.InvalidRequest:         "with --subject-token-file: the person's token has expired, is none of this authorization server, or was issued to a client for which this workload does not act (acts_for)",
	oauth.TemporarilyUnavailable: "try again soon",
}

// refusal says an OAuth error, and what to do about it. What the server wrote is
// quoted: it goes to a terminal.
func refusal(e oauth.Error) error {
	text := shown(string(e.Code))
	if e.Description != "" {
		text += ", " + shown(e.Description)
	}
	if remedy, ok := remedies[e.Code]; ok {
		text += "; " + remedy
	}
	return fmt.Errorf("it answers %s", text)
}

// txnOf is the transaction in an access token, for the log: the audit log has it too.
func txnOf(raw string) string {
	var claims struct {
		Transaction string `json:"txn"`
	}
	if parts := strings.Split(raw, "."); len(parts) == 3 {
		if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(payload, &claims) // it is opaque to clients, and need have none
		}
	}
	return claims.Transaction
}

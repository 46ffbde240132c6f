package main

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const (
	serverName      = "null"
	protocolVersion = "2025-11-25"
	agent           = "dev-agent" // the confidential client of wicketgate dev
)

// access lets the agent call the one tool. The name is quoted: YAML takes null
// for nothing.
const access = `version: 1
roles:
  bench:
    who:
      clients: [` + agent + `]
    servers:
      "` + serverName + `":
        tools: [echo]
`

// gateway is the running wicketgate dev with what its callers need.
type gateway struct {
	*process
	data        string
	accessToken string
	sessions    []string // one for each connection
}

func newGateway(data string) (*gateway, error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	return &gateway{data: data}, os.WriteFile(filepath.Join(data, "access.yaml"), []byte(access), 0o600)
}

func (g *gateway) resource() string { return g.url + "/mcp/" + serverName }
func (g *gateway) endpoint() string { return g.url + "/oauth2/token" }

// renew gets a new access token, since they live for minutes only, and opens the sessions.
func (g *gateway) renew(ctx context.Context) error {
	var err error
	if g.accessToken, err = g.newToken(ctx); err != nil {
		return fmt.Errorf("access token: %w", err)
	}
	g.sessions = nil
	for range connections {
		id, err := openSession(ctx, g.resource(), g.accessToken)
		if err != nil {
			return fmt.Errorf("open session: %w", err)
		}
		g.sessions = append(g.sessions, id)
	}
	return nil
}

// form is the header of a request of the agent at the token endpoint.
func (g *gateway) form() (http.Header, error) {
	secret, err := os.ReadFile(filepath.Join(g.data, agent+".secret"))
	if err != nil {
		return nil, err
	}
	r := http.Request{Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
	r.SetBasicAuth(agent, strings.TrimSpace(string(secret)))
	return r.Header, nil
}

func (g *gateway) credentialsForm() string {
	return url.Values{"grant_type": {"client_credentials"}, "resource": {g.resource()}}.Encode()
}

func (g *gateway) exchangeForm(subjectToken string) string {
	const accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	return url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {subjectToken}, "subject_token_type": {accessTokenType},
		"resource": {g.resource()}, "scope": {"tool:echo"},
		"authorization_details": {`[{"type":"mcp_tool_call","server":"` + serverName + `","tool":"echo","arguments":` + callArguments + `}]`},
	}.Encode()
}

// delegationForm asks for an access token for one tool, instead of for a call.
func (g *gateway) delegationForm(subjectToken string) string {
	form, err := url.ParseQuery(g.exchangeForm(subjectToken))
	if err != nil {
		panic(err) // it is ours
	}
	form.Del("authorization_details")
	return form.Encode()
}

func (g *gateway) newToken(ctx context.Context) (string, error) {
	h, err := g.form()
	if err != nil {
		return "", err
	}
	return newToken(ctx, g.endpoint(), h, g.credentialsForm())
}

// newToken asks a token endpoint for an access token.
func newToken(ctx context.Context, endpoint string, h http.Header, form string) (string, error) {
	answer, _, err := send(ctx, endpoint, h, form, http.StatusOK)
	if err != nil {
		return "", err
	}
	var t struct {
		AccessToken string `json:"access_token"`
	}
	err = stdjson.Unmarshal(answer, &t)
	return t.AccessToken, err
}

func openSession(ctx context.Context, resource, accessToken string) (string, error) {
	_, h, err := send(ctx, resource, mcpHeader(accessToken, ""), `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"`+
		protocolVersion+`","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`, http.StatusOK)
	if err != nil {
		return "", err
	}
	session := h.Get("Mcp-Session-Id")
	if session == "" {
		return "", errors.New("initialize gave no Mcp-Session-Id")
	}
	_, _, err = send(ctx, resource, mcpHeader(accessToken, session), `{"jsonrpc":"2.0","method":"notifications/initialized"}`, http.StatusAccepted)
	return session, err
}

func mcpHeader(accessToken, session string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {protocolVersion}}
	if accessToken != "" {
		h.Set("Authorization", "Bearer "+accessToken)
	}
	if session != "" {
		h.Set("Mcp-Session-Id", session)
	}
	return h
}

// callLoads is the same call, sixteen times, to each of the four.
func (r *rig) callLoads(cfg config) (map[string]load, error) {
	loads := map[string]load{}
	for _, target := range []struct {
		server     *process
		path       string
		credential string
		sessions   []string
	}{
		{r.direct, "/mcp", "", make([]string, connections)},
		{r.plain, "/mcp", "", make([]string, connections)},
		{r.floor, "/mcp", r.floorToken, make([]string, connections)},
		{r.gateway.process, "/mcp/" + serverName, r.gateway.accessToken, r.gateway.sessions},
	} {
		l := load{server: target.server, right: rightCall, warm: cfg.warm(), time: cfg.time}
		for _, session := range target.sessions {
			request, err := httpRequest(target.server.url+target.path, mcpHeader(target.credential, session), callBody)
			if err != nil {
				return nil, err
			}
			l.requests = append(l.requests, [][]byte{request})
		}
		loads[target.server.name] = l
	}
	return loads, nil
}

func rightCall(status int, body []byte) bool {
	return status == http.StatusOK && string(body) == callAnswer
}

func rightToken(status int, body []byte) bool {
	return status == http.StatusOK && bytes.Contains(body, []byte(`"access_token":"ey`))
}

// tokenLoads is the token endpoint, and bare signing of the same request.
func (r *rig) tokenLoads(ctx context.Context, cfg config) (map[string]load, error) {
	h, err := r.gateway.form()
	if err != nil {
		return nil, err
	}
	fresh, err := r.gateway.freshTokens(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("subject tokens: %w", err)
	}
	firstSight := make([][]string, connections)
	for i := range fresh {
		for _, t := range fresh[i] {
			firstSight[i] = append(firstSight[i], r.gateway.exchangeForm(t))
		}
	}
	credentials := slices.Repeat([][]string{{r.gateway.credentialsForm()}}, connections)
	exchange := slices.Repeat([][]string{{r.gateway.exchangeForm(r.gateway.accessToken)}}, connections)
	delegation := slices.Repeat([][]string{{r.gateway.delegationForm(r.gateway.accessToken)}}, connections)
	loads := map[string]load{}
	for _, target := range []struct {
		name   string
		server *process
		forms  [][]string // by connection
	}{
		{nameSign, r.sign, credentials},
		{nameCredentials, r.gateway.process, credentials},
		{nameExchange, r.gateway.process, exchange},
		{nameFirstSight, r.gateway.process, firstSight},
		{nameDelegated, r.gateway.process, delegation},
	} {
		l := load{server: target.server, right: rightToken, warm: cfg.warm(), time: cfg.time}
		if target.name == nameFirstSight {
			l.once, l.warm = true, 0 // warming up would have seen them
		}
		if l.requests, err = formRequests(target.server.url+"/oauth2/token", h, target.forms); err != nil {
			return nil, err
		}
		loads[target.name] = l
	}
	return loads, nil
}

func formRequests(url string, h http.Header, forms [][]string) ([][][]byte, error) {
	out := make([][][]byte, len(forms))
	for i := range forms {
		for _, form := range forms[i] {
			request, err := httpRequest(url, h, form)
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], request)
		}
	}
	return out, nil
}

// freshTokens gets access tokens that nobody has shown yet, for each connection
// as many as it may use up at most.
func (g *gateway) freshTokens(ctx context.Context, cfg config) ([][]string, error) {
	n := min(250, max(10, int(cfg.time.Seconds()*250)))
	tokens, errs := make([][]string, connections), make([]error, connections)
	var wg sync.WaitGroup
	for i := range connections {
		wg.Go(func() {
			for range n {
				t, err := g.newToken(ctx)
				if err != nil {
					errs[i] = err
					return
				}
				tokens[i] = append(tokens[i], t)
			}
		})
	}
	wg.Wait()
	return tokens, errors.Join(errs...)
}

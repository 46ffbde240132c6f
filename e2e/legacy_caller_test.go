package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/wicketgate/wicketgate/internal/oauth"
)

// token is an access token for the subject at the server: its own, or its agent's.
func (h *legacyHouse) token(subject, server string, byAgent bool) string {
	h.t.Helper()
	raw := h.ask(subject, url.Values{"grant_type": {oauth.GrantClientCredentials}}, server)
	if byAgent {
		raw = h.ask(agent, url.Values{"grant_type": {oauth.GrantTokenExchange}, "subject_token": {raw}, "subject_token_type": {oauth.TokenTypeAccessToken}}, server)
	}
	return raw
}

func (h *legacyHouse) ask(client string, form url.Values, server string) string {
	h.t.Helper()
	form.Set("client_id", client)
	form.Set("client_secret", client+workloadSecret)
	form.Set("resource", h.issuer+"/mcp/"+server)
	a := ask(h.t, http.DefaultClient, h.issuer+"/oauth2/token", form)
	if a.AccessToken == "" {
		h.t.Fatalf("a token of %s for %s: %d %s", client, server, a.Status, a.Error)
	}
	return a.AccessToken
}

// rows is what the tool query answers.
type rows struct {
	User string           `json:"user"`
	Rows []map[string]any `json:"rows"`
}

// errTool is of a call that the tool itself says has failed, as with a statement that
// PostgreSQL refuses.
var errTool = errors.New("the tool says")

// caller makes calls with an access token.
type caller struct {
	h       *legacyHouse
	raw     string
	server  string
	session string // of the era that has them; empty: the stateless one
	at      string // URL of the replica; empty: the issuer's
	heard   func(header http.Header, body []byte)
}

// query makes one call as a client of the stateless era does.
func (h *legacyHouse) query(ctx context.Context, raw, server, sql string) (rows, error) {
	return caller{h: h, raw: raw, server: server}.query(ctx, sql)
}

func (c caller) query(ctx context.Context, sql string) (rows, error) {
	arguments, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		return rows{}, err
	}
	return c.call(ctx, "query", string(arguments))
}

// call calls a tool, which answers as query does.
func (c caller) call(ctx context.Context, tool, arguments string) (rows, error) {
	header, meta := http.Header{"Mcp-Session-Id": {c.session}, "Mcp-Protocol-Version": {legacy}}, ""
	if c.session == "" {
		header = http.Header{"Mcp-Method": {"tools/call"}, "Mcp-Name": {tool}, "Mcp-Protocol-Version": {modern}}
		meta = `,"_meta":{"` + metaVersion + `":"` + modern + `","io.modelcontextprotocol/clientInfo":{"name":"e2e","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	}
	id := strconv.FormatInt(requests.Add(1), 10)
	_, body, err := c.post(ctx, header, `{"jsonrpc":"2.0","id":`+id+`,"method":"tools/call","params":{"name":"`+tool+`","arguments":`+arguments+meta+`}}`)
	if err != nil {
		return rows{}, err
	}
	return readRows(body)
}

// requests counts them, for their IDs.
var requests atomic.Int64

// inSession opens a session.
func (c caller) inSession(ctx context.Context) (caller, error) {
	h, _, err := c.post(ctx, nil, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+legacy+`","capabilities":{},"clientInfo":{"name":"e2e","version":"1"}}}`)
	c.session = h.Get("Mcp-Session-Id")
	if err == nil && c.session == "" {
		err = errors.New("initialize gave no session")
	}
	return c, err
}

func (c caller) post(ctx context.Context, further http.Header, body string) (http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, cmp.Or(c.at, c.h.issuer)+"/mcp/"+c.server, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Host = strings.TrimPrefix(c.h.issuer, "http://")
	req.Header = mcpHeader(c.raw)
	maps.Copy(req.Header, further)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if c.heard != nil {
		c.heard(resp.Header, b)
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d: %s", resp.StatusCode, b)
	}
	return resp.Header, b, err
}

// readRows reads an answer, in JSON or in events.
func readRows(body []byte) (rows, error) {
	var m struct {
		Result *struct {
			IsError           bool
			Content           []struct{ Text string }
			StructuredContent rows
		}
		Error *rpcError
	}
	for line := range strings.Lines(string(body)) {
		if data, ok := strings.CutPrefix(line, "data:"); ok && strings.Contains(data, `"id":`) {
			body = []byte(data)
		}
	}
	switch err := json.Unmarshal(body, &m); {
	case err != nil:
		return rows{}, fmt.Errorf("%w: %s", err, body)
	case m.Error != nil:
		return rows{}, m.Error
	case m.Result == nil || len(m.Result.Content) == 0:
		return rows{}, fmt.Errorf("the answer says nothing: %s", body)
	case m.Result.IsError:
		return rows{}, fmt.Errorf("%w %s", errTool, m.Result.Content[0].Text)
	}
	return m.Result.StructuredContent, nil
}

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // for the script
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

//go:embed command.sh
var commandScript string

// legacyHouse is a wicketgate serve with servers that get credentials of Vault.
type legacyHouse struct {
	*process
	database string // SQLite's file
	secret   string // of the workload
}

func startLegacyHouse(ctx context.Context, binary, dir, vault string, servers map[string]legacyServer) (*legacyHouse, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	h := &legacyHouse{database: filepath.Join(dir, "wicketgate.db"), secret: rand.Text() + rand.Text()}
	sum := sha256.Sum256([]byte(h.secret))
	config := filepath.Join(dir, "wicketgate.yaml")
	for path, content := range map[string]string{
		filepath.Join(dir, "access.yaml"): legacyAccess(servers),
		config: `issuer: http://` + address + `
listen: ` + address + `
admin: {listen: "127.0.0.1:0"}
data: data
store: {sqlite: {path: "` + h.database + `"}}
policy: access.yaml
trust: first-use
vault: {address: "` + vault + `", login: {method: jwt, role: wicketgate}}
clients:
  - {id: ` + workload + `, secret_sha256: ` + hex.EncodeToString(sum[:]) + `}
servers:
` + legacyYAML(servers),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	h.process, err = start(ctx, nameGateway, binary, "serve", "--config", config)
	return h, err
}

func legacyYAML(servers map[string]legacyServer) string {
	var lines []string
	for _, s := range servers {
		lines = append(lines, fmt.Sprintf("  - {name: %s, budget: {calls: 0, streams: 0, bytes: 0}, %s}\n", s.name, s.yaml))
	}
	return strings.Join(lines, "")
}

func legacyAccess(servers map[string]legacyServer) string {
	lines := []string{"version: 1\nroles:\n  bench:\n    who: {clients: [" + workload + "]}\n    servers:\n"}
	for _, s := range servers {
		lines = append(lines, "      "+s.name+": {tools: [echo]}\n")
	}
	return strings.Join(lines, "")
}

// legacySessions are sessions with one server.
type legacySessions struct {
	url     string
	headers []http.Header // by connection
}

// openSessions opens so many. What was opened is returned with an error, too.
func (h *legacyHouse) openSessions(ctx context.Context, s legacyServer, n int) (*legacySessions, error) {
	out := &legacySessions{url: h.url + "/mcp/" + s.name}
	accessToken, err := h.newToken(ctx, out.url)
	if err != nil {
		return out, fmt.Errorf("access token: %w", err)
	}
	for range n {
		session, err := openSession(ctx, out.url, accessToken)
		if err != nil {
			return out, fmt.Errorf("open session: %w", err)
		}
		out.headers = append(out.headers, mcpHeader(accessToken, session))
	}
	return out, nil
}

func (h *legacyHouse) newToken(ctx context.Context, resource string) (string, error) {
	r := http.Request{Header: formHeader.Clone()}
	r.SetBasicAuth(workload, h.secret)
	return newToken(ctx, h.url+"/oauth2/token", r.Header, url.Values{"grant_type": {"client_credentials"}, "resource": {resource}}.Encode())
}

// load is the same call in each session.
func (s *legacySessions) load(server *process, cfg config) (load, error) {
	l := load{server: server, right: rightLegacy, warm: cfg.warm(), time: cfg.time}
	for _, h := range s.headers {
		request, err := httpRequest(s.url, h, callBody)
		if err != nil {
			return l, err
		}
		l.requests = append(l.requests, [][]byte{request})
	}
	return l, nil
}

// end ends them, as a client does that has finished.
func (s *legacySessions) end(ctx context.Context) error {
	for _, h := range s.headers {
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.url, nil)
		if err != nil {
			return err
		}
		req.Header = h
		resp, err := preparing.Do(req)
		if err != nil {
			return fmt.Errorf("end a session: %w", err)
		}
		_ = resp.Body.Close()
	}
	return nil
}

// rightLegacy is the right answer, also as a server of the stateless era gives it: a command
// with a process per call is presented as one (MCP 2026-07-28, resultType).
func rightLegacy(status int, body []byte) bool {
	return rightCall(status, bytes.Replace(body, []byte(`"resultType":"complete",`), nil, 1))
}

package main

import (
	"bufio"
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	statelessVersion = "2026-07-28"
	sessionUses      = 20 // of a session, before it is ended
	answerWithin     = 30 * time.Second
	lingersFor       = 2 * time.Second // of a stream that waits for news
)

// errDown is an answer that only an upstream which is down, or was, may give.
var errDown = errors.New("the server is not there")

// soaker is one connection's worth of clients: it calls one thing after the other.
type soaker struct {
	*soak
	number   int
	client   *http.Client
	calls    int
	tokens   map[string]soakToken // by server
	sessions map[string]*soakSession
	streams  sync.WaitGroup
}

type soakSession struct {
	id   string
	uses int
}

// operation is one thing that a client does at a server.
type operation func(ctx context.Context, server string, modern bool) error

func (s *soaker) operations() []operation {
	return []operation{s.echo, s.echo, s.echo, s.stream, s.stream, s.hangUp, s.list, s.listen}
}

// run does something at each tick, until ctx is done.
func (s *soaker) run(ctx context.Context, every time.Duration) {
	defer s.client.CloseIdleConnections()
	defer s.streams.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		server, modern := soakServers[rand.IntN(len(soakServers))], rand.IntN(2) == 0
		all := s.operations()
		err := all[rand.IntN(len(all))](context.WithoutCancel(ctx), server, modern)
		s.count(server, err)
	}
}

// count sorts what came of an operation.
func (s *soaker) count(server string, err error) {
	switch {
	case err == nil:
		s.right.Add(1)
		if fragile(server) {
			s.rightFragile.Add(1)
		}
	case errors.Is(err, errDown) && fragile(server):
		s.down.Add(1)
	default:
		s.complain(fmt.Sprintf("%s: %v", server, err))
	}
}

func (s *soaker) echo(ctx context.Context, server string, modern bool) error {
	return s.call(ctx, server, modern, toolEcho, 0)
}

func (s *soaker) stream(ctx context.Context, server string, modern bool) error {
	return s.call(ctx, server, modern, toolStream, soakSteps)
}

// call calls a tool and wants its own payload back, and nobody else's.
func (s *soaker) call(ctx context.Context, server string, modern bool, tool string, steps int) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	id, payload := s.next()
	resp, err := s.callTool(ctx, server, modern, tool, id, payload)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	messages, err := readMessages(resp)
	if err != nil {
		return fmt.Errorf("%s: %w", tool, err)
	}
	return judge(messages, id, payload, steps)
}

func (s *soaker) next() (id int, payload string) {
	s.calls++
	return s.calls, fmt.Sprintf("soak-%d-%d", s.number, s.calls)
}

// hangUp closes the connection of a call that has begun to answer. In the era of sessions
// that cancels nothing, so that it says so as well.
func (s *soaker) hangUp(ctx context.Context, server string, modern bool) error {
	call, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	id, payload := s.next()
	resp, err := s.callTool(call, server, modern, toolHang, id, payload)
	if err != nil {
		return err
	}
	first, err := bufio.NewReader(resp.Body).ReadString('\n')
	cancel()
	_ = resp.Body.Close()
	switch {
	case err != nil && fragile(server):
		return errDown
	case err != nil:
		return fmt.Errorf("%s: %w after %q", toolHang, err, first)
	case modern:
		return nil
	}
	return s.notify(ctx, server, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, id))
}

func (s *soaker) list(ctx context.Context, server string, modern bool) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	id, _ := s.next()
	resp, err := s.ask(ctx, server, modern, "tools/list", "", id, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	messages, err := readMessages(resp)
	if err != nil {
		return fmt.Errorf("tools/list: %w", err)
	}
	a, err := answerTo(messages, id)
	if err != nil {
		return err
	}
	for _, tool := range []string{toolEcho, toolStream, toolHang} {
		if !bytes.Contains(a.Result, []byte(`"name":"`+tool+`"`)) {
			return fmt.Errorf("tools/list has no %s: %s", tool, a.Result)
		}
	}
	return nil
}

// listen waits for news for a while, beside what follows.
func (s *soaker) listen(ctx context.Context, server string, modern bool) error {
	ctx, cancel := context.WithTimeout(ctx, lingersFor)
	resp, err := s.openStream(ctx, server, modern)
	if err != nil {
		cancel()
		return err
	}
	s.streams.Go(func() {
		defer cancel()
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // ends with ctx
	})
	return nil
}

func (s *soaker) openStream(ctx context.Context, server string, modern bool) (*http.Response, error) {
	if modern {
		id, _ := s.next()
		return s.ask(ctx, server, true, "subscriptions/listen", "", id, `"notifications":{"toolsListChanged":true}`)
	}
	session, err := s.session(ctx, server)
	if err != nil {
		return nil, err
	}
	return s.do(ctx, server, http.MethodGet, "", func(h http.Header) { session.apply(h) })
}

func (s *soaker) callTool(ctx context.Context, server string, modern bool, tool string, id int, payload string) (*http.Response, error) {
	return s.ask(ctx, server, modern, "tools/call", tool, id, fmt.Sprintf(`"name":%q,"arguments":{"payload":%q}`, tool, payload))
}

// ask posts a request in the era; params are its own members, without braces.
func (s *soaker) ask(ctx context.Context, server string, modern bool, method, name string, id int, params string) (*http.Response, error) {
	meta := `{"progressToken":` + strconv.Itoa(id)
	dress := func(h http.Header) {
		h.Set("Mcp-Protocol-Version", statelessVersion)
		h.Set("Mcp-Method", method)
		if name != "" {
			h.Set("Mcp-Name", name)
		}
	}
	if modern {
		meta += `,"io.modelcontextprotocol/protocolVersion":"` + statelessVersion + `","io.modelcontextprotocol/clientCapabilities":{}`
	} else {
		session, err := s.session(ctx, server)
		if err != nil {
			return nil, err
		}
		dress = session.apply
	}
	if params != "" {
		params += ","
	}
	return s.do(ctx, server, http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s"_meta":%s}}}`, id, method, params, meta), dress)
}

// session is the one of this server, which is opened where there is none and ended after
// a while.
func (s *soaker) session(ctx context.Context, server string) (*soakSession, error) {
	if old := s.sessions[server]; old != nil && old.uses < sessionUses {
		old.uses++
		return old, nil
	} else if old != nil {
		s.endSession(ctx, server, old)
	}
	resp, err := s.do(ctx, server, http.MethodPost, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+protocolVersion+
		`","capabilities":{},"clientInfo":{"name":"soak","version":"1"}}}`, func(http.Header) {})
	if err != nil {
		return nil, fmt.Errorf("initialize: %w", err)
	}
	defer resp.Body.Close()
	messages, err := readMessages(resp)
	if err == nil {
		_, err = answerTo(messages, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("initialize: %w", err)
	}
	opened := &soakSession{id: resp.Header.Get("Mcp-Session-Id")}
	if opened.id == "" {
		return nil, errors.New("initialize gave no session")
	}
	s.sessions[server] = opened
	return opened, s.notify(ctx, server, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

// notify says something in the session; where that has gone meanwhile, nobody is to be told.
func (s *soaker) notify(ctx context.Context, server, message string) error {
	session := s.sessions[server]
	if session == nil {
		return nil
	}
	resp, err := s.do(ctx, server, http.MethodPost, message, session.apply)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return resp.Body.Close()
}

func (s *soaker) endSession(ctx context.Context, server string, old *soakSession) {
	delete(s.sessions, server)
	if resp, err := s.do(ctx, server, http.MethodDelete, "", old.apply); err == nil {
		_ = resp.Body.Close()
	}
}

func (o *soakSession) apply(h http.Header) {
	h.Set("Mcp-Protocol-Version", protocolVersion)
	h.Set("Mcp-Session-Id", o.id)
}

// do sends a request with the token of this server. What is no success is errDown where a
// server that is down may be answered so.
func (s *soaker) do(ctx context.Context, server, method, body string, dress func(http.Header)) (*http.Response, error) {
	token, err := s.token(ctx, server)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.issuer+"/mcp/"+server, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = mcpHeader(token, "")
	req.Header.Del("Mcp-Protocol-Version")
	dress(req.Header)
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch resp.StatusCode {
	case http.StatusNotFound: // the session went with its server
		delete(s.sessions, server)
		return nil, errors.Join(errDown, fmt.Errorf("%s: %s %.300s", method, resp.Status, text), err)
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, errors.Join(errDown, fmt.Errorf("%s: %s %.300s", method, resp.Status, text), err)
	}
	return nil, errors.Join(fmt.Errorf("%s %.200s: %s %.300s", method, body, resp.Status, text), err)
}

// soakMessage is a JSON-RPC message from the gateway.
type soakMessage struct {
	ID     stdjson.RawMessage `json:"id"`
	Method string             `json:"method"`
	Result stdjson.RawMessage `json:"result"`
	Error  stdjson.RawMessage `json:"error"`
	raw    string
}

// readMessages reads an answer to its end, a stream or one message.
func readMessages(resp *http.Response) ([]soakMessage, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	texts := []string{string(body)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		texts = nil
		for line := range strings.Lines(string(body)) {
			if data, ok := strings.CutPrefix(line, "data:"); ok && strings.TrimSpace(data) != "" {
				texts = append(texts, data)
			}
		}
	}
	messages := make([]soakMessage, len(texts))
	for i, text := range texts {
		if err := stdjson.Unmarshal([]byte(text), &messages[i]); err != nil {
			return nil, fmt.Errorf("%w in %.300q", err, text)
		}
		messages[i].raw = text
	}
	return messages, nil
}

// answerTo is the answer to the request, of which there is one.
func answerTo(messages []soakMessage, id int) (soakMessage, error) {
	var found []soakMessage
	for _, m := range messages {
		if m.Method == "" {
			found = append(found, m)
		}
	}
	switch {
	case len(found) != 1:
		return soakMessage{}, fmt.Errorf("%d answers to request %d: %.300v", len(found), id, messages)
	case string(found[0].ID) != strconv.Itoa(id):
		return soakMessage{}, fmt.Errorf("request %d was answered under %s: %.300s", id, found[0].ID, found[0].raw)
	case found[0].Error != nil:
		return soakMessage{}, errors.Join(errDown, fmt.Errorf("%.300s", found[0].Error))
	}
	return found[0], nil
}

var anyPayload = regexp.MustCompile(`soak-\d+-\d+`)

// judge wants the payload in the answer, in each step before it, and no other anywhere.
func judge(messages []soakMessage, id int, payload string, steps int) error {
	for _, m := range messages {
		for _, other := range anyPayload.FindAllString(m.raw, -1) {
			if other != payload {
				return fmt.Errorf("request %d with %s was told %.300s", id, payload, m.raw)
			}
		}
	}
	a, err := answerTo(messages, id)
	if err != nil {
		return err
	}
	if !bytes.Contains(a.Result, []byte(`"text":"`+payload+`"`)) {
		if bytes.Contains(a.Result, []byte(`"isError":true`)) {
			return errors.Join(errDown, fmt.Errorf("%.300s", a.Result))
		}
		return fmt.Errorf("request %d with %s was answered %.300s", id, payload, a.Result)
	}
	if told := len(messages) - 1; told != steps {
		return fmt.Errorf("request %d was told %d times before its answer, want %d", id, told, steps)
	}
	return nil
}

package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/policies"
)

// everyServer names the endpoint over all servers in the audit log. No server can be
// called so.
const everyServer = "*"

// separator stands between a server's name, which has no underscore, and that of its tool
// or prompt: a name is a function of the configuration, whatever servers come and go.
const separator = "__"

// listWithin is how long a server may take to list for that endpoint; then it is left out.
const listWithin = 10 * time.Second

// every reports whether this is the endpoint over all servers.
func (p *passage) every() bool { return p.up == p.g.all }

// at is the message as the server's own endpoint would have it, with the names that the
// server knows.
func (p *passage) at(up *upstream, params object) *passage {
	q := *p
	q.up, q.event.Server, q.msg.params, q.input = up, up.Name, params, object{}
	q.session.Translated = !p.stateless
	return &q
}

// mine are the servers that the caller may use, in the order of their names.
func (p *passage) mine() []*upstream {
	var mine []*upstream
	for _, name := range p.g.names {
		up := p.g.upstreams[name]
		bound := !up.SenderConstrained || !p.Confirmation().IsZero()
		if q := p.at(up, nil); bound && q.decide(policies.ActionSession, "", nil).Allowed() {
			mine = append(mine, up)
		}
	}
	return mine
}

// serveEvery is a message for all servers, or for the one that its name names.
func (p *passage) serveEvery() *rpcError {
	if !p.Scope().Has(oauth.ScopeTools) && !p.Scope().Has(oauth.ScopeResources) && !p.Scope().Has(oauth.ScopePrompts) {
		return p.stepUp(strings.Join(oauth.DefaultScopes(), " "))
	}
	switch p.msg.method {
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list":
		return p.listEvery()
	case "tools/call", "prompts/get":
		return p.atNamed("name", separator, text(p.msg.params.get("name")), (*passage).common)
	case "resources/read":
		return p.atNamed("uri", "+", text(p.msg.params.get("uri")), (*passage).common)
	case "completion/complete":
		return p.completeEvery()
	case "server/discover":
		return p.performHere(func(context.Context) (outcome, *rpcError) { return p.discoveredFrom(p.g.everyServerSays()) })
	case "subscriptions/listen":
		return p.subscribeEvery()
	}
	return p.errNoMethod()
}

// everyServerSays is what the endpoint says of itself.
func (g *Gateway) everyServerSays() jsontext.Value {
	return jsontext.Value(`{"capabilities":{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true},"completions":{}},"serverInfo":` + string(ownInfo) +
		`,"instructions":"Tools and prompts are called SERVER__NAME, and resources SERVER+URI."}`)
}

// initializeEvery opens a session over all servers: the sessions with them are kept here.
func (p *passage) initializeEvery(params initializeParams) *rpcError {
	return p.performHere(func(context.Context) (outcome, *rpcError) {
		p.nameSession()
		s := session{owner: p.owner(sessionLifetime), Name: p.session.Name, Version: params.version, Translated: true, Capabilities: bounded(params.capabilities), Info: bounded(params.client)}
		s.URLs = s.Version == sessionVersions[0] && offersURLs(params.capabilities)
		handle, err := seal(p.g, kindSession, s)
		if err != nil {
			return outcome{}, errUnavailable("session_unsealable", err)
		}
		o, err := readObject(p.g.everyServerSays())
		if err != nil {
			return outcome{}, errUnavailable("malformed", err)
		}
		result := append(object{{"protocolVersion", quote(params.version)}}, o...).with()
		return outcome{status: "ok", answer: func() {
			p.w.Header().Set("Mcp-Session-Id", handle)
			writeRPC(p.w, p.msg.id, result, nil)
		}}, nil
	})
}

// atNamed serves the message at the server that its name begins with. A server that is
// not there, and one that the caller may not use, are an unknown name alike.
func (p *passage) atNamed(memberName, sep, name string, serve func(*passage) *rpcError) *rpcError {
	server, rest, ok := strings.Cut(name, sep)
	up := p.g.upstreams[server]
	if !ok || up == nil || up.SenderConstrained && p.Confirmation().IsZero() {
		p.event.Tool = truncate(name)
		return p.unknown("not_listed_or_not_approved")
	}
	q := p.at(up, p.msg.params.set(memberName, quote(rest)))
	if d := q.decide(policies.ActionSession, "", nil); !d.Allowed() { // before anything is said of it
		p.event.Tool = truncate(name)
		return p.unknown(string(d.Reason))
	}
	if err := q.thawed(); err != nil {
		return err
	}
	return q.serveAt(p, serve)
}

// serveAt has the refusal recorded with what it was about.
func (p *passage) serveAt(of *passage, serve func(*passage) *rpcError) *rpcError {
	err := serve(p)
	of.event, of.facts = p.event, p.facts
	return err
}

// unknown is the one answer for a name that leads nowhere.
func (p *passage) unknown(reason string) *rpcError {
	switch p.msg.method {
	case "tools/call":
		return errUnknownTool(reason)
	case "resources/read":
		return p.errUnknownResource(reason)
	case "completion/complete":
		if ref, err := readObject(orEmpty(p.msg.params.get("ref"))); err == nil && text(ref.get("type")) == "ref/resource" {
			return p.errUnknownResource(reason)
		}
	}
	return errUnknownPrompt(reason)
}

func (p *passage) completeEvery() *rpcError {
	ref, err := readObject(orEmpty(p.msg.params.get("ref")))
	if err != nil {
		return &rpcError{Code: codeInvalidParams, Message: plain(errBadParams), reason: "malformed", cause: err}
	}
	memberName, sep := "name", separator
	if text(ref.get("type")) == "ref/resource" {
		memberName, sep = "uri", "+"
	}
	name := text(ref.get(memberName))
	return p.atNamed("", sep, name, func(q *passage) *rpcError {
		_, rest, _ := strings.Cut(name, sep)
		q.msg.params = p.msg.params.set("ref", ref.set(memberName, quote(rest)).with())
		return q.completion()
	})
}

// subscribeEvery is subscriptions/listen: news of the lists, which the gateway has itself.
func (p *passage) subscribeEvery() *rpcError {
	s, err := parseSubscription(p.msg.params)
	if err != nil {
		return &rpcError{Code: codeInvalidParams, Message: plain(errBadParams), reason: "malformed", cause: err}
	}
	s.resources, p.long = nil, true
	return p.performHere(func(ctx context.Context) (outcome, *rpcError) { return p.subscribed(p.ownSubscription(ctx, s)) })
}

// part is what one server lists.
type part struct {
	server  string
	entries []jsontext.Value
	err     error
}

// listEvery asks all servers at once. One that does not answer is left out, and said so.
func (p *passage) listEvery() *rpcError {
	l := listings[p.msg.method]
	return p.performHere(func(ctx context.Context) (outcome, *rpcError) {
		entries, missing := []byte{'['}, object{}
		for _, part := range p.listParts(ctx, l) {
			if part.err != nil {
				p.g.cfg.Log.WarnContext(ctx, "server left out of a list", "server", part.server, "method", p.msg.method, "error", part.err)
				missing = append(missing, member{part.server, quote(reasonOf(part.err, "unavailable"))})
			}
			for _, e := range part.entries {
				if len(entries) > 1 {
					entries = append(entries, ',')
				}
				entries = append(entries, e...)
			}
		}
		result := object{{l.member, append(entries, ']')}}
		if p.stateless {
			result = append(result, member{"resultType", quote("complete")}, member{"ttlMs", jsontext.Value("0")}, member{"cacheScope", quote("private")})
		}
		if len(missing) > 0 {
			result = append(result, member{"_meta", object{{"com.github.wicketgate/unavailable", missing.with()}}.with()})
		}
		raw := rpcBody(p.msg.id, result.with(), nil)
		return outcome{status: "ok", resultDigest: digest(raw), answer: func() { p.out.final(raw) }}, nil
	})
}

func (p *passage) listParts(ctx context.Context, l listing) []part {
	servers := p.mine()
	parts := make([]part, len(servers))
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	var wg sync.WaitGroup
	for i, up := range servers {
		wg.Go(func() {
			q := p.at(up, nil).aside(p.msg.method)
			q.msg.method = p.msg.method
			parts[i].server = up.Name
			parts[i].err = q.recorded(ctx, "one list over all servers", func(ctx context.Context) (err error) {
				parts[i].entries, err = q.listPart(ctx, l)
				return err
			})
		})
	}
	wg.Wait()
	return parts
}

// listPart is all pages of one server, filtered, with the names of this endpoint.
func (p *passage) listPart(ctx context.Context, l listing) ([]jsontext.Value, error) {
	if err := p.thawed(); err != nil {
		return nil, err
	}
	call, err := p.sessionCall(ctx)
	if err != nil {
		return nil, err
	}
	ctx, in, failure := p.borrow(ctx, call, p.msg.method)
	if failure != nil {
		return nil, failure
	}
	defer in.end()
	var entries []jsontext.Value
	err = p.onLeg(ctx, call, func(at leg) (err error) {
		entries, err = p.entries(ctx, call, at, l)
		return err
	})
	return entries, err
}

// entries are those of all pages.
func (p *passage) entries(ctx context.Context, call token.Call, at leg, l listing) (entries []jsontext.Value, _ error) {
	size := 0
	page := func(cursor string) (object, error) {
		result, err := p.ask(ctx, call, at, p.msg.method, cursor)
		if result.get(l.member) == nil { // an answer without a list is an empty one
			result = append(result, member{l.member, jsontext.Value("[]")})
		}
		return result, err
	}
	err := allEntries(page, l.member, func(entry jsontext.Value) error {
		if !l.sees(p, ctx, entry) {
			return nil
		}
		entry, err := p.entryHere(entry)
		if size += len(entry); err == nil && size > maxResponse { // a server's pages have no end of their own
			err = errLongList
		}
		entries = append(entries, entry)
		return err
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

var errLongList = fmt.Errorf("a list of more than %d bytes", maxResponse)

// entryHere is an entry as it is listed over all servers: redacted as at the server's own
// endpoint, where definitions of tools are passed on as they were approved.
func (p *passage) entryHere(entry jsontext.Value) (jsontext.Value, error) {
	if p.msg.method == "tools/list" {
		return p.renamed(entry), nil
	}
	redacted, _, err := p.redact(entry)
	if err != nil {
		return nil, errRedaction(err)
	}
	return p.renamed(redacted), nil
}

// renamed is an entry with its name at the endpoint over all servers.
func (p *passage) renamed(entry jsontext.Value) jsontext.Value {
	o, err := readObject(entry)
	if err != nil {
		return entry
	}
	for i, m := range o {
		switch {
		case m.name == "uri" || m.name == "uriTemplate":
			o[i].value = quote(p.up.Name + "+" + text(m.value))
		case m.name == "name" && (p.msg.method == "tools/list" || p.msg.method == "prompts/list"):
			o[i].value = quote(p.up.Name + separator + text(m.value))
		}
	}
	return o.with()
}

// performHere is perform for what is done here, without an upstream.
func (p *passage) performHere(do func(context.Context) (outcome, *rpcError)) *rpcError {
	d := p.mayBegin()
	if !d.Allowed() {
		return errDenied(d)
	}
	return p.account(audit.Event{Call: rand.Text(), Reason: string(d.Reason), Rule: d.Rule}, do)
}

// mayBegin asks for a session with the server, or with any of all.
func (p *passage) mayBegin() (d policies.Decision) {
	if !p.every() {
		return p.decide(policies.ActionSession, "", nil)
	}
	for _, name := range p.g.names {
		if d = p.at(p.g.upstreams[name], nil).decide(policies.ActionSession, "", nil); d.Allowed() {
			break
		}
	}
	return d
}

// names are those of the servers, sorted.
func names(upstreams map[string]*upstream) []string {
	var out []string
	for name := range upstreams {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// version changes whenever what is served at the endpoint does.
func (p *passage) version() int64 {
	if !p.every() {
		return p.up.catalog.version()
	}
	var sum int64
	for _, up := range p.g.upstreams {
		sum += up.catalog.version()
	}
	return sum
}

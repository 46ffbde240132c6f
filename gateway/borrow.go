package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/token"
)

// borrow obtains the credential for a message of that method, after its exchange and where
// it needs one, and returns ctx with it. Within a call there is one already: it is used for
// all that the call sends. Who borrows ends it.
func (p *passage) borrow(ctx context.Context, call token.Call, method string) (context.Context, *lent, *rpcError) {
	l := p.up.lender
	if !l.wants(method) || lentOf(ctx) != nil {
		return ctx, nil, nil
	}
	in, failure := l.lend(ctx, credential.Request{Call: call, ID: p.id, Session: p.sessionName(), Until: p.until()}, p.mayStill)
	if failure != nil {
		return ctx, nil, failure
	}
	p.lease = in.lease()
	return in.in(ctx), in, nil
}

// until is when this message has ended at the latest: a call of the stateless era may be
// parked, and a stream without an end lives by the access token.
func (p *passage) until() time.Time {
	end := p.g.cfg.Now().Add(p.up.Timeout)
	if p.stateless {
		end = end.Add(parkedFor)
	}
	if expiry := p.Expiry(); p.long && expiry.After(end) {
		return expiry
	}
	return end
}

// nameSession gives a session that begins a name of its own, where credentials are kept for it.
func (p *passage) nameSession() {
	if p.lends() {
		p.session.Name = rand.Text()
	}
}

// lends reports whether this endpoint leads to a server that is called with credentials.
func (p *passage) lends() bool {
	if !p.every() {
		return p.up.lender != nil
	}
	for _, up := range p.g.upstreams {
		if up.lender != nil {
			return true
		}
	}
	return false
}

// sessionName says for whose use a credential may be kept: for one session of a client, or
// where the client has none for its grant. It is a digest, and no two subjects have the same.
func (p *passage) sessionName() string {
	k := p.sharedKey()
	if p.session.Name != "" {
		k.txn, k.capabilities = "", ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %q", p.up.Name, k.subject, k.client, k.txn, k.capabilities, p.session.Name))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// livesBy tells sessions apart that live by different credentials: of one session of a
// client, or in the hands of the same actors. A process has the one that it began with.
func (p *passage) livesBy() string {
	if p.up.lender == nil {
		return ""
	}
	return fmt.Sprintf("%q %q", p.session.Name, p.Actors().Chain())
}

// endLent ends what is kept for a session that is over.
func (p *passage) endLent() {
	if !p.every() {
		if l := p.up.lender; l != nil {
			name := p.sessionName()
			p.up.shared.over(name)
			l.from.EndSession(name)
		}
		return
	}
	for _, up := range p.g.upstreams {
		p.at(up, nil).endLent()
	}
}

// endLent does it for sessions that the gateway kept, unless the same caller has another
// one there.
func (up *upstream) endLent(sessions []*sharedSession) {
	if up.lender == nil {
		return
	}
	open := up.shared.names()
	for _, s := range sessions {
		if !open[s.name] {
			up.lender.from.EndSession(s.name)
		}
	}
}

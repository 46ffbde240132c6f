package vaultbridge_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/credential"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
	"github.com/wicketgate/wicketgate/vaultbridge"
)

// A20: TestTwoSubjectsNeverGetTheSameCredential, nor two clients or agents of one subject, nor
// a workload and a person of one name, however many ask at the same time, in the same
// session name.
func TestTwoSubjectsNeverGetTheSameCredential(t *testing.T) {
	for _, per := range []vaultbridge.Per{vaultbridge.PerSubject, vaultbridge.PerSession, vaultbridge.PerCall} {
		w := newWorld(t)
		b := w.keeps(per)
		if per == vaultbridge.PerCall {
			w.role(nil)
		}
		who := map[string]func() credential.Request{
			"alice with editor": func() credential.Request { return w.call("alice", "editor", "reports") },
			"alice with other":  func() credential.Request { return w.call("alice", "other", "reports") },
			"bob with editor":   func() credential.Request { return w.call("bob", "editor", "reports") },
			"workload bob":      func() credential.Request { return w.call("bob", "bob", "reports") },
			"alice's agent":     w.delegated,
		}
		var mu sync.Mutex // guards got
		got := map[string][]string{}
		var all sync.WaitGroup
		for name, request := range who {
			for range 6 {
				all.Go(func() {
					r := request()
					r.Session = "the same"
					c, err := b.Source("reports").Obtain(t.Context(), r)
					if err != nil {
						t.Error(name, err)
						return
					}
					defer c.End()
					mu.Lock()
					defer mu.Unlock()
					if u := user(c); !slices.Contains(got[name], u) {
						got[name] = append(got[name], u)
					}
				})
			}
		}
		all.Wait()
		owner, want := map[string]string{}, 1
		if per == vaultbridge.PerCall {
			want = 6
		}
		for name, users := range got {
			if len(users) != want {
				t.Errorf("per %s: %s got %d credentials, want %d", per, name, len(users), want)
			}
			for _, u := range users {
				if other := owner[u]; other != "" || u == "" {
					t.Errorf("per %s: %q is both %s's and %s's", per, u, name, other)
				}
				owner[u] = name
			}
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
		w.nothingLeft()
	}
}

// delegated is a call of an agent for alice, who uses the editor.
func (w *world) delegated() credential.Request {
	digest := must(token.Digest([]byte(`{}`)))
	agent := identity.MustClientID("agent")
	_, parent, err := w.minter.Access(token.AccessSpec{Subject: must(identity.ParseSubject("alice")), ClientID: identity.MustClientID("editor"),
		Audience: "https://mcp.test/mcp/reports", Scope: must(token.ParseScope("mcp:tools")), Txn: "grant-alice", Lifetime: time.Hour})
	actor := token.ActorOf(issuer, agent)
	_, access, err2 := w.minter.Delegate(parent, token.DelegateSpec{Child: token.Child{Audience: "https://mcp.test/mcp/reports", ClientID: agent, Actor: &actor}, Scope: parent.Scope(), Lifetime: time.Hour})
	c, err3 := w.minter.Call(access, token.CallSpec{Audience: audience, Presenter: identity.MustClientID("gateway"), Scope: must(token.ToolScope("query")),
		Details: token.Details{Server: "reports", ArgumentsDigest: digest, DefinitionDigest: digest, PolicyDigest: digest}})
	if err := errors.Join(err, err2, err3); err != nil {
		panic(err)
	}
	return credential.Request{Call: c, ID: "delegated", Until: w.now().Add(limit)}
}

// TestCredentialOfASubjectEndsWithItsTime: the calls afterwards are other users', and who
// goes on with the old one may finish.
func TestCredentialOfASubjectEndsWithItsTime(t *testing.T) {
	w := newWorld(t)
	b := w.keeps(vaultbridge.PerSubject)
	first, second := w.obtain(b, w.alice()), w.obtain(b, w.alice())
	if user(first) != user(second) || w.gate.asked("auth/jwt/login") != 1 {
		t.Fatalf("two calls of one subject: %q and %q, %d logins", user(first), user(second), w.gate.asked("auth/jwt/login"))
	}
	first.End()
	w.pass(5*time.Minute + time.Second)
	w.sweep(b)
	third := w.obtain(b, w.alice())
	if user(third) == user(second) || closed(second.Done()) {
		t.Fatalf("after its time: %q again (%v), or the call in progress lost it (%v)", user(third), user(third) == user(second), closed(second.Done()))
	}
	second.End()
	w.until("the old user is gone", func() bool { return slices.Equal(w.users(), []string{user(third)}) })
	w.obtain(b, w.alice()).End()
	third.End()
	w.pass(5*time.Minute + time.Second)
	w.sweep(b)
	w.nothingLeft()
}

// TestCallThatNeverEnds: what is kept ends with the limit of its last call.
func TestCallThatNeverEnds(t *testing.T) {
	w := newWorld(t)
	b := w.keeps(vaultbridge.PerSubject)
	c := w.obtain(b, w.alice())
	w.pass(6*time.Minute + time.Second)
	w.sweep(b)
	if !closed(c.Done()) {
		t.Error("a call that is forgotten keeps its credential")
	}
	w.nothingLeft()
}

// TestUnusedCredentialEnds before its time.
func TestUnusedCredentialEnds(t *testing.T) {
	w := newWorld(t)
	w.role(map[string]any{"token_ttl": "3600s", "token_explicit_max_ttl": "3600s"})
	w.database(map[string]any{"default_ttl": "3600s"})
	b := w.bridge(nil, w.server(func(s *vaultbridge.Server) { s.Per, s.TTL = vaultbridge.PerSubject, time.Hour }))
	w.obtain(b, w.alice()).End()
	w.pass(4 * time.Minute)
	w.sweep(b)
	if len(w.users()) != 1 {
		t.Fatal("the credential was not kept")
	}
	w.pass(2 * time.Minute)
	w.sweep(b)
	w.nothingLeft()
}

// TestEndOfASessionRevokes what was kept for it, and nothing of another session.
func TestEndOfASessionRevokes(t *testing.T) {
	w := newWorld(t)
	b := w.keeps(vaultbridge.PerSession)
	in := func(session string) credential.Request {
		r := w.alice()
		r.Session = session
		return r
	}
	one, other, none := w.obtain(b, in("one")), w.obtain(b, in("other")), w.obtain(b, in(""))
	if user(one) == user(other) || user(none) == user(one) || user(none) == user(other) {
		t.Fatal("two sessions share a credential")
	}
	one.End()
	other.End()
	none.End()
	w.until("what belongs to no session has ended", func() bool { return len(w.users()) == 2 })
	b.Source("reports").EndSession("one")
	w.until("the session's user is gone", func() bool { return slices.Equal(w.users(), []string{user(other)}) })
	busy := w.obtain(b, in("other"))
	b.Source("reports").EndSession("other")
	if user(busy) != user(other) || closed(busy.Done()) {
		t.Error("a call in progress lost its credential, or never had it")
	}
	busy.End()
	w.nothingLeft()
}

// TestSubjectWhoOpensSessionAfterSession keeps no more than a few users in the database.
func TestSubjectWhoOpensSessionAfterSession(t *testing.T) {
	w := newWorld(t)
	w.role(map[string]any{"token_ttl": "60s"}) // for a call alone too
	w.database(map[string]any{"default_ttl": "360s"})
	b := w.bridge(nil, w.server(func(s *vaultbridge.Server) { s.Per, s.TTL = vaultbridge.PerSession, 5*time.Minute }))
	for i := range 18 {
		r := w.alice()
		r.Session = fmt.Sprint(i)
		w.obtain(b, r).End()
	}
	r := w.call("bob", "editor", "reports")
	r.Session = "bob's"
	w.obtain(b, r).End()
	w.until("no more than sixteen are kept of one subject", func() bool { return len(w.users()) == 17 })
	if got := b.Status()[0]; got.Leases != 17 {
		t.Errorf("Status() = %+v", got)
	}
}

// TestFrozenCredentialIsNeverHandedOutAgain, not even when the freeze is lifted.
func TestFrozenCredentialIsNeverHandedOutAgain(t *testing.T) {
	w := newWorld(t)
	b := w.keeps(vaultbridge.PerSubject)
	busy, kept := w.obtain(b, w.alice()), w.obtain(b, w.call("bob", "editor", "reports"))
	kept.End()
	w.freeze(func(token.Call, string) error { return errors.New("frozen") })
	w.sweep(b)
	if !closed(busy.Done()) || !closed(kept.Done()) {
		t.Error("Done is open after a freeze")
	}
	w.nothingLeft()
	w.freeze(nil)
	again := w.obtain(b, w.alice())
	if user(again) == user(busy) {
		t.Errorf("%q was handed out again", user(again))
	}
	again.End()
	busy.End()
}

// TestGrantOfOneOfTheCallsIsRevoked: the credential ends, whoever else has it.
func TestGrantOfOneOfTheCallsIsRevoked(t *testing.T) {
	w := newWorld(t)
	b := w.keeps(vaultbridge.PerSubject)
	r := w.alice()
	w.obtain(b, w.alice()).End()
	c := w.obtain(b, r)
	w.freeze(func(call token.Call, _ string) error {
		if call.ID() == r.Call.ID() {
			return errors.New("revoked")
		}
		return nil
	})
	w.sweep(b)
	if !closed(c.Done()) {
		t.Error("Done is open")
	}
	w.nothingLeft()
}

// TestTokenThatAnOperatorRevoked: the next call logs in anew, and who goes on is told.
func TestTokenThatAnOperatorRevoked(t *testing.T) {
	w := newWorld(t)
	b := w.keeps(vaultbridge.PerSubject)
	for _, revoke := range []func(*credential.Credential){
		func(*credential.Credential) {
			w.vault.Do(t, http.MethodPost, "auth/token/revoke-accessor", map[string]any{"accessor": w.left()[0].Accessor})
		},
		func(c *credential.Credential) {
			w.vault.Do(t, http.MethodPost, "sys/leases/revoke", map[string]any{"lease_id": c.Lease, "sync": true})
		},
	} {
		busy := w.obtain(b, w.alice())
		revoke(busy)
		w.pass(time.Second)
		next := w.obtain(b, w.alice())
		if user(next) == user(busy) || !closed(busy.Done()) {
			t.Errorf("the next call got %q, that of before %q, which is told: %v", user(next), user(busy), closed(busy.Done()))
		}
		busy.End()
		w.until("the first is forgotten", func() bool { return len(w.left()) == 1 && slices.Equal(w.users(), []string{user(next)}) })
		next.End()
	}
}

// TestKeptCredentialIsNotHandedOutWhileVaultIsSealed: who seals Vault wants it to stop.
func TestKeptCredentialIsNotHandedOutWhileVaultIsSealed(t *testing.T) {
	w := newWorld(t)
	b := w.keeps(vaultbridge.PerSubject)
	c := w.obtain(b, w.alice())
	c.End()
	w.vault.Seal(t)
	w.pass(time.Second)
	w.refused(b, w.alice(), "vault_sealed")
	w.vault.UnsealAgain(t)
	again := w.obtain(b, w.alice())
	if user(again) != user(c) {
		t.Error("it was not kept")
	}
	again.End()
}

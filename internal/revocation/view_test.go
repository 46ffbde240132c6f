package revocation_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/revocation"
	"github.com/wicketgate/wicketgate/internal/token"
)

const (
	issuer = "https://as.example"
	mail   = issuer + "/mcp/mail"
)

var (
	began = time.Unix(1_800_000_000, 600_000_000) // not on a second
	alice = must(identity.ParseSubject("alice"))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// memory is a revocation.Store; the real ones pass internal/storetest.
type memory struct {
	entries []revocation.Entry
	err     error
	asked   int
}

func (m *memory) Revoke(_ context.Context, e revocation.Entry) error {
	e.Seq = int64(len(m.entries) + 1)
	m.entries = append(m.entries, e)
	return nil
}

func (m *memory) Unfreeze(ctx context.Context, e revocation.Entry) error { return m.Revoke(ctx, e) }

func (m *memory) Revocations(_ context.Context, after int64) ([]revocation.Entry, error) {
	m.asked++
	if m.err != nil || after >= int64(len(m.entries)) {
		return nil, m.err
	}
	return m.entries[after:min(after+2, int64(len(m.entries)))], nil // a few at a time
}

// world is a view over a store, a clock, and a minter that asks nobody.
type world struct {
	*revocation.View
	t        testing.TB
	store    memory
	now      time.Time
	minter   *token.Minter
	recorded []string
	full     error // of the audit log
}

type signer struct{ key *ecdsa.PrivateKey }

func (s signer) SigningKey() token.SigningKey {
	return token.SigningKey{KeyID: "k1", Algorithm: "ES256", Key: s.key}
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: began}
	clock := func() time.Time { return w.now }
	w.View = revocation.NewView(revocation.Config{Store: &w.store, Issuer: issuer, Now: clock, Record: func(_ context.Context, e revocation.Entry) error {
		if w.full != nil {
			return w.full
		}
		w.recorded = append(w.recorded, string(e.Kind)+" "+e.Name)
		return nil
	}})
	w.minter = token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: signer{must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}, Now: clock})
	w.poll()
	return w
}

func (w *world) poll() {
	w.t.Helper()
	if err := w.Poll(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// put revokes, and polls.
func (w *world) put(e revocation.Entry) {
	w.t.Helper()
	if err := w.store.Revoke(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
	w.poll()
}

func frozen(kind revocation.Kind, name string) revocation.Entry {
	e := revocation.New(kind, name, began)
	e.Frozen, e.By = true, "root"
	return e
}

// access is a token of the subject by the client.
func (w *world) access(subject, client string) token.Access {
	w.t.Helper()
	_, a, err := w.minter.Access(token.AccessSpec{Subject: must(identity.ParseSubject(subject)), ClientID: identity.MustClientID(client), Audience: mail,
		Scope: must(token.ParseScope("mcp:tools")), Txn: "txn of " + subject, Lifetime: time.Hour})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// delegated is what the agent makes of it.
func (w *world) delegated(parent token.Access, agent string) token.Access {
	w.t.Helper()
	actor := token.ActorOf(issuer, identity.MustClientID(agent))
	_, a, err := w.minter.Delegate(parent, token.DelegateSpec{Child: token.Child{Audience: mail, ClientID: identity.MustClientID(agent), Actor: &actor},
		Scope: parent.Scope(), Lifetime: time.Hour})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) want(what string, t token.Verified, want error) {
	w.t.Helper()
	if err := w.Check(t); !errors.Is(err, want) || want == nil && err != nil {
		w.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// TestEveryHandInATokenIsRefused: each rule alone, and its neighbour that it spares.
func TestEveryHandInATokenIsRefused(t *testing.T) {
	w := newWorld(t)
	root := w.access("alice", "editor")
	child := w.delegated(root, "agent")
	grandchild := w.delegated(child, "helper")
	workload := w.delegated(w.access("robot", "robot"), "helper")
	foreign := func() token.Access { // an actor of another issuer, who has a namesake here
		a, err := w.minter.Adopt(token.Foreign{Issuer: "https://partner.example", ID: "j", Subject: alice, ClientID: identity.MustClientID("c"), Scope: root.Scope(),
			IssuedAt: began, Expiry: began.Add(time.Hour), Act: &token.Actor{Issuer: "https://partner.example", Subject: must(identity.ParseSubject("eve")), ClientID: identity.MustClientID("eve")}})
		return must(a, err)
	}()
	partner := "https://partner.example|"
	qualified := w.delegated(must(w.minter.Adopt(token.Foreign{Issuer: "https://partner.example", ID: "k", Subject: alice, ClientID: identity.MustClientID(partner + "c"), Scope: root.Scope(),
		IssuedAt: began, Expiry: began.Add(time.Hour), Act: &token.Actor{Issuer: "https://partner.example", Subject: must(identity.ParseSubject(partner + "bot"))}})), "agent")
	exchanged := w.delegated(must(w.minter.Adopt(token.Foreign{Issuer: "https://partner.example", ID: "l", Subject: alice, ClientID: identity.MustClientID(partner + "c"), Scope: root.Scope(),
		IssuedAt: began, Expiry: began.Add(time.Hour)})), "agent")
	for name, test := range map[string]struct {
		entry   revocation.Entry
		refused []token.Access
		spared  []token.Access
	}{
		"the token itself":              {revocation.New(revocation.Token, root.ID(), began), []token.Access{root}, []token.Access{w.access("alice", "editor")}},
		"a token that it comes from":    {revocation.New(revocation.Token, root.ID(), began), []token.Access{child, grandchild}, []token.Access{workload}},
		"one in between":                {revocation.New(revocation.Token, child.ID(), began), []token.Access{child, grandchild}, []token.Access{root}},
		"the grant":                     {revocation.New(revocation.Grant, root.Txn(), began), []token.Access{root, grandchild}, []token.Access{workload}},
		"the client":                    {revocation.New(revocation.Client, "editor", began), []token.Access{root}, []token.Access{w.access("alice", "other"), workload}},
		"the first actor":               {revocation.New(revocation.Client, "editor", began), []token.Access{grandchild}, []token.Access{workload}},
		"the actor in the middle":       {revocation.New(revocation.Client, "agent", began), []token.Access{child, grandchild}, []token.Access{root, workload}},
		"the newest actor":              {revocation.New(revocation.Client, "helper", began), []token.Access{grandchild, workload}, []token.Access{root, child}},
		"a workload that was acted for": {revocation.New(revocation.Client, "robot", began), []token.Access{workload}, []token.Access{root}},
		"the subject":                   {revocation.New(revocation.Subject, "alice", began), []token.Access{root, child, grandchild}, []token.Access{workload, w.access("bob", "editor")}},
		"an actor, as a subject":        {revocation.New(revocation.Subject, "agent", began), []token.Access{grandchild}, []token.Access{root}},
		"the client, as a subject":      {revocation.New(revocation.Subject, "editor", began), []token.Access{root}, []token.Access{workload}},
		"a frozen actor in the chain":   {frozen(revocation.Client, "agent"), []token.Access{grandchild}, []token.Access{root}},
		"a namesake of another issuer":  {frozen(revocation.Client, "eve"), nil, []token.Access{foreign}},
		"an actor of another issuer":    {frozen(revocation.Client, partner+"c"), []token.Access{exchanged}, []token.Access{foreign}},
		"the same, as a subject":        {frozen(revocation.Subject, partner+"bot"), []token.Access{qualified}, []token.Access{foreign, exchanged}},
		"who has no client_id":          {frozen(revocation.Client, partner+"bot"), []token.Access{qualified}, []token.Access{foreign, exchanged}},
		"a subject who is a client":     {frozen(revocation.Client, "alice"), nil, []token.Access{root}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newWorld(t)
			v.put(test.entry)
			for i, a := range test.refused {
				v.want("refused "+string(rune('0'+i)), a.Verified, token.ErrRevoked)
			}
			for i, a := range test.spared {
				v.want("spared "+string(rune('0'+i)), a.Verified, nil)
			}
		})
	}
}

// A19: TestTokenMintedJustAfterTheEpochByALaggingReplica is refused, up to the margin.
func TestTokenMintedJustAfterTheEpochByALaggingReplica(t *testing.T) {
	for _, kind := range []revocation.Kind{revocation.Client, revocation.Subject} {
		w := newWorld(t)
		name := map[revocation.Kind]string{revocation.Client: "editor", revocation.Subject: "alice"}[kind]
		w.put(revocation.New(kind, name, began))
		for after, want := range map[time.Duration]error{-time.Hour: token.ErrRevoked, 0: token.ErrRevoked, revocation.Margin: token.ErrRevoked, revocation.Margin + time.Second: nil} {
			w.now = began.Add(after)
			a := w.access("alice", "editor")
			w.now = began
			w.want(string(kind)+" "+after.String(), a.Verified, want)
		}
	}
}

// TestTokenOfTheVerySecondOfAnEpoch: iat has whole seconds, so it may be older.
func TestTokenOfTheVerySecondOfAnEpoch(t *testing.T) {
	w := newWorld(t)
	e := revocation.New(revocation.Subject, "alice", began)
	e.NotBefore = began.Truncate(time.Second)
	w.now = began.Add(300 * time.Millisecond)
	a := w.access("alice", "editor")
	w.put(e)
	w.want("the same second", a.Verified, token.ErrRevoked)
}

func TestFreezeRefusesWhateverItsTimeAndItsLifting(t *testing.T) {
	w := newWorld(t)
	before := w.access("alice", "editor")
	w.put(frozen(revocation.Subject, "alice"))
	w.now = began.Add(revocation.MaxAge)
	w.want("a token from long after", func() token.Verified {
		w.now = began.Add(time.Hour)
		a := w.access("alice", "editor")
		w.now = began
		return a.Verified
	}(), revocation.ErrFrozen)
	if err := w.MayIssue(identity.MustClientID("editor"), alice); !errors.Is(err, revocation.ErrFrozen) {
		t.Errorf("MayIssue while frozen = %v", err)
	}
	w.now = began.Add(time.Minute)
	w.poll()
	w.put(revocation.Lifted(revocation.Subject, "alice", w.now))
	w.want("from before", before.Verified, token.ErrRevoked)
	w.want("from after", w.access("alice", "editor").Verified, nil)
	if err := w.MayIssue(identity.MustClientID("editor"), alice); err != nil {
		t.Errorf("MayIssue at once = %v", err)
	}
}

// TestNothingIsIssuedThatWouldBeRefused, for the client, the subject, and who is both.
func TestNothingIsIssuedThatWouldBeRefused(t *testing.T) {
	editor := identity.MustClientID("editor")
	for name, test := range map[string]struct {
		entry revocation.Entry
		want  error
	}{
		"the client is frozen":              {frozen(revocation.Client, "editor"), revocation.ErrFrozen},
		"the subject is frozen":             {frozen(revocation.Subject, "alice"), revocation.ErrFrozen},
		"the client is frozen as a subject": {frozen(revocation.Subject, "editor"), revocation.ErrFrozen},
		"the client was revoked just now":   {revocation.New(revocation.Client, "editor", began), token.ErrRevoked},
		"somebody else is frozen":           {frozen(revocation.Subject, "bob"), nil},
	} {
		w := newWorld(t)
		w.put(test.entry)
		if err := w.MayIssue(editor, alice); !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// TestNothingIsMintedOfWhatWasRevokedMeanwhile: a call token for an upstream is younger
// than any epoch, and does not name what it comes from, so its parent is asked about.
func TestNothingIsMintedOfWhatWasRevokedMeanwhile(t *testing.T) {
	for _, kind := range []revocation.Kind{revocation.Token, revocation.Subject} {
		w := newWorld(t)
		a := w.access("alice", "editor")
		w.put(revocation.New(kind, map[revocation.Kind]string{revocation.Token: a.ID(), revocation.Subject: "alice"}[kind], began))
		w.now = began.Add(2 * revocation.Margin)
		w.poll()
		m := token.NewMinter(token.MinterConfig{Issuer: issuer, Signer: signer{must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}, Now: func() time.Time { return w.now }, Revocations: w})
		_, err := m.Call(a, token.CallSpec{Audience: "https://upstream.example", Presenter: identity.MustClientID("gateway"), Scope: token.SessionScope(), Details: token.Details{Server: "mail"}})
		if !errors.Is(err, token.ErrRevoked) {
			t.Errorf("a call token of a revoked %s: %v", kind, err)
		}
	}
}

func TestFrozenServer(t *testing.T) {
	w := newWorld(t)
	w.put(frozen(revocation.Server, "mail"))
	if err := w.Server("mail"); !errors.Is(err, revocation.ErrFrozen) {
		t.Errorf("mail: %v", err)
	}
	if err := w.Server("files"); err != nil {
		t.Errorf("files: %v", err)
	}
	w.put(revocation.Lifted(revocation.Server, "mail", began))
	if err := w.Server("mail"); err != nil {
		t.Errorf("mail, lifted: %v", err)
	}
	w.now = began.Add(revocation.MaxAge + 1)
	if err := w.Server("files"); !errors.Is(err, token.ErrStale) {
		t.Errorf("stale: %v", err)
	}
}

// A17: TestViewThatIsTooOldRefusesEverything, and recovers with the store.
func TestViewThatIsTooOldRefusesEverything(t *testing.T) {
	w := newWorld(t)
	a := w.access("alice", "editor")
	never := revocation.NewView(revocation.Config{Store: &w.store, Now: func() time.Time { return began }})
	if err := never.Check(a.Verified); !errors.Is(err, token.ErrStale) {
		t.Errorf("before the first poll: %v", err)
	}
	w.store.err = errors.New("no route to the database")
	w.now = began.Add(revocation.MaxAge)
	if err := w.Poll(t.Context()); err == nil {
		t.Error("Poll = nil while the store is away")
	}
	w.want("as old as it may be", a.Verified, nil)
	w.now = w.now.Add(1)
	w.want("older", a.Verified, token.ErrStale)
	if err := w.MayIssue(a.ClientID(), alice); !errors.Is(err, token.ErrStale) {
		t.Errorf("MayIssue: %v", err)
	}
	w.store.err = nil
	w.poll()
	w.want("recovered", a.Verified, nil)
}

// TestViewCountsFromTheBeginningOfAPoll: what is committed while it runs it may miss.
func TestViewCountsFromTheBeginningOfAPoll(t *testing.T) {
	w := newWorld(t)
	slow := &slowStore{w: w}
	v := revocation.NewView(revocation.Config{Store: slow, Now: func() time.Time { return w.now }})
	if err := v.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v.Age() != time.Second {
		t.Errorf("age %v after a poll that took a second", v.Age())
	}
}

type slowStore struct {
	memory
	w *world
}

func (s *slowStore) Revocations(context.Context, int64) ([]revocation.Entry, error) {
	s.w.now = s.w.now.Add(time.Second)
	return nil, nil
}

func TestExpiredEntriesAreForgottenButFreezesAreNot(t *testing.T) {
	w := newWorld(t)
	a, b := w.access("alice", "editor"), w.access("bob", "other")
	w.put(revocation.New(revocation.Grant, a.Txn(), began))
	w.put(frozen(revocation.Client, "other"))
	for range 70 { // never stale: each minute in steps
		for range 12 {
			w.now = w.now.Add(5 * time.Second)
			w.poll()
		}
	}
	w.want("an old grant", a.Verified, nil)
	w.want("a freeze", b.Verified, revocation.ErrFrozen)
}

// TestForeignTokenOutlivesNoEntryAboutIt: that of another issuer may live for a day, and
// is exchanged for as long.
func TestForeignTokenOutlivesNoEntryAboutIt(t *testing.T) {
	w := newWorld(t)
	foreign := must(w.minter.Adopt(token.Foreign{Issuer: "https://partner.example", ID: "j", Subject: alice, ClientID: identity.MustClientID("c"),
		Scope: must(token.ParseScope("mcp:tools")), IssuedAt: began, Expiry: began.Add(24 * time.Hour)}))
	for _, e := range []revocation.Entry{revocation.New(revocation.Token, "j", began), revocation.New(revocation.Subject, "alice", began),
		revocation.New(revocation.Client, "c", began), revocation.Lifted(revocation.Subject, "alice", began.Add(time.Minute))} {
		v := newWorld(t)
		v.put(e)
		v.now = began.Add(24*time.Hour - time.Minute)
		v.poll()
		v.want("at the end of its day, "+string(e.Kind), foreign.Verified, token.ErrRevoked)
	}
}

// TestOperatorsAreRecordedOnce, each even if the audit log was full for a while; what an
// authorization server did is in its own log.
func TestOperatorsAreRecordedOnce(t *testing.T) {
	w := newWorld(t)
	w.put(revocation.New(revocation.Grant, "by a client", began))
	w.full = errors.New("the disk is full")
	_ = w.store.Revoke(t.Context(), frozen(revocation.Subject, "alice"))
	if err := w.Poll(t.Context()); !errors.Is(err, w.full) {
		t.Errorf("Poll = %v", err)
	}
	w.want("it counts all the same", w.access("alice", "editor").Verified, revocation.ErrFrozen)
	w.full = nil
	w.poll()
	w.now = began.Add(revocation.MaxAge + 1) // and not again when the view begins anew
	w.poll()
	if len(w.recorded) != 1 || w.recorded[0] != "subject alice" {
		t.Errorf("recorded %q", w.recorded)
	}
}

func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	a := w.delegated(w.delegated(w.access("alice", "editor"), "agent"), "helper")
	for _, n := range []string{"x", "y"} {
		w.put(revocation.New(revocation.Client, n, began))
		w.put(frozen(revocation.Subject, n))
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Check(a.Verified); err != nil {
			b.Fatal(err)
		}
	}
}

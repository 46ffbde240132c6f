package policies_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/policies"
)

// file is an access.yaml that changes.
type file struct {
	mu      sync.Mutex // guards what follows
	content string
	err     error
}

func (f *file) write(content string) { f.mu.Lock(); f.content, f.err = content, nil; f.mu.Unlock() }

func (f *file) read(context.Context) (policies.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return policies.Config{Access: []byte(f.content), Name: "access.yaml"}, f.err
}

// granting is a policy by which alice may call the tool.
func granting(tool string) string {
	return "version: 1\nroles:\n  reader:\n    who: {users: [alice]}\n    servers: {mail: {tools: [" + tool + "]}}\n"
}

func newLive(t *testing.T, f *file) *policies.Live {
	t.Helper()
	l := policies.NewLive(policies.LiveConfig{Read: f.read, Now: func() time.Time { return time.Unix(1, 0) }})
	if changed, err := l.Reload(t.Context()); err != nil || !changed {
		t.Fatalf("first Reload: %v, %v", changed, err)
	}
	return l
}

func mayCall(t *testing.T, l *policies.Live, tool string) bool {
	t.Helper()
	return l.Decide(t.Context(), call(t, "alice", "app", "mail", tool)).Allowed()
}

func TestReloadTakesEffect(t *testing.T) {
	f := &file{content: granting("one")}
	l := newLive(t, f)
	before := l.Digest()
	f.write(granting("two"))
	if changed, err := l.Reload(t.Context()); err != nil || !changed {
		t.Fatalf("Reload: %v, %v", changed, err)
	}
	if mayCall(t, l, "one") || !mayCall(t, l, "two") || l.Digest() == before {
		t.Error("the new policy is not in effect")
	}
	if changed, err := l.Reload(t.Context()); err != nil || changed {
		t.Errorf("Reload of the same: %v, %v", changed, err)
	}
}

// TestBadPolicyNeverTakesEffect: whoever makes a mistake, or can break the file, must
// neither open nor close anything.
func TestBadPolicyNeverTakesEffect(t *testing.T) {
	for name, bad := range map[string]string{"a mistake": "version: 1\nroles: {x: {}}\n", "no YAML": "{", "empty": "", "comments only": "# gone\n"} {
		f := &file{content: granting("one")}
		l := newLive(t, f)
		digest := l.Digest()
		f.write(bad)
		for range 3 { // it stays refused, and is said each time
			if changed, err := l.Reload(t.Context()); err == nil || changed || !strings.HasPrefix(err.Error(), "access.yaml") {
				t.Errorf("%s: Reload = %v, %v", name, changed, err)
			}
		}
		if !mayCall(t, l, "one") || l.Digest() != digest {
			t.Errorf("%s: the policy before does not stay", name)
		}
		if s := l.State(); s.Err == nil || s.Failed.IsZero() || s.Digest != digest {
			t.Errorf("%s: state %+v", name, s)
		}
		f.write(granting("one"))
		if _, err := l.Reload(t.Context()); err != nil || l.State().Err != nil {
			t.Errorf("%s: good again: %v, %v", name, err, l.State().Err)
		}
	}
}

func TestUnreadablePolicyNeverTakesEffect(t *testing.T) {
	f := &file{content: granting("one")}
	l := newLive(t, f)
	f.err = errors.New("read policy: gone")
	if _, err := l.Reload(t.Context()); !errors.Is(err, f.err) || !mayCall(t, l, "one") {
		t.Errorf("Reload: %v", err)
	}
	f.write(granting("one"))
	if changed, err := l.Poll(t.Context()); changed || err != nil || l.State().Err != nil {
		t.Errorf("back as it was: %v, %v", changed, err)
	}
}

// TestHalfOfAFileIsNotTaken: half of a policy may be one that lacks its denials.
func TestHalfOfAFileIsNotTaken(t *testing.T) {
	f := &file{content: granting("one")}
	l := newLive(t, f)
	for _, half := range []string{granting("two"), granting("three")} {
		f.write(half)
		if changed, err := l.Poll(t.Context()); changed || err != nil || !mayCall(t, l, "one") {
			t.Fatalf("what was read once took effect: %v, %v", changed, err)
		}
	}
	if changed, err := l.Poll(t.Context()); !changed || err != nil || !mayCall(t, l, "three") {
		t.Errorf("what was read twice did not take effect: %v, %v", changed, err)
	}
}

func TestWithoutAPolicyEverythingIsDenied(t *testing.T) {
	l := policies.NewLive(policies.LiveConfig{Read: (&file{err: errors.New("none yet")}).read, Now: time.Now})
	if _, err := l.Reload(t.Context()); err == nil {
		t.Error("no error")
	}
	if d := l.Decide(t.Context(), call(t, "alice", "app", "mail", "one")); d.Allowed() || d.Reason != policies.ReasonNoPolicy || l.Digest() != "" || l.Names("mail") {
		t.Errorf("decided %+v", d)
	}
}

// TestUnrecordedPolicyNeverTakesEffect: what cannot be written down does not happen.
func TestUnrecordedPolicyNeverTakesEffect(t *testing.T) {
	f, full := &file{content: granting("one")}, errors.New("no space")
	var took []string
	var fails error
	l := policies.NewLive(policies.LiveConfig{Read: f.read, Now: time.Now, Took: func(_ context.Context, p *policies.PDP) error {
		took = append(took, p.Digest())
		return fails
	}})
	if _, err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.write(granting("two"))
	fails = full
	if _, err := l.Reload(t.Context()); !errors.Is(err, full) || mayCall(t, l, "two") {
		t.Errorf("Reload that cannot be recorded: %v", err)
	}
	fails = nil
	if _, err := l.Reload(t.Context()); err != nil || !mayCall(t, l, "two") {
		t.Errorf("Reload that can be recorded again: %v", err)
	}
	f.write("# a comment\n" + granting("two"))
	if changed, err := l.Reload(t.Context()); err != nil || !changed || len(took) != 3 {
		t.Errorf("the same policy with a comment: %v, %v, told of %d", changed, err, len(took))
	}
}

// TestReloadIsWhole asks while policies change: each answer is that of one of them.
func TestReloadIsWhole(t *testing.T) {
	f := &file{content: granting("one")}
	l := newLive(t, f)
	digests := map[string]string{l.Digest(): "one"}
	f.write(granting("two"))
	if _, err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	digests[l.Digest()] = "two"
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			f.write(granting([]string{"one", "two"}[i%2]))
			if _, err := l.Reload(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}()
	q := call(t, "alice", "app", "mail", "one")
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		d := l.Decide(t.Context(), q)
		if tool, known := digests[d.PolicyDigest]; !known || d.Allowed() != (tool == "one") {
			t.Fatalf("decided %+v by the policy that grants %q", d, tool)
		}
	}
}

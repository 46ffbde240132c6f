package vaultbridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wicketgate/wicketgate/internal/vault"
)

// warnAgain is after how long an old key is told of again.
const warnAgain = 24 * time.Hour

// age is how old a static key is that was made then, in Vault's words. One that is too old,
// or of which nobody knows how old it is, is refused, unless there is no MaxAge.
func (s Server) age(now time.Time, made string) (time.Duration, error) {
	at, err := time.Parse(time.RFC3339Nano, made)
	age := max(0, now.Sub(at))
	switch {
	case s.MaxAge == 0 && err != nil:
		return 0, nil
	case s.MaxAge == 0:
		return age, nil
	case err != nil || at.IsZero():
		return 0, &Failure{KeyAgeUnknown, "look at the age of the key", fmt.Errorf("nothing says when it was made, so that it may be older than max_age (%s): %s", days(s.MaxAge), s.howToRotate())}
	case age > s.MaxAge:
		return age, &Failure{KeyTooOld, "look at the age of the key", fmt.Errorf("it is %s old, and max_age is %s: %s", days(age), days(s.MaxAge), s.howToRotate())}
	}
	return age, nil
}

// days is a duration for people.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

func (s Server) howToRotate() string {
	switch s.Engine {
	case DatabaseStatic:
		return "rotate it with wicketgate vault rotate " + s.Name + ", or set rotation_period of Vault's static role"
	case KV:
		return "have the server's owner make a new key, and write it to Vault as a new version (vault kv put); then set version, where it is pinned"
	}
	return "nothing of engine " + string(s.Engine) + " grows old: each call has its own"
}

// aged notes how old the key is that was read, and says so to operators, once a day.
func (b *Bridge) aged(ctx context.Context, s *Source, age time.Duration) {
	now, most := b.cfg.Now(), s.server.WarnAge
	b.mu.Lock()
	s.age = age
	warn := most > 0 && age >= most && (s.warnedAge.IsZero() || now.Sub(s.warnedAge) >= warnAgain)
	if warn {
		s.warnedAge = now
	}
	b.mu.Unlock()
	if warn {
		b.cfg.Log.WarnContext(ctx, "the key of a server is old", "server", s.server.Name, "age", days(age), "max_age", days(s.server.MaxAge), "advice", s.server.howToRotate())
	}
}

// Rotate has Vault make a new key for the server, with our own login, whose policy needs
// update on MOUNT/rotate-role/NAME. Only engine database-static has that; the error for
// another one says what to do there. What is kept of the old key is ended.
func (b *Bridge) Rotate(ctx context.Context, server string) error {
	src := b.sources[server]
	if src == nil {
		return fmt.Errorf("server %q has no credential from Vault", server)
	}
	s := src.server
	if s.Engine != DatabaseStatic {
		return fmt.Errorf("server %s: Vault does not rotate what engine %s has: %s", server, s.Engine, s.howToRotate())
	}
	if strings.Contains(s.Path, placeholder) {
		return fmt.Errorf("server %s: path %s is another role for each subject: rotate each with vault write -f MOUNT/rotate-role/NAME", server, s.Path)
	}
	path := rotatePath(s.Path)
	if err := b.own(ctx, func(t vault.Token) error { _, err := b.cfg.Vault.Write(ctx, t, path, nil); return err }); err != nil {
		var v *vault.Error
		if errors.As(err, &v) && v.Why == vault.Denied {
			return fmt.Errorf("%w: give the policy of our own login update on %s", err, path)
		}
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.leases {
		if l.source == src {
			b.end(l, "rotated")
		}
	}
	return nil
}

// rotatePath is where Vault is told to rotate what is read at path.
func rotatePath(path string) string {
	i := strings.LastIndex(path, "/static-creds/")
	return path[:i] + "/rotate-role/" + path[i+len("/static-creds/"):]
}

// Age is how old the key of a server is, read with t as a call would read it. With an age
// the error is that a call would be refused for it. It is zero for an engine that has none.
func (b *Bridge) Age(ctx context.Context, server string, t vault.Token) (time.Duration, error) {
	src := b.sources[server]
	if src == nil {
		return 0, fmt.Errorf("server %q has no credential from Vault", server)
	}
	s, r := src.server, reading{b.cfg.Vault, t, b.cfg.Now()}
	if strings.Contains(s.Path, placeholder) {
		return 0, fmt.Errorf("path %s has another key for each subject", s.Path)
	}
	var m minted
	var err error
	switch s.Engine {
	case KV:
		m, _, err = s.readKV(ctx, r, s.Path)
	case DatabaseStatic:
		m, _, err = s.readStatic(ctx, r, s.Path)
	}
	return m.age, err
}

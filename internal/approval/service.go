package approval

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/identity"
)

// defaultMaxPending is how many calls of one subject may wait.
const defaultMaxPending = 20

// Config is what a Service is made of.
type Config struct {
	Store      Store
	Audit      audit.Recorder
	Notices    Notices // who is told; nil: nobody
	Now        func() time.Time
	Page       string   // URL of the page of one request, up to its id: "https://gate.example/console/approvals/"
	MaxPending int      // of one subject; 0: 20
	Prefixes   []string // that other issuers have before the names of their people, besides ISSUER|
}

// Service opens requests, takes decisions and uses approvals: the one place that changes
// their state. It is safe for concurrent use.
type Service struct{ cfg Config }

// New makes a Service.
func New(cfg Config) *Service {
	if cfg.MaxPending == 0 {
		cfg.MaxPending = defaultMaxPending
	}
	return &Service{cfg}
}

// URL is the page on which the request is decided. It is no secret, and opens to nobody
// who may not decide.
func (s *Service) URL(id string) string { return s.cfg.Page + id }

// Open asks for the approval of a call. Of r it takes the Binding, Arguments (redacted),
// Risk, By and Expires. It returns the request that stands for the Binding: the one that
// was opened before if that is Pending, Approved or Denied and not expired, or else a new
// one, which is Pending. Look at its State: Approved means Use it now.
//
// It returns ErrTooMany (wrapped) when too many calls of the subject wait, ErrInvalid
// (wrapped) for what is not complete, and any other error when the store or the audit log
// does not take it: then nothing was opened.
func (s *Service) Open(ctx context.Context, r Request) (Request, error) {
	now := s.now()
	r.Expires = r.Expires.Truncate(time.Microsecond).UTC()
	if err := check(r, now); err != nil {
		return Request{}, err
	}
	r = Request{ID: rand.Text(), Binding: r.Binding, Arguments: r.Arguments, Risk: r.Risk, By: r.By, Created: now,
		Expires: r.Expires, State: Pending}
	var stands Request
	err := s.cfg.Store.InTx(ctx, func(ctx context.Context) (err error) {
		var stored bool
		stands, stored, err = s.cfg.Store.OpenApproval(ctx, r, s.cfg.MaxPending)
		if err != nil || !stored {
			return err
		}
		if err := s.cfg.Audit.Record(ctx, requested(stands)); err != nil {
			return err
		}
		return s.tell(ctx, Requested, stands)
	})
	if err != nil {
		return Request{}, fmt.Errorf("open approval: %w", err)
	}
	return stands, nil
}

// now is the time as stores keep it.
func (s *Service) now() time.Time { return s.cfg.Now().Truncate(time.Microsecond).UTC() }

func check(r Request, now time.Time) error {
	switch {
	case !r.complete():
		return fmt.Errorf("%w: its binding is not complete", ErrInvalid)
	case !r.Expires.After(now) || r.Expires.After(now.Add(MaxWithin)):
		return fmt.Errorf("%w: it must expire within %v", ErrInvalid, MaxWithin)
	case len(r.Arguments) > MaxArguments || len(r.Arguments) > 0 && !r.Arguments.IsValid():
		return fmt.Errorf("%w: arguments are not JSON of at most %d bytes", ErrInvalid, MaxArguments)
	case len(r.By) == 0:
		return fmt.Errorf("%w: nobody may give it", ErrInvalid)
	}
	return nil
}

// Decision is what somebody decided about a request.
type Decision struct {
	ID      string
	Approve bool // false: deny
	Comment string

	// Who, from a token or session that was verified. That By has the role and stepped up
	// as Request.By and the policy ask is for the caller to make sure of.
	By       identity.Subject
	Client   identity.ClientID // through which they came
	Actors   []string          // who acts for By; nobody may
	ACR      string            // how they logged in
	AuthTime time.Time         // and when
	TokenID  string

	// From where.
	Source, RequestID string
}

// Decide approves or denies a request that is Pending, and returns it as it is then.
// Exactly one of many decisions counts. The audit log has it before it counts, and has
// those that were refused as denials.
//
// It returns ErrNotFound, ErrDecided (another one was quicker, or it has expired), ErrOwn
// (By is the subject of the call, or in its delegation chain), ErrNotPerson and ErrInvalid
// (a comment that is too long or holds control characters), all wrapped, and any other
// error when the store or the audit log does not take it: then nothing was decided.
func (s *Service) Decide(ctx context.Context, d Decision) (Request, error) {
	now := s.now()
	r, err := s.cfg.Store.Approval(ctx, d.ID, now)
	if err != nil {
		return Request{}, fmt.Errorf("decide on approval: %w", err)
	}
	if reason, err := s.mayDecide(d, r); err != nil {
		return Request{}, s.refuse(ctx, d, r, reason, err)
	}
	var decided Request
	err = s.cfg.Store.InTx(ctx, func(ctx context.Context) (err error) {
		decided, err = s.cfg.Store.DecideApproval(ctx, d.ID, d.state(), d.By, d.Comment, now)
		if err != nil {
			return err
		}
		if err := s.cfg.Audit.Record(ctx, d.event(decided)); err != nil {
			return err
		}
		return s.tell(ctx, kinds[decided.State], decided)
	})
	if err != nil {
		return Request{}, fmt.Errorf("decide on approval: %w", err)
	}
	return decided, nil
}

// refuse writes down who tried what, and returns err.
func (s *Service) refuse(ctx context.Context, d Decision, r Request, reason string, err error) error {
	e := d.event(r)
	e.Kind, e.Decision, e.Reason = audit.Denial, audit.Deny, reason
	if failed := s.cfg.Audit.Record(ctx, e); failed != nil {
		return fmt.Errorf("decide on approval: %w; and this was not recorded: %w", err, failed)
	}
	return fmt.Errorf("decide on approval: %w", err)
}

// mayDecide is the rule of who may decide on what, but for what the policy says.
func (s *Service) mayDecide(d Decision, r Request) (reason string, err error) {
	switch {
	case !d.person():
		return "not_a_person", ErrNotPerson
	case s.takesPart(r, d.By):
		return "own_call", ErrOwn
	case !wellFormed(d.Comment):
		return "bad_comment", fmt.Errorf("%w: a comment is at most %d bytes of printable text", ErrInvalid, MaxComment)
	case r.State != Pending:
		return "not_pending", ErrDecided
	}
	return "", nil
}

func (d Decision) person() bool {
	_, workload := identity.ParseSPIFFEID(d.By.String())
	return !d.By.IsZero() && workload != nil && !d.By.Is(d.Client) && len(d.Actors) == 0
}

func (d Decision) state() State {
	if d.Approve {
		return Approved
	}
	return Denied
}

// wellFormed keeps out what would change what a terminal or a page shows.
func wellFormed(comment string) bool {
	return len(comment) <= MaxComment && utf8.ValidString(comment) && !strings.ContainsFunc(comment, func(r rune) bool {
		return r != '\n' && !unicode.IsPrint(r)
	})
}

// Use uses up an approval that is Approved, and returns nil for exactly one of many calls.
// The others get ErrSpent (wrapped), and so does one that is not approved, has expired or
// does not exist. After an error the call must not be made. The caller's own line in the
// audit log names the approval.
func (s *Service) Use(ctx context.Context, id string) error {
	if err := s.cfg.Store.UseApproval(ctx, id, s.now()); err != nil {
		return fmt.Errorf("use approval: %w", err)
	}
	return nil
}

// Get returns a request as it is now: Expired when its time is over, whatever it was
// before (DecidedBy and UsedAt stay). It returns ErrNotFound (wrapped).
func (s *Service) Get(ctx context.Context, id string) (Request, error) {
	r, err := s.cfg.Store.Approval(ctx, id, s.now())
	if err != nil {
		return Request{}, fmt.Errorf("read approval: %w", err)
	}
	return r, nil
}

// List returns the newest requests of a state, newest first, at most limit and MaxList;
// of all states for "".
func (s *Service) List(ctx context.Context, of State, limit int) ([]Request, error) {
	all, err := s.cfg.Store.Approvals(ctx, of, max(0, min(limit, MaxList)), s.now())
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	return all, nil
}

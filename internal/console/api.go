package console

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/approval"
	"github.com/wicketgate/wicketgate/internal/audit"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
	"github.com/wicketgate/wicketgate/policies"
)

// apiFunc answers who was admitted.
type apiFunc func(w http.ResponseWriter, r *http.Request, who approver) error

var errNoToken = errors.New("there is no token")

// api admits the bearer of an access token (RFC 6750 §2.1). A cookie counts for nothing here,
// and no page of another origin can read the answer.
func (c *Console) api(h apiFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := c.bearer(r)
		if err == nil {
			err = h(w, r, who)
		}
		if err != nil {
			c.apiError(w, r, err)
		}
	})
}

func (c *Console) bearer(r *http.Request) (approver, error) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return approver{}, errNoToken
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || raw == "" {
		return approver{}, errNoToken
	}
	return c.admit(r.Context(), raw)
}

// approvalJSON is a request in the API.
type approvalJSON struct {
	ID        string         `json:"id"`
	URL       string         `json:"url"`
	State     approval.State `json:"state"`
	Subject   string         `json:"subject"`
	Client    string         `json:"client"`
	Actors    []string       `json:"actors,omitempty"`
	Server    string         `json:"server"`
	Tool      string         `json:"tool"`
	Risk      string         `json:"risk,omitempty"`
	Arguments jsontext.Value `json:"arguments,omitzero"` // redacted
	Digest    string         `json:"arguments_digest"`   // of what they are without that
	Rule      string         `json:"rule"`
	By        [][]string     `json:"by"`
	Created   time.Time      `json:"created_at"`
	Expires   time.Time      `json:"expires_at"`
	DecidedBy string         `json:"decided_by,omitempty"`
	DecidedAt time.Time      `json:"decided_at,omitzero"`
	Comment   string         `json:"comment,omitempty"`

	MayDecide bool       `json:"may_decide"`
	Own       bool       `json:"own,omitzero"`      // the call is the caller's
	Outdated  bool       `json:"outdated,omitzero"` // the policy has changed since: an approval would not count
	Needs     *needsJSON `json:"needs,omitempty"`   // another login, before the caller may decide
}

// needsJSON is the parameters of an authorization request (RFC 9470 §4).
type needsJSON struct {
	ACR    []string `json:"acr_values,omitempty"`
	MaxAge int64    `json:"max_age,omitzero"` // seconds
}

func (c *Console) json(s seen) approvalJSON {
	j := approvalJSON{ID: s.ID, URL: c.cfg.Issuer + PathApprovals + s.ID, State: s.State, Subject: s.Subject.String(), Client: s.Client.String(), Actors: s.Actors,
		Server: s.Server, Tool: s.Tool, Risk: s.Risk, Arguments: s.Arguments, Digest: s.ArgumentsDigest, Rule: ruleName(s.Rule), By: s.By, Created: s.Created, Expires: s.Expires,
		DecidedBy: s.DecidedBy.String(), DecidedAt: s.DecidedAt, Comment: s.Comment, MayDecide: s.mayDecide(), Own: s.standing == requester, Outdated: s.standing == outdated}
	if s.standing == stale && s.State == approval.Pending {
		j.Needs = &needsJSON{s.needs.ACR, seconds(s.needs.MaxAge)}
	}
	return j
}

// ruleName is a rule without the place where it stands: that is for operators.
func ruleName(rule string) string {
	if at, name, ok := strings.Cut(rule, ": "); ok && strings.Contains(at, ":") {
		return name
	}
	return rule
}

func (c *Console) apiList(w http.ResponseWriter, r *http.Request, who approver) error {
	waiting, recent, err := c.desk.list(r.Context(), who)
	if err != nil {
		return err
	}
	answer := struct {
		Waiting []approvalJSON `json:"waiting"`
		Recent  []approvalJSON `json:"recent"`
	}{[]approvalJSON{}, []approvalJSON{}}
	for _, s := range waiting {
		answer.Waiting = append(answer.Waiting, c.json(s))
	}
	for _, s := range recent {
		answer.Recent = append(answer.Recent, c.json(s))
	}
	return web.WriteJSON(w, http.StatusOK, answer)
}

func (c *Console) apiShow(w http.ResponseWriter, r *http.Request, who approver) error {
	s, err := c.desk.see(r.Context(), who, r.PathValue("id"))
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, c.json(s))
}

// decisionJSON is the body of a decision.
type decisionJSON struct {
	Decision string `json:"decision"` // approve or deny
	Comment  string `json:"comment"`
}

func (c *Console) apiDecide(w http.ResponseWriter, r *http.Request, who approver) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "Content-Type must be application/json"}
	}
	var d decisionJSON
	if err := json.UnmarshalRead(r.Body, &d, json.RejectUnknownMembers(true)); err != nil || d.Decision != "approve" && d.Decision != "deny" {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "the body must be an object with decision, which is approve or deny, and if you like comment", Cause: err}
	}
	s, err := c.desk.decide(r.Context(), who, verdict{r.PathValue("id"), d.Decision == "approve", d.Comment, web.Source(r), web.RequestID(r.Context())})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, c.json(s))
}

// apiError answers what went wrong, and notes who was not admitted.
func (c *Console) apiError(w http.ResponseWriter, r *http.Request, err error) {
	if reason := tokenProblem(err); reason != "" {
		c.refuse(r, reason)
		c.challenge(w, err)
		return
	}
	status, e := wire(err)
	if stepUp := (*stepUpError)(nil); errors.As(err, &stepUp) {
		w.Header().Set("WWW-Authenticate", stepUpChallenge(e, stepUp.needs))
	}
	if e.Code == oauth.ServerError || e.Code == oauth.TemporarilyUnavailable {
		c.cfg.Log.ErrorContext(r.Context(), "console", "path", r.URL.Path, "request_id", web.RequestID(r.Context()), "error", err)
	}
	_ = web.WriteJSON(w, status, e)
}

// refuse notes a caller that proved nothing.
func (c *Console) refuse(r *http.Request, reason string) {
	e := audit.Event{Kind: audit.Refusal, Action: "console", Decision: audit.Deny, Reason: reason, Source: web.Source(r), RequestID: web.RequestID(r.Context())}
	if err := c.cfg.Refusals.Refuse(r.Context(), e); err != nil {
		c.cfg.Log.Error("record refusal", "error", err)
	}
}

// challenge says what token is needed (RFC 6750 §3, RFC 9728 §5.1).
func (c *Console) challenge(w http.ResponseWriter, err error) {
	e := &oauth.Error{Code: oauth.InvalidToken, Description: "an access token for this resource is needed, of a person who logged in, with nobody in between"}
	if errors.Is(err, errNoScope) {
		e = &oauth.Error{Code: oauth.InsufficientScope, Description: "the access token lacks the scope approvals"}
	}
	params := `resource_metadata="` + c.cfg.Issuer + "/.well-known/oauth-protected-resource" + Path + `", scope="` + oauth.ScopeApprovals + `"`
	if !errors.Is(err, errNoToken) {
		params = `error="` + string(e.Code) + `", error_description="` + e.Description + `", ` + params
	}
	w.Header().Set("WWW-Authenticate", "Bearer "+params)
	_ = web.WriteJSON(w, e.Status(), e)
}

// stepUpChallenge is that of RFC 9470 §3.
func stepUpChallenge(e *oauth.Error, needs policies.Needs) string {
	params := `error="` + string(e.Code) + `", error_description="` + e.Description + `"`
	if len(needs.ACR) > 0 {
		params += ", acr_values=" + quoted(strings.Join(needs.ACR, " "))
	}
	if needs.MaxAge > 0 {
		params += `, max_age="` + strconv.FormatInt(seconds(needs.MaxAge), 10) + `"`
	}
	return "Bearer " + params
}

// quoted is a quoted-string (RFC 9110 §5.6.4). What cannot be in one is left out.
func quoted(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// wire is what somebody who was admitted is told.
func wire(err error) (int, *oauth.Error) {
	stepUp := (*stepUpError)(nil)
	switch {
	case errors.Is(err, approval.ErrNotFound):
		return http.StatusNotFound, &oauth.Error{Code: oauth.InvalidRequest, Description: "there is no such approval here"}
	case errors.Is(err, approval.ErrOwn), errors.Is(err, approval.ErrNotPerson):
		return http.StatusForbidden, &oauth.Error{Code: oauth.AccessDenied, Description: "nobody decides on a call of their own: ask somebody else who may"}
	case errors.Is(err, approval.ErrDecided):
		return http.StatusConflict, &oauth.Error{Code: oauth.InvalidRequest, Description: "it was decided already, or has expired"}
	case errors.Is(err, errOutdated):
		return http.StatusConflict, &oauth.Error{Code: oauth.InvalidRequest, Description: newPolicy}
	case errors.Is(err, approval.ErrInvalid):
		return http.StatusBadRequest, &oauth.Error{Code: oauth.InvalidRequest, Description: "a comment is at most 1000 bytes of printable text"}
	case errors.As(err, &stepUp):
		return http.StatusUnauthorized, &oauth.Error{Code: oauth.InsufficientUserAuthentication, Description: "log in again as acr_values and max_age say, to decide on this"}
	case errors.Is(err, errUndecided), errors.Is(err, errUnverified):
		return http.StatusServiceUnavailable, &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "whether you may is not known here at the moment: try again soon"}
	}
	e := web.Wire(err)
	return e.Status(), e
}

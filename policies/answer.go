package policies

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// answer is what a policy says.
type answer struct {
	allow  bool
	reason Reason
	rule   string
	detail string
	needs  Needs
	terms  []Terms
	risk   string
	digest string // of the policy that gave it, where that is not the same each time
}

var (
	allowKey  = ast.InternedTerm("allow")
	reasonKey = ast.InternedTerm("reason")
	ruleKey   = ast.InternedTerm("rule")
)

// answerOf takes what [parseAnswer] takes. The short form, of most answers, it reads
// without a detour.
func answerOf(v any) (a answer, ok bool) {
	o, ok := v.(ast.Object)
	if !ok {
		return a, false
	}
	if o.Len() == 3 {
		allow, ok1 := value[ast.Boolean](o, allowKey)
		reason, ok2 := value[ast.String](o, reasonKey)
		rule, ok3 := value[ast.String](o, ruleKey)
		a = answer{allow: bool(allow), reason: Reason(reason), rule: string(rule)}
		return a, ok1 && ok2 && ok3 && a.check() == nil
	}
	plain, err := ast.JSON(o)
	if err != nil {
		return a, false
	}
	b, err := stdjson.Marshal(plain) // whose json.Number is a number
	if err != nil {
		return a, false
	}
	a, err = parseAnswer(b)
	return a, err == nil
}

func value[T ast.Value](o ast.Object, k *ast.Term) (v T, ok bool) {
	if t := o.Get(k); t != nil {
		v, ok = t.Value.(T)
	}
	return v, ok
}

// wireAnswer is an answer in JSON: what a foreign policy gives, and the embedded one.
type wireAnswer struct {
	Allow  *bool       `json:"allow"`
	Reason *Reason     `json:"reason"`
	Rule   *string     `json:"rule"`
	Detail string      `json:"detail"`
	Needs  *wireNeeds  `json:"needs"`
	Terms  []wireTerms `json:"terms"`
	Risk   string      `json:"risk"`
}

type wireNeeds struct {
	ACR    []string   `json:"acr"`
	MaxAge int64      `json:"max_age_s"`
	Rule   string     `json:"rule"`
	By     [][]string `json:"by"`
	Within int64      `json:"within_s"`
}

type wireTerms struct {
	Limits []struct {
		ID         string  `json:"id"`
		By         LimitBy `json:"by"`
		Calls      int     `json:"calls"`
		Per        int64   `json:"per_s"`
		Concurrent int     `json:"concurrent"`
	} `json:"limits"`
	Filters []struct {
		At    *string          `json:"at"`
		Field *string          `json:"field"`
		In    []jsontext.Value `json:"in"`
	} `json:"filters"`
	Redact []string `json:"redact"`
}

// parseAnswer takes one JSON object {"allow", "reason", "rule"} with, where they have a
// place, "detail", "needs", "terms" and "risk", and nothing else: what it does not know it
// cannot enforce.
func parseAnswer(b []byte) (answer, error) {
	if hasNull(b) {
		return answer{}, errors.New("null")
	}
	var w wireAnswer
	if err := json.Unmarshal(b, &w, json.RejectUnknownMembers(true)); err != nil {
		return answer{}, err
	}
	if w.Allow == nil || w.Reason == nil || w.Rule == nil {
		return answer{}, errors.New("no allow, reason or rule")
	}
	a := answer{allow: *w.Allow, reason: *w.Reason, rule: *w.Rule, detail: w.Detail, risk: w.Risk}
	if w.Needs != nil {
		a.needs = Needs{ACR: w.Needs.ACR, MaxAge: time.Duration(w.Needs.MaxAge) * time.Second, Rule: w.Needs.Rule, By: w.Needs.By, Within: time.Duration(w.Needs.Within) * time.Second}
		if w.Needs.MaxAge < 0 || w.Needs.MaxAge > maxSeconds || w.Needs.Within < 0 || w.Needs.Within > seconds(maxWithin) {
			return answer{}, errors.New("a time that cannot be")
		}
	}
	for _, t := range w.Terms {
		terms, err := t.terms()
		if err != nil {
			return answer{}, err
		}
		a.terms = append(a.terms, terms)
	}
	return a, a.check()
}

const maxSeconds = 10 * 365 * 24 * 3600

// hasNull reports whether a null is anywhere in b, or b is no JSON: a member that is null
// is neither there nor absent.
func hasNull(b []byte) bool {
	v := jsontext.Value(b)
	return !v.IsValid() || anyValue(v, func(v jsontext.Value) bool { return v.Kind() == 'n' })
}

// anyValue reports whether is holds of a value in v.
func anyValue(v jsontext.Value, is func(jsontext.Value) bool) bool {
	found := is(v)
	switch v.Kind() {
	case '[':
		for _, e := range elementsOf(v) {
			found = found || anyValue(e, is)
		}
	case '{':
		_ = eachMember(v, func(_ string, e jsontext.Value) error { // v is valid
			found = found || anyValue(e, is)
			return nil
		})
	}
	return found
}

func (w wireTerms) terms() (t Terms, err error) {
	for _, l := range w.Limits {
		limit := Limit{l.ID, l.By, l.Calls, time.Duration(l.Per) * time.Second, l.Concurrent}
		calls := l.Calls > 0 && l.Calls <= maxCalls && l.Per > 0 && l.Per <= maxPer && l.Concurrent == 0
		atOnce := l.Concurrent > 0 && l.Concurrent <= maxCalls && l.Calls == 0 && l.Per == 0
		if l.ID == "" || !slices.Contains(limitKinds, string(l.By)) || !calls && !atOnce {
			return t, fmt.Errorf("limit %+v", limit)
		}
		t.Limits = append(t.Limits, limit)
	}
	for _, f := range w.Filters {
		if f.At == nil || f.Field == nil || *f.Field == "" || !jsontext.Pointer(*f.At).IsValid() {
			return t, errors.New("a filter without its place")
		}
		for _, v := range f.In {
			if k := v.Kind(); k == '[' || k == '{' {
				return t, errors.New("a filter by a list or an object")
			}
		}
		t.Filters = append(t.Filters, Filter{*f.At, *f.Field, f.In})
	}
	for _, class := range w.Redact {
		if checkClass(class) != nil {
			return t, fmt.Errorf("class %q", class)
		}
	}
	t.Redact = w.Redact
	return t, nil
}

// definite are the denials that are a policy's own, and final: nothing that the caller can
// get makes them an allow. Observe mode lets them through.
var definite = []Reason{ReasonNoRole, ReasonNotGranted, ReasonDenied, ReasonDeniedByRego, ReasonCondition, ReasonHours, ReasonArgument}

// check: a policy has its own reasons, only one of them allows, and each has what belongs
// to it.
func (a answer) check() error {
	needsLogin := len(a.needs.ACR) > 0 || a.needs.MaxAge > 0
	needsApproval := a.needs.Rule != "" || len(a.needs.By) > 0 || a.needs.Within > 0
	ok := false
	switch a.reason {
	case ReasonAllowed:
		ok = a.allow && !needsLogin && !needsApproval
	case ReasonApproval:
		empty := func(roles []string) bool { return len(roles) == 0 || slices.Contains(roles, "") }
		ok = a.needs.Rule != "" && len(a.needs.By) > 0 && a.needs.Within > 0 && !slices.ContainsFunc(a.needs.By, empty)
	case ReasonStepUp:
		ok = needsLogin && !needsApproval
	case ReasonSenderConstraint, ReasonUnknownAction:
		ok = !needsLogin && !needsApproval
	default:
		ok = slices.Contains(definite, a.reason) && !needsLogin && !needsApproval
	}
	if len(a.rule) > maxRule || len(a.needs.Rule) > maxRule || len(a.risk) > maxName {
		return errors.New("more words than the audit log takes") // and a denial that it does not take is not in it
	}
	if !ok || a.allow != (a.reason == ReasonAllowed) || !a.allow && len(a.terms) > 0 {
		return fmt.Errorf("allow %v with reason %q and what does not belong to it", a.allow, a.reason)
	}
	return nil
}

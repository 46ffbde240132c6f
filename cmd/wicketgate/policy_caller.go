package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/policies"
)

// callerFlags describe a caller and the moment, as a token and the clock would.
type callerFlags struct {
	client, acr, authAge, at string
	workload, bound          bool
	groups, claims           []string
}

func (f *callerFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.client, "client", "", "`client_id` of the client that calls; default: one that no policy names, for a workload itself")
	c.Flags().BoolVar(&f.workload, "workload", false, "the subject is a workload, and no person of that name")
	c.Flags().StringArrayVar(&f.groups, "group", nil, "`group` of the person, as the IdP says it (repeatable)")
	c.Flags().StringArrayVar(&f.claims, "claim", nil, "`NAME=VALUE` of a claim of the person; a value that is JSON is that, any other is text (repeatable)")
	c.Flags().StringVar(&f.acr, "acr", "", "how the person logged in, as the IdP's `acr` says it")
	c.Flags().StringVar(&f.authAge, "auth-age", "", "how long ago the person logged in: a `duration` like 10m")
	c.Flags().BoolVar(&f.bound, "bound", false, "the token is sender-constrained")
	c.Flags().StringVar(&f.at, "time", "", "`time` of the call, like 2026-12-01T09:30:00+09:00; default: now")
}

// someClient is a client that no policy names by accident: a person's rights do not
// depend on it.
const someClient = "any-client"

// request is a question of that caller; what it is about is not in it yet.
func (f *callerFlags) request(subject string, now time.Time) (q policies.Request, err error) {
	q = policies.Request{Groups: f.groups, ACR: f.acr, Bound: f.bound, Time: now, Action: policies.ActionSession}
	if f.at != "" {
		if q.Time, err = time.Parse(time.RFC3339, f.at); err != nil {
			return q, fmt.Errorf("--time %s: write a time like 2026-12-01T09:30:00+09:00", shown(f.at))
		}
	}
	if f.authAge != "" {
		age, ok := parseDuration(f.authAge)
		if !ok {
			return q, fmt.Errorf("--auth-age %s: write a number with s, m, h or d, for example 10m", shown(f.authAge))
		}
		q.AuthTime = q.Time.Add(-age)
	}
	if q.Claims, err = jsonObject("--claim", f.claims); err != nil {
		return q, err
	}
	return q, f.identify(&q, subject)
}

func (f *callerFlags) identify(q *policies.Request, subject string) (err error) {
	workload := f.workload || strings.HasPrefix(subject, "spiffe://")
	client := f.client
	switch {
	case client == "" && workload:
		client = subject
	case client == "":
		client = someClient
	case client == subject:
		workload = true // RFC 9068 §2.2: a client that acts for itself
	}
	if workload && len(f.groups)+len(f.claims)+len(f.acr)+len(f.authAge) > 0 {
		return errors.New("a workload is in no group, has no claims and did not log in: leave out --group, --claim, --acr and --auth-age")
	}
	if q.Subject, err = identity.ParseSubject(subject); err != nil {
		return fmt.Errorf("subject %s: %w", shown(subject), err)
	}
	if q.ClientID, err = identity.ParseClientID(client); err != nil {
		return fmt.Errorf("--client %s: %w", shown(client), err)
	}
	q.Workload = workload
	return nil
}

// jsonObject is a JSON object of NAME=VALUE; nil for none.
func jsonObject(flag string, items []string) (jsontext.Value, error) {
	if len(items) == 0 {
		return nil, nil
	}
	arguments, err := parseArguments(items)
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), "--arg", flag))
	}
	b := []byte{'{'}
	for i, a := range arguments {
		b = append(b, ","[:min(i, 1)]...)
		if b, err = jsontext.AppendQuote(b, a.name); err != nil {
			return nil, fmt.Errorf("%s %s is no UTF-8", flag, shown(a.name))
		}
		b = append(b, ':')
		if v := jsontext.Value(a.value); v.IsValid() {
			b = append(b, v...)
		} else if b, err = jsontext.AppendQuote(b, a.value); err != nil {
			return nil, fmt.Errorf("%s %s is no UTF-8", flag, shown(a.name))
		}
	}
	return append(b, '}'), nil
}

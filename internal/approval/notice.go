package approval

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// What somebody is told about.
const (
	Requested = "approval.requested"
	Given     = "approval.approved"
	Refused   = "approval.denied"
)

var kinds = map[State]string{Approved: Given, Denied: Refused}

// Notices takes what is to be sent. Put is called inside the transaction that changes the
// request, with its context: what it stores there is neither lost nor sent without it.
type Notices interface {
	Put(ctx context.Context, kind string, body []byte, now time.Time) error
}

// notice is the body: type, timestamp and data are the names of Standard Webhooks.
type notice struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      noticed   `json:"data"`
}

type noticed struct {
	ID               string            `json:"id"`
	URL              string            `json:"url,omitzero"`
	State            State             `json:"state"`
	Subject          identity.Subject  `json:"subject"`
	Client           identity.ClientID `json:"client"`
	Actors           []string          `json:"actors"`
	Server           string            `json:"server"`
	Tool             string            `json:"tool"`
	Arguments        jsontext.Value    `json:"arguments,omitzero"` // redacted
	ArgumentsDigest  string            `json:"arguments_digest"`
	DefinitionDigest string            `json:"definition_digest"`
	PolicyDigest     string            `json:"policy_digest"`
	Rule             string            `json:"rule"`
	Risk             string            `json:"risk,omitzero"`
	By               [][]string        `json:"approvers"` // one role of each list
	Created          time.Time         `json:"created_at"`
	Expires          time.Time         `json:"expires_at"`
	DecidedBy        string            `json:"decided_by,omitzero"`
	DecidedAt        time.Time         `json:"decided_at,omitzero"`
	Comment          string            `json:"comment,omitzero"`
}

// tell puts a notice with what a request is now.
func (s *Service) tell(ctx context.Context, kind string, r Request) error {
	if s.cfg.Notices == nil {
		return nil
	}
	now := s.now()
	body, err := json.Marshal(notice{kind, now, noticed{ID: r.ID, URL: s.URL(r.ID), State: r.State, Subject: r.Subject, Client: r.Client,
		Actors: r.Actors, Server: r.Server, Tool: r.Tool, Arguments: r.Arguments, ArgumentsDigest: r.ArgumentsDigest,
		DefinitionDigest: r.DefinitionDigest, PolicyDigest: r.PolicyDigest, Rule: r.Rule, Risk: r.Risk, By: r.By,
		Created: r.Created, Expires: r.Expires, DecidedBy: r.DecidedBy.String(), DecidedAt: r.DecidedAt, Comment: r.Comment}})
	if err != nil {
		return fmt.Errorf("write notice: %w", err)
	}
	return s.cfg.Notices.Put(ctx, kind, body, now)
}

package federation

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

// maxActors is that of package token, which counts again.
const maxActors = 8

// party is one who acts, or who may (RFC 8693 §4.1, §4.4), as another issuer says it.
type party struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
	Act      *party `json:"act"`
}

// chain reads act. A member that is not understood may be what tells two actors apart,
// so it is refused.
func (t *Table) chain(is *issuer, v jsontext.Value) (*token.Actor, error) {
	if v == nil {
		return nil, nil
	}
	p, err := parseParty(v)
	if err != nil {
		return nil, fmt.Errorf("act: %w", err)
	}
	var actors []token.Actor
	for ; p != nil; p = p.Act {
		a, err := t.actor(is, *p)
		if err != nil {
			return nil, fmt.Errorf("act: %w", err)
		}
		if actors = append(actors, a); len(actors) > maxActors {
			return nil, errors.New("act is too deep")
		}
	}
	var out *token.Actor
	for i := len(actors) - 1; i >= 0; i-- {
		actors[i].Act, out = out, &actors[i]
	}
	return out, nil
}

// mayAct reads may_act.
func (t *Table) mayAct(is *issuer, v jsontext.Value) (*token.Party, error) {
	if v == nil {
		return nil, nil
	}
	p, err := parseParty(v)
	if err == nil && p.Act != nil {
		err = errors.New("a chain cannot be asked for")
	}
	if err != nil {
		return nil, fmt.Errorf("may_act: %w", err)
	}
	a, err := t.actor(is, *p)
	if err != nil {
		return nil, fmt.Errorf("may_act: %w", err)
	}
	return &token.Party{Issuer: a.Issuer, Subject: a.Subject, ClientID: a.ClientID}, nil
}

func parseParty(v jsontext.Value) (*party, error) {
	var p party // null is nobody
	if err := json.Unmarshal(v, &p, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	return &p, nil
}

// actor is the party under the names that we know it by. Where it says no issuer, its
// names are of the token's.
func (t *Table) actor(is *issuer, p party) (token.Actor, error) {
	a := token.Actor{Issuer: p.Issuer}
	if a.Issuer == "" {
		a.Issuer = is.Name
	}
	if p.Subject == "" && p.ClientID == "" {
		return token.Actor{}, errors.New("it names nobody")
	}
	var err error
	if p.Subject != "" {
		if a.Subject, err = identity.ParseSubject(t.qualified(a.Issuer, p.Subject)); err != nil {
			return token.Actor{}, err
		}
	}
	if p.ClientID != "" {
		a.ClientID, err = identity.ParseClientID(t.qualified(a.Issuer, p.ClientID))
	}
	return a, err
}

// qualified has the issuer before the name, unless it is ours: policy and audit show
// names alone, and "agent" from elsewhere must not be read as our agent.
func (t *Table) qualified(issuer, name string) string {
	if issuer == t.cfg.Issuer {
		return name
	}
	return issuer + "|" + name
}

package main

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/redact"
)

// RedactConfig is what becomes of values in what a server answers. mask puts a fixed
// text such as [card] in their place, deny refuses the whole answer, off lets them pass.
type RedactConfig struct {
	// Keys, tokens, passwords and private keys of some 200 services, by the rules of
	// gitleaks. Whether or not it is off, the audit log never has them.
	Secrets string `yaml:"secrets" enum:"off,mask,deny" default:"mask"`

	// E-mail addresses. off, because an agent that handles mail has to know whom to answer.
	Email string `yaml:"email" enum:"off,mask,deny" default:"off"`

	// Phone numbers: international ones, and common national forms. off, because digits of
	// another meaning can look like them.
	Phone string `yaml:"phone" enum:"off,mask,deny" default:"off"`

	// Payment card numbers, by their networks and check digit.
	Card string `yaml:"card" enum:"off,mask,deny" default:"mask"`

	// Bank account numbers (IBAN), by their countries and check digits.
	IBAN string `yaml:"iban" enum:"off,mask,deny" default:"mask"`
}

// devRedaction is the defaults of RedactConfig, and for the demo server everything:
// nobody there waits for an answer.
func devRedaction(demo bool) redact.Config {
	cfg := redact.Config{Secrets: redact.Mask, Card: redact.Mask, IBAN: redact.Mask}
	if demo {
		cfg.Email, cfg.Phone = redact.Mask, redact.Mask
	}
	return cfg
}

// keepArguments is what of the arguments of a call may be kept, by server.
func keepArguments(servers []gateway.Upstream) func(server string, arguments jsontext.Value) jsontext.Value {
	by := map[string]*redact.Redactor{}
	for _, s := range servers {
		by[s.Name] = s.Redactor
	}
	return func(server string, arguments jsontext.Value) jsontext.Value { return by[server].Arguments(arguments) }
}

// redactor makes the Redactor of a server.
func (c configCheck) redactor(at string, r RedactConfig) *redact.Redactor {
	var cfg redact.Config
	for action, s := range map[*redact.Action]string{&cfg.Secrets: r.Secrets, &cfg.Email: r.Email, &cfg.Phone: r.Phone, &cfg.Card: r.Card, &cfg.IBAN: r.IBAN} {
		a, err := redact.ParseAction(s)
		if err != nil { // the reader has said so
			return nil
		}
		*action = a
	}
	out, err := redact.New(cfg)
	if err != nil {
		c.refuse(at+".redact", "%s.redact: %v", at, err)
	}
	return out
}

package federation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/token"
)

const maxWhole = 1 << 53 // from it on two whole numbers can be one float64

// person fills in whom a token is about.
func (t *Table) person(ctx context.Context, is *issuer, c claims, f *token.Foreign) error {
	if err := c.elsewhere(append([]string{is.SubjectClaim, is.GroupsClaim}, is.Claims...)...); err != nil {
		return err
	}
	if err := is.tenant(c); err != nil {
		return err
	}
	name, err := t.name(is, c, f.ClientID)
	if err != nil {
		return err
	}
	if f.Subject, err = identity.ParseSubject(name); err != nil {
		return err
	}
	if err := t.notAClient(ctx, name); err != nil {
		return err
	}
	if err := is.login(c, f); err != nil {
		return err
	}
	return token.CheckAttributes(f.Groups, f.Claims, f.ACR)
}

// tenant keeps people of two tenants apart, who may share a sub
// (draft-ietf-oauth-identity-assertion-authz-grant §6).
func (is *issuer) tenant(c claims) error {
	tenant, err := c.text("tenant")
	if err != nil || tenant != is.Tenant {
		return errors.Join(errors.New("tenant is not the configured one"), err)
	}
	return nil
}

// name is what the subject is called here. A workload of the other issuer is called as
// its client is: nobody who logs in is that.
func (t *Table) name(is *issuer, c claims, client identity.ClientID) (string, error) {
	sub, err := c.text("sub")
	if err != nil || sub == "" {
		return "", errors.Join(errors.New("sub is missing"), err)
	}
	if own := t.qualified(is.Name, sub); own == client.String() {
		return own, nil
	}
	if is.SubjectClaim == "email" && string(c["email_verified"]) != "true" {
		return "", errors.New("email names the subject, and email_verified is not true")
	}
	name, err := c.text(is.SubjectClaim)
	if err != nil || name == "" {
		return "", errors.Join(fmt.Errorf("%s is missing", is.SubjectClaim), err)
	}
	if is.Prefix == "" && t.Owns(name) {
		return "", errors.New("the subject has a name that another issuer gives")
	}
	return is.Prefix + name, nil
}

// notAClient refuses a subject whose name is a client's: policy could not tell them
// apart.
func (t *Table) notAClient(ctx context.Context, name string) error {
	id, err := identity.ParseClientID(name)
	if err != nil {
		return nil
	}
	is, err := t.cfg.IsClient(ctx, id)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	if is {
		return errors.New("the subject has the name of a client")
	}
	return nil
}

// client is which client of the other issuer a token was issued to (RFC 9068 §2.2; azp
// is what some call it). Where both are there, they must agree.
func (c claims) client() (string, error) {
	id, err := c.text("client_id")
	azp, azpErr := c.text("azp")
	switch {
	case err != nil || azpErr != nil:
		return "", errors.Join(err, azpErr)
	case id == "":
		id = azp
	case azp != "" && azp != id:
		return "", errors.New("client_id and azp are two")
	}
	if id == "" {
		return "", errors.New("client_id is missing")
	}
	return id, nil
}

// login takes over groups, claims, and how the person logged in, as configured: acr and
// auth_time count for policy as those of our own login do, so they need naming too.
func (is *issuer) login(c claims, f *token.Foreign) error {
	if is.GroupsClaim != "" {
		if v, ok := c.lookup(is.GroupsClaim); ok {
			var err error
			if f.Groups, err = texts(v); err != nil {
				return fmt.Errorf("%s: %w", is.GroupsClaim, err)
			}
		}
	}
	for _, name := range is.Claims {
		v, ok := c.lookup(name)
		if !ok {
			continue
		}
		if err := keep(f, name, v, c); err != nil {
			return err
		}
	}
	return nil
}

func keep(f *token.Foreign, name string, v jsontext.Value, c claims) error {
	var err error
	switch name {
	case "acr":
		f.ACR, err = c.text(name)
		return err
	case "auth_time":
		seconds, err := c.seconds(name)
		f.AuthTime = time.Unix(seconds, 0)
		return err
	}
	var value any
	if v.Kind() == '[' {
		value, err = texts(v)
	} else {
		err = json.Unmarshal(v, &value)
	}
	if n, ok := value.(float64); ok && math.Abs(n) >= maxWhole {
		err = errors.New("a number too large to be kept exactly")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if f.Claims == nil {
		f.Claims = map[string]any{}
	}
	f.Claims[name] = value
	return nil
}

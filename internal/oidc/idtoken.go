package oidc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/oauth2"

	"github.com/wicketgate/wicketgate/authz"
)

// skew is how far the IdP's clock may be from ours, and how long the IdP may keep
// a person on its pages after it has seen who it is, where max_age allows no time.
const skew = time.Minute

// person checks the ID token (OpenID Connect Core 1.0 §3.1.3.7) and reads it.
func (p *Provider) person(ctx context.Context, m *metadata, t *oauth2.Token, l authz.LoginRequest) (authz.Person, error) {
	c, err := p.verify(ctx, m, t)
	if err != nil {
		return authz.Person{}, err
	}
	now := p.cfg.Now()
	if err := errors.Join(checkNonce(c, l.Nonce), p.checkAuthorizedParty(c), checkIssued(c, now)); err != nil {
		return authz.Person{}, rejected(err)
	}
	authTime, err := checkAuthTime(c, l, now)
	if err != nil {
		return authz.Person{}, rejected(err)
	}
	acr, err := c.text("acr")
	if err != nil {
		return authz.Person{}, rejected(err)
	}
	if l.ACRValues != "" && !slices.Contains(strings.Fields(l.ACRValues), acr) {
		return authz.Person{}, unmet(fmt.Errorf("acr is %q, which is none of acr_values", short(acr)))
	}
	who, err := p.describe(c)
	if err != nil {
		return authz.Person{}, unfit(err)
	}
	who.AuthTime, who.ACR = authTime, acr
	return who, nil
}

// verify checks the signature, iss, aud, exp and at_hash.
func (p *Provider) verify(ctx context.Context, m *metadata, t *oauth2.Token) (claims, error) {
	raw, _ := t.Extra("id_token").(string)
	if raw == "" {
		return nil, rejected(errors.New("the token response holds no id_token"))
	}
	keys := &witness{KeySet: m.keys}
	verifier := gooidc.NewVerifier(p.cfg.Issuer, keys, &gooidc.Config{
		ClientID: p.cfg.ClientID, SupportedSigningAlgs: m.algorithms, Now: p.cfg.Now,
	})
	verified, err := verifier.Verify(ctx, raw)
	switch {
	case errors.Is(keys.err, errNoKeys) || keys.err != nil && ctx.Err() != nil:
		return nil, unavailable(clip(keys.err))
	case err != nil:
		return nil, rejected(clip(err))
	}
	var payload jsontext.Value
	if err := verified.Claims(&payload); err != nil {
		return nil, rejected(clip(err))
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, rejected(clip(err))
	}
	if verified.AccessTokenHash != "" { // optional in the code flow (Core §3.1.3.6)
		if err := verified.VerifyAccessToken(t.AccessToken); err != nil {
			return nil, rejected(err)
		}
	}
	return c, nil
}

// checkNonce binds the token to this login: a code of another one, put into the
// browser's answer, brings the other's nonce.
func checkNonce(c claims, want string) error {
	got, err := c.text("nonce")
	if err == nil && !same(got, want) {
		err = errors.New("nonce is not the one of this login")
	}
	return err
}

// checkAuthorizedParty wants a token that was issued to us, and not one of
// another client in whose audience we are too (Core §3.1.3.7, 3 to 5).
func (p *Provider) checkAuthorizedParty(c claims) error {
	azp, err := c.text("azp")
	if err != nil {
		return err
	}
	audiences, err := c.texts("aud")
	if err != nil {
		return err
	}
	if azp != p.cfg.ClientID && (azp != "" || len(audiences) > 1) {
		return fmt.Errorf("azp is %q, not our client ID, with %d audiences", short(azp), len(audiences))
	}
	return nil
}

// checkIssued is against a token from the future, that may have been made with a
// wrong clock to last.
func checkIssued(c claims, now time.Time) error {
	iat, ok, err := c.time("iat")
	switch {
	case err != nil:
		return err
	case !ok:
		return errors.New("iat is missing")
	case iat.After(now.Add(skew)):
		return fmt.Errorf("iat %s is in the future", iat.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkAuthTime returns when the person logged in, zero where the IdP need not say
// and does not (Core §2, §3.1.2.1).
func checkAuthTime(c claims, l authz.LoginRequest, now time.Time) (time.Time, error) {
	at, ok, err := c.time("auth_time")
	switch {
	case err != nil:
		return time.Time{}, err
	case !ok && l.HasMaxAge:
		return time.Time{}, errors.New("auth_time is missing, though max_age was sent")
	case !ok:
		return time.Time{}, nil
	case at.After(now.Add(skew)):
		return time.Time{}, fmt.Errorf("auth_time %s is in the future", at.UTC().Format(time.RFC3339))
	case l.HasMaxAge && at.Before(now.Add(-l.MaxAge-skew)):
		return time.Time{}, fmt.Errorf("auth_time %s is longer ago than max_age allows", at.UTC().Format(time.RFC3339))
	}
	return at, nil
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
)

// The grants that are measured on each store. Each code gives the refresh token
// that is measured next, so this is the order.
const (
	grantCredentials = "client_credentials"
	grantCode        = "authorization_code"
	grantRefresh     = "refresh_token"
)

var grantNames = []string{grantCredentials, grantCode, grantRefresh}

var formHeader = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}

// grantLoad is what measures a grant. rate is what client_credentials reached in
// the same round: redeeming a code costs more than twice as much, so half as many
// codes will last.
func (h *house) grantLoad(ctx context.Context, cfg config, grant string, rate float64) (load, error) {
	switch grant {
	case grantCredentials:
		return h.credentialsLoad(cfg)
	case grantCode:
		return h.codeLoad(ctx, cfg, 1+int(rate/2*(cfg.time+cfg.warm()).Seconds()/2)/connections)
	}
	return h.refreshLoad(cfg)
}

func (h *house) credentialsLoad(cfg config) (load, error) {
	r := http.Request{Header: formHeader.Clone()}
	r.SetBasicAuth(workload, h.secret)
	form := "grant_type=client_credentials&resource=" + h.resource()
	l, err := h.load(cfg, r.Header, slices.Repeat([][]string{{form}}, connections))
	l.right = rightToken
	return l, err
}

// codeLoad redeems n codes a connection, or as many as it can, and keeps the
// refresh tokens.
func (h *house) codeLoad(ctx context.Context, cfg config, n int) (load, error) {
	codes, err := h.newCodes(ctx, n)
	if err != nil {
		return load{}, fmt.Errorf("%s: add codes: %w", h.name, err)
	}
	l, err := h.load(cfg, formHeader, forms(codes, h.codeForm))
	h.tokens = make([][]string, connections)
	l.once, l.right = true, rightTokens
	l.then = func(i int, _, answer []byte) { h.tokens[i] = append(h.tokens[i], string(refreshToken(answer))) }
	return l, err
}

// refreshLoad refreshes one family after another, and when it has been through all
// of them once more, with the token that came of the time before.
func (h *house) refreshLoad(cfg config) (load, error) {
	l, err := h.load(cfg, formHeader, forms(h.tokens, h.refreshForm))
	l.right = rightTokens
	l.then = func(_ int, request, answer []byte) { copy(refreshToken(request), refreshToken(answer)) }
	return l, err
}

func forms(secrets [][]string, form func(string) string) [][]string {
	out := make([][]string, len(secrets))
	for i := range secrets {
		for _, s := range secrets[i] {
			out[i] = append(out[i], form(s))
		}
	}
	return out
}

const refreshPrefix = "wg_rt_"

// refreshTokenLength is the same for all, so that one can take the place of another.
var refreshTokenLength = len(newSecret(refreshPrefix))

// refreshToken is the part of a request or an answer that is a refresh token, empty
// if there is none.
func refreshToken(message []byte) []byte {
	i := bytes.Index(message, []byte(refreshPrefix))
	if i < 0 || len(message) < i+refreshTokenLength {
		return nil
	}
	return message[i : i+refreshTokenLength]
}

func rightTokens(status int, body []byte) bool {
	token := refreshToken(body)
	return rightToken(status, body) && len(token) > 0 && !bytes.ContainsAny(token, `"\`)
}

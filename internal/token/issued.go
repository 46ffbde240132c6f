package token

import "context"

// Issued is a token of either kind that is good, for whatever audience. It is for
// looking at (RFC 7662) and for revoking (RFC 7009), and lets nobody do anything:
// no Access and no Call can be had from it.
type Issued struct{ Verified }

// ParseIssued verifies a token of ours without asking whom it is for.
func (v *Verifier) ParseIssued(ctx context.Context, raw string) (Issued, error) {
	t, err := v.read(ctx, raw)
	return Issued{t}, err
}

// Issuer is who issued it.
func (i Issued) Issuer() string { return i.c.Issuer }

// Details is what a call token is for; empty for an access token.
func (i Issued) Details() []Details { return i.c.Details }

package main

import (
	"context"
	"slices"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/spiffe"
)

// spiffeWithin is how long a start waits for an SVID and the trust bundles. It goes on
// without them, and says so: most callers need none.
const spiffeWithin = 5 * time.Second

func (h *house) openSPIFFE(ctx context.Context, cfg houseConfig) error {
	if cfg.SPIFFE == nil {
		return nil
	}
	c := *cfg.SPIFFE
	c.Log = cfg.Log
	source, err := spiffe.New(c)
	if err != nil {
		return err
	}
	h.spiffe, h.closers = source, append(h.closers, source.Close)
	if cfg.Metrics != nil {
		cfg.Metrics.watchSVID(source)
	}
	ctx, cancel := context.WithTimeout(ctx, spiffeWithin)
	defer cancel()
	if err := source.Wait(ctx); err != nil {
		cfg.Log.Warn("starting without all of SPIFFE: SVIDs are refused until it is here", "error", err)
	}
	return nil
}

// svids is nil, and not a nil of its type, without SPIFFE.
func (h *house) svids() authz.SVIDs {
	if h.spiffe == nil {
		return nil
	}
	return h.spiffe
}

// upstreams are those of the configuration, with how those are reached that have a
// SPIFFE ID.
func (h *house) upstreams(cfg houseConfig) []gateway.Upstream {
	out := slices.Clone(cfg.Upstreams)
	for i, u := range out {
		if id, ok := cfg.ServerIDs[u.Name]; ok {
			out[i].Transport = h.spiffe.Transport(transport(), id)
		}
	}
	return out
}

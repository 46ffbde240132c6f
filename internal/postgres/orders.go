package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/gateway"
)

// OrderTool implements gateway.PinStore.
func (s *Store) OrderTool(ctx context.Context, o gateway.Order) error {
	err := s.InTx(ctx, func(ctx context.Context) error {
		if err := s.carryOut(ctx, o); err != nil {
			return err
		}
		seq, err := s.nextRevocation(ctx)
		if err != nil {
			return err
		}
		_, err = s.exec(ctx, `INSERT INTO tool_orders (seq, server, tool, digest, action, accepted, by_whom, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, seq, o.Server, o.Tool, o.Digest, string(o.Action), o.Accepted, o.By, micros(o.At))
		return err
	})
	if err != nil {
		return fmt.Errorf("%s tool: %w", o.Action, err)
	}
	return nil
}

func (s *Store) carryOut(ctx context.Context, o gateway.Order) error {
	switch o.Action {
	case gateway.Approve:
		return s.approveTool(ctx, o)
	case gateway.Quarantine:
		n, err := s.exec(ctx, `UPDATE tool_pins SET approved = false WHERE server = $1 AND tool = $2`, o.Server, o.Tool)
		if err == nil && n == 0 {
			err = gateway.ErrNoTool
		}
		return err
	}
	return errors.New("no such action")
}

// approveTool approves the pinned definition, or else has the pending one take its place.
func (s *Store) approveTool(ctx context.Context, o gateway.Order) error {
	n, err := s.exec(ctx, `UPDATE tool_pins SET approved = true WHERE server = $1 AND tool = $2 AND digest = $3 AND NOT approved`, o.Server, o.Tool, o.Digest)
	if err != nil || n > 0 {
		return err
	}
	n, err = s.exec(ctx, `UPDATE tool_pins AS p SET approved = true, digest = c.digest, definition = c.definition, seen_at = c.seen_at
		FROM tool_candidates AS c WHERE c.server = $1 AND c.tool = $2 AND c.digest = $3 AND p.server = $1 AND p.tool = $2 AND p.digest <> c.digest`,
		o.Server, o.Tool, o.Digest)
	if err == nil && n == 0 {
		return gateway.ErrNotPending
	}
	if err != nil {
		return err
	}
	_, err = s.exec(ctx, `DELETE FROM tool_candidates WHERE server = $1 AND tool = $2 AND digest = $3`, o.Server, o.Tool, o.Digest)
	return err
}

// PinRevision implements gateway.Pins.
func (s *Store) PinRevision(ctx context.Context) (n int64, err error) {
	err = s.get(ctx, `SELECT seq FROM tool_orders WHERE seq > 0 ORDER BY seq DESC LIMIT 1`, nil, &n)
	if errors.Is(err, authz.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read revision of pins: %w", err)
	}
	return n, nil
}

// UnrecordedOrders implements gateway.Pins.
func (s *Store) UnrecordedOrders(ctx context.Context) (all []gateway.Order, err error) {
	err = s.each(ctx, func(row pgx.Row) error {
		var o gateway.Order
		err := row.Scan(&o.Seq, &o.Server, &o.Tool, &o.Digest, (*string)(&o.Action), &o.Accepted, &o.By, (*instant)(&o.At))
		all = append(all, o)
		return err
	}, `SELECT seq, server, tool, digest, action, accepted, by_whom, created_at
		FROM tool_orders WHERE seq > 0 AND recorded_at IS NULL ORDER BY seq LIMIT 1000`)
	if err != nil {
		return nil, fmt.Errorf("list orders: %w", err)
	}
	return all, nil
}

// OrderRecorded implements gateway.Pins.
func (s *Store) OrderRecorded(ctx context.Context, seq int64, now time.Time) error {
	_, err := s.exec(ctx, `UPDATE tool_orders SET recorded_at = $1 WHERE seq = $2 AND recorded_at IS NULL`, micros(now), seq)
	if err != nil {
		return fmt.Errorf("note that an order is recorded: %w", err)
	}
	return nil
}

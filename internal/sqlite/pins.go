package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/gateway"
)

const (
	lastOrders = `coalesce(o.action, ''), coalesce(o.digest, ''), coalesce(o.accepted, ''), coalesce(o.by_whom, ''), o.created_at, coalesce(o.seq, 0)
		FROM tool_pins AS p LEFT JOIN tool_candidates AS c ON c.server = p.server AND c.tool = p.tool
		LEFT JOIN tool_orders AS o ON o.seq = (SELECT max(seq) FROM tool_orders WHERE server = p.server AND tool = p.tool)
		WHERE p.server = ? ORDER BY p.tool`
	selectPins = `SELECT p.server, p.tool, p.digest, p.definition, p.seen_at, p.approved,
		coalesce(c.digest, ''), coalesce(c.definition, x''), c.seen_at, ` + lastOrders
	selectPinDigests = `SELECT p.server, p.tool, p.digest, x'', p.seen_at, p.approved, coalesce(c.digest, ''), x'', c.seen_at, ` + lastOrders

	selectPin = `SELECT server, tool, digest, definition, seen_at, approved FROM tool_pins WHERE server = ? AND tool = ?`
)

func pinColumns(p *gateway.Pin) []any {
	return []any{&p.Server, &p.Tool, &p.Digest, &p.Definition, (*instant)(&p.Seen), &p.Approved}
}

func allPinColumns(p *gateway.Pin) []any {
	return append(pinColumns(p), &p.Pending.Digest, &p.Pending.Definition, (*instant)(&p.Pending.Seen),
		(*string)(&p.Last.Action), &p.Last.Digest, &p.Last.Accepted, &p.Last.By, (*instant)(&p.Last.At), &p.Last.Seq)
}

// Pins implements gateway.Pins.
func (s *Store) Pins(ctx context.Context, server string) ([]gateway.Pin, error) {
	return s.listPins(ctx, selectPins, server)
}

// PinDigests implements gateway.Pins.
func (s *Store) PinDigests(ctx context.Context, server string) ([]gateway.Pin, error) {
	return s.listPins(ctx, selectPinDigests, server)
}

func (s *Store) listPins(ctx context.Context, query, server string) ([]gateway.Pin, error) {
	var pins []gateway.Pin
	err := s.each(ctx, func(row scanner) error {
		var p gateway.Pin
		err := row.Scan(allPinColumns(&p)...)
		if p.Last.Seq > 0 {
			p.Last.Server, p.Last.Tool = p.Server, p.Tool
		}
		pins = append(pins, p)
		return err
	}, query, server)
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	return pins, nil
}

// AddPin implements gateway.Pins.
func (s *Store) AddPin(ctx context.Context, p gateway.Pin) (gateway.Pin, error) {
	var stands gateway.Pin
	err := s.InTx(ctx, func(ctx context.Context) error {
		_, err := s.exec(ctx, `INSERT INTO tool_pins (server, tool, digest, definition, seen_at, approved)
			SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE (SELECT count(*) FROM tool_pins WHERE server = ?1) < ?7
			ON CONFLICT (server, tool) DO NOTHING`,
			p.Server, p.Tool, p.Digest, bytes(p.Definition), micros(p.Seen), p.Approved, gateway.MaxPins)
		if err != nil {
			return err
		}
		err = s.get(ctx, selectPin, []any{p.Server, p.Tool}, pinColumns(&stands)...)
		if errors.Is(err, authz.ErrNotFound) {
			return gateway.ErrTooManyPins
		}
		if err != nil || stands.Digest == p.Digest {
			return err
		}
		return s.addCandidate(ctx, p)
	})
	if err != nil {
		return gateway.Pin{}, fmt.Errorf("add pin: %w", err)
	}
	return stands, nil
}

// addCandidate keeps the newest definition that is not the pinned one.
func (s *Store) addCandidate(ctx context.Context, p gateway.Pin) error {
	_, err := s.exec(ctx, `INSERT INTO tool_candidates (server, tool, digest, definition, seen_at)
		SELECT server, tool, ?3, ?4, ?5 FROM tool_pins WHERE server = ?1 AND tool = ?2 AND digest <> ?3
		ON CONFLICT (server, tool) DO UPDATE SET digest = excluded.digest, definition = excluded.definition, seen_at = excluded.seen_at
		WHERE tool_candidates.digest <> excluded.digest`, p.Server, p.Tool, p.Digest, bytes(p.Definition), micros(p.Seen))
	return err
}

// PinnedServers implements gateway.PinStore.
func (s *Store) PinnedServers(ctx context.Context) (servers []string, err error) {
	err = s.each(ctx, func(row scanner) error {
		var name string
		err := row.Scan(&name)
		servers = append(servers, name)
		return err
	}, `SELECT DISTINCT server FROM tool_pins ORDER BY server`)
	if err != nil {
		return nil, fmt.Errorf("list servers with pins: %w", err)
	}
	return servers, nil
}

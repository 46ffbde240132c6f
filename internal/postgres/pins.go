package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/wicketgate/wicketgate/gateway"
)

const selectPins = `SELECT server, tool, digest, definition, seen_at, approved FROM tool_pins WHERE server = $1`

func pinColumns(p *gateway.Pin) []any {
	return []any{&p.Server, &p.Tool, &p.Digest, &p.Definition, (*instant)(&p.Seen), &p.Approved}
}

// Pins implements gateway.Pins.
func (s *Store) Pins(ctx context.Context, server string) ([]gateway.Pin, error) {
	var pins []gateway.Pin
	err := s.each(ctx, func(row pgx.Row) error {
		var p gateway.Pin
		err := row.Scan(pinColumns(&p)...)
		pins = append(pins, p)
		return err
	}, selectPins+` ORDER BY tool`, server)
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	return pins, nil
}

// AddPin implements gateway.Pins.
func (s *Store) AddPin(ctx context.Context, p gateway.Pin) (gateway.Pin, error) {
	_, err := s.exec(ctx, `INSERT INTO tool_pins (server, tool, digest, definition, seen_at, approved)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (server, tool) DO NOTHING`,
		p.Server, p.Tool, p.Digest, some(p.Definition), micros(p.Seen), p.Approved)
	var stands gateway.Pin
	if err == nil { // a statement of its own: it sees the pin that was in the way
		err = s.get(ctx, selectPins+` AND tool = $2`, []any{p.Server, p.Tool}, pinColumns(&stands)...)
	}
	if err != nil {
		return gateway.Pin{}, fmt.Errorf("add pin: %w", err)
	}
	return stands, nil
}

package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/authz"
)

// InsertDeviceCode implements authz.DeviceCodes.
func (s *Store) InsertDeviceCode(ctx context.Context, d authz.DeviceCode) error {
	_, err := s.exec(ctx, `INSERT INTO device_codes (hash, user_hash, client_id, resource, scope, document, created_at,
		expires_at, polled_at, decided_at, authorization_id, used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		some(d.Hash), some(d.UserHash), d.ClientID.String(), d.Resource, d.Scope, d.Document, micros(d.Created), micros(d.Expires),
		mark(d.Polled), mark(d.Decided), d.Authorization, mark(d.Used))
	if err != nil {
		return fmt.Errorf("insert device code: %w", err)
	}
	return nil
}

// deviceColumns go with deviceCode.
const deviceColumns = `hash, user_hash, client_id, resource, scope, document, created_at, expires_at, polled_at,
	decided_at, authorization_id, used_at`

// DeviceCode implements authz.DeviceCodes.
func (s *Store) DeviceCode(ctx context.Context, hash []byte) (authz.DeviceCode, error) {
	return s.deviceCode(ctx, `SELECT `+deviceColumns+` FROM device_codes WHERE hash = $1`, hash)
}

// UserCode implements authz.DeviceCodes.
func (s *Store) UserCode(ctx context.Context, userHash []byte) (authz.DeviceCode, error) {
	return s.deviceCode(ctx, `SELECT `+deviceColumns+` FROM device_codes WHERE user_hash = $1`, userHash)
}

func (s *Store) deviceCode(ctx context.Context, query string, hash []byte) (authz.DeviceCode, error) {
	var d authz.DeviceCode
	err := s.get(ctx, query, []any{some(hash)},
		&d.Hash, &d.UserHash, text{&d.ClientID}, &d.Resource, &d.Scope, &d.Document, (*instant)(&d.Created), (*instant)(&d.Expires),
		(*instant)(&d.Polled), (*instant)(&d.Decided), &d.Authorization, (*instant)(&d.Used))
	if err != nil {
		return authz.DeviceCode{}, fmt.Errorf("read device code: %w", err)
	}
	return d, nil
}

// PollDeviceCode implements authz.DeviceCodes. A code that there is not is ErrSpent too.
func (s *Store) PollDeviceCode(ctx context.Context, hash []byte, now, notBefore time.Time) error {
	err := s.once(ctx, `UPDATE device_codes SET polled_at = $1 WHERE hash = $2 AND (polled_at IS NULL OR polled_at <= $3)`,
		micros(now), some(hash), micros(notBefore))
	if err != nil {
		return fmt.Errorf("poll device code: %w", err)
	}
	return nil
}

// DecideDeviceCode implements authz.DeviceCodes. A code that there is not is ErrSpent too.
func (s *Store) DecideDeviceCode(ctx context.Context, hash []byte, authorization string, now time.Time) error {
	err := s.once(ctx, `UPDATE device_codes SET decided_at = $1, authorization_id = $2 WHERE hash = $3 AND decided_at IS NULL`,
		micros(now), authorization, some(hash))
	if err != nil {
		return fmt.Errorf("decide device code: %w", err)
	}
	return nil
}

// RedeemDeviceCode implements authz.DeviceCodes. A code that there is not, or that
// was not approved, is ErrSpent too.
func (s *Store) RedeemDeviceCode(ctx context.Context, hash []byte, now time.Time) error {
	err := s.once(ctx, `UPDATE device_codes SET used_at = $1 WHERE hash = $2 AND used_at IS NULL AND authorization_id <> ''`,
		micros(now), some(hash))
	if err != nil {
		return fmt.Errorf("redeem device code: %w", err)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/wicketgate/wicketgate/internal/keys"
	"github.com/wicketgate/wicketgate/internal/transit"
)

// wrapper is what the keys of the store are wrapped with.
func (h *house) wrapper(ctx context.Context, cfg houseConfig) (keys.Wrapper, error) {
	if cfg.Transit == nil {
		return keys.LoadKEK(cfg.KEK)
	}
	e := transit.New(transit.Config{Client: h.vault, Own: h.vaultOwn, Mount: cfg.Transit.Mount, Key: cfg.Transit.Key})
	if err := e.Check(ctx); err != nil {
		return nil, fmt.Errorf("open keys: Vault has what opens them (keys.transit), and nothing starts without it: %w", err)
	}
	return e, nil
}

// followKeys follows what is done to the keys. The audit log is there by now.
func (h *house) followKeys(_ context.Context, cfg houseConfig) error {
	h.closers = append(h.closers, every(keysReload, cfg.Log, "reload keys", reloadKeys(h.ring, cfg.Log)))
	if cfg.Metrics != nil {
		cfg.Metrics.watchKeys(h.ring)
	}
	return nil
}

// keysHouse is of a command beside the process: the store, and what opens the keys in it.
type keysHouse struct {
	house
	configured keys.Wrapper
}

// openKeys makes no key-encryption key where there is none.
func openKeys(ctx context.Context, cfg houseConfig) (*keysHouse, error) {
	if _, err := os.Stat(cfg.KEK); cfg.Transit == nil && err != nil {
		return nil, fmt.Errorf("read key-encryption key: %w", err)
	}
	if cfg.Transit != nil {
		cfg.Log = slog.New(slog.DiscardHandler) // what fails is an error of the command
	}
	o := &keysHouse{}
	err := o.open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func (o *keysHouse) open(ctx context.Context, cfg houseConfig) error {
	if cfg.Transit != nil {
		if err := o.openSPIFFE(ctx, cfg); err != nil {
			return err
		}
	}
	err := o.openVaultForKeys(ctx, cfg)
	if err != nil {
		return err
	}
	if o.configured, err = o.wrapper(ctx, cfg); err != nil {
		return err
	}
	if o.store, err = openStore(ctx, cfg.Store); err != nil {
		return err
	}
	o.closers = append(o.closers, o.store.Close)
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

const devFolder = ".wicketgate" // of wicketgate dev, in the working directory

// whereFlags says which store a command works on.
type whereFlags struct{ data, config string }

func (f *whereFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.data, "data", devFolder, "`folder` of wicketgate dev")
	c.Flags().StringVar(&f.config, "config", "", "configuration `file` of wicketgate serve, which says where the store is")
	c.MarkFlagsMutuallyExclusive("data", "config")
}

// house is what the command works on: nothing of it is opened or changed yet.
func (f *whereFlags) house(ctx context.Context) (houseConfig, error) {
	h := houseConfig{Data: f.data}
	if _, err := os.Stat(f.data); f.config == "" && errors.Is(err, fs.ErrNotExist) {
		return h, fmt.Errorf("there is no %s here: --config names the configuration of wicketgate serve, --data the folder of wicketgate dev", f.data)
	}
	if f.config != "" {
		s, err := loadConfig(ctx, f.config, roleAny)
		if err != nil {
			return houseConfig{}, &configError{err}
		}
		h = s.house
	}
	h.setPaths()
	return h, nil
}

// issuer is house for what only an authorization server keeps.
func (f *whereFlags) issuer(ctx context.Context) (houseConfig, error) {
	h, err := f.house(ctx)
	if err == nil && !h.Role.issues() {
		err = errElsewhere
	}
	return h, err
}

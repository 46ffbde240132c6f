package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/policies"
)

func policyCompileCommand() *cobra.Command {
	var out string
	var rego []string
	c := &cobra.Command{
		Use:   "compile [FILE]",
		Short: "Print what access.yaml compiles to, or write it as a bundle for an OPA",
		Long: `Prints the Rego and the data that FILE (default: access.yaml) compiles to, or writes
them into a folder as a bundle without a signature. What follows is OPA's:

  opa sign --bundle --signing-alg ES256 --signing-key key.pem --output-file-path FOLDER FOLDER
  opa run --server FOLDER`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file := fileAccess
			if len(args) == 1 {
				file = args[0]
			}
			return compilePolicy(c.Context(), policies.Files{Access: file, Rego: rego}, out, c.OutOrStdout())
		},
	}
	c.Flags().StringArrayVar(&rego, "rego", nil, "add the denials of a `file` of package wicketgate.deny, as pdp.rego does (repeatable)")
	c.Flags().StringVar(&out, "out", "", "write a bundle into the `folder`, which must be empty or not be there")
	return c
}

// compilePolicy writes the bundle into the folder, or prints it.
func compilePolicy(ctx context.Context, from policies.Files, folder string, stdout io.Writer) error {
	cfg, err := from.Read(ctx)
	if err != nil {
		return err
	}
	compiled, err := policies.Compile(ctx, cfg)
	if err != nil {
		return err
	}
	files, err := bundleFiles(compiled)
	if err != nil {
		return err
	}
	if folder == "" {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			fmt.Fprintf(stdout, "-- %s --\n%s\n", name, files[name])
		}
		return nil
	}
	return writeBundle(folder, files)
}

// bundleFiles is the layout of OPA's bundles.
func bundleFiles(c policies.Compiled) (map[string][]byte, error) {
	manifest, err := json.Marshal(struct {
		Revision string   `json:"revision"`
		Roots    []string `json:"roots"`
	}{c.Digest, c.Roots}, jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	files := map[string][]byte{".manifest": manifest, "data.json": c.Data}
	for name, text := range c.Modules {
		files[name] = []byte(text)
	}
	return files, nil
}

// writeBundle keeps out of a folder that has anything: OPA would load that, too.
func writeBundle(folder string, files map[string][]byte) error {
	if old, err := os.ReadDir(folder); err == nil && len(old) > 0 {
		return fmt.Errorf("--out %s: the folder is not empty: what is in it would be part of the bundle", folder)
	}
	for name, content := range files {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
	}
	return nil
}

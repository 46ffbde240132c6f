package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// importFlags are those of wicketgate import.
type importFlags struct {
	mcpJSON, config, prefix, allow string
	apply                          bool
}

func importCommand() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import",
		Short: "Move the servers of an MCP client's file behind the gateway, and their keys into Vault",
		Long: `Reads the file in which an MCP client (Claude Desktop, Claude Code, Cursor, VS Code) has its
servers, and says what it would do: which keys go to which path in Vault, what is added to
wicketgate.yaml and access.yaml, and what becomes of the file. With --apply it does that,
in this order, so that nothing is lost where it stops: the keys and who may read them
(Vault), the servers (wicketgate.yaml), the grant (access.yaml), the file itself. Run again, it goes on.

Keys are what looks like one: by its name (TOKEN, KEY, PASSWORD, ...), by its form, and
every header that authenticates. Nothing shows their values. Keys among the arguments of a
command or in a URL cannot be moved: such a server stays as it is, and is named.

Vault is that of wicketgate.yaml, with your token in VAULT_TOKEN: it is used for this and
kept nowhere. It needs the rights of deploy/vault/policies/wicketgate-import.hcl.`,
		Example: "  wicketgate import --mcp-json ~/.cursor/mcp.json --config wicketgate.yaml --allow alice\n  VAULT_TOKEN=... wicketgate import --mcp-json ~/.cursor/mcp.json --config wicketgate.yaml --allow alice --apply",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.run(c.Context(), c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&f.mcpJSON, "mcp-json", "", "`file` of an MCP client")
	c.Flags().StringVar(&f.config, "config", "", "configuration `file` of wicketgate serve")
	c.Flags().StringVar(&f.prefix, "kv", "secret/wicketgate", "`path` in a KV version 2 below which the keys go, beginning with its mount")
	c.Flags().StringVar(&f.allow, "allow", "", "`subject` who may call every approved tool of the servers: a person by the name of the login, or a client of the configuration")
	c.Flags().BoolVar(&f.apply, "apply", false, "do it")
	for _, name := range []string{"mcp-json", "config"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is above
		}
	}
	return c
}

func (f *importFlags) run(ctx context.Context, out io.Writer) error {
	p, err := f.plan(ctx)
	if err != nil {
		return err
	}
	if err := p.print(out); err != nil || len(p.servers) == 0 {
		return err
	}
	if !f.apply {
		_, err := fmt.Fprintln(out, "\nNothing was changed. --apply does it.")
		return err
	}
	if err := p.apply(ctx, os.Getenv("VAULT_TOKEN")); err != nil {
		return err
	}
	return p.printNext(out)
}

// plan reads everything, and changes nothing.
func (f *importFlags) plan(ctx context.Context) (*importPlan, error) {
	s, err := loadConfig(ctx, f.config, roleAny)
	if err != nil {
		return nil, &configError{err}
	}
	b, err := os.ReadFile(f.mcpJSON)
	if err != nil {
		return nil, err
	}
	servers, notes, err := readMCPJSON(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.mcpJSON, err)
	}
	mount, path, ok := strings.Cut(strings.Trim(f.prefix, "/"), "/")
	if !ok || !kvPath.MatchString(mount) || !kvPath.MatchString(path) {
		return nil, fmt.Errorf("--kv %q: want MOUNT/PATH, for example secret/wicketgate", f.prefix)
	}
	notes = slices.DeleteFunc(notes, func(n string) bool { return strings.Contains(n, ": not used: ") }) // it stays in the file
	p := &importPlan{flags: *f, settings: s, file: b, notes: notes, mount: mount, below: path}
	for _, server := range servers {
		p.add(server)
	}
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// prepare makes the new files, and holds them to what wicketgate serve would say of them.
func (p *importPlan) prepare(ctx context.Context) (err error) {
	if len(p.servers) == 0 {
		return nil
	}
	if p.needsVault() && p.settings.house.Vault == nil {
		return fmt.Errorf("%s has no vault section: add vault.address and vault.login, as docs/vault.md says", p.flags.config)
	}
	if p.config, err = p.newConfig(ctx); err != nil {
		return err
	}
	if p.access, err = p.newAccess(ctx); err != nil {
		return err
	}
	p.rewritten, err = p.newFile()
	return err
}

// apply does what was planned. What it has done already it finds done.
func (p *importPlan) apply(ctx context.Context, token string) error {
	if p.needsVault() {
		if token == "" {
			return errors.New("VAULT_TOKEN is not set: give a token of yours that may do what is above")
		}
		if err := p.writeVault(ctx, token); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		path string
		text []byte
	}{{p.flags.config, p.config}, {p.accessPath(), p.access}, {p.flags.mcpJSON, p.rewritten}} {
		if f.text == nil {
			continue
		}
		if err := replaceText(f.path, f.text); err != nil {
			return fmt.Errorf("write %s: %w: run the same again", f.path, err)
		}
	}
	return nil
}

// replaceText puts the text in the place of the file, whole or not at all, and readable to
// whom the file was.
func replaceText(path string, text []byte) error {
	path, err := realPath(path)
	if err != nil {
		return err
	}
	mode := os.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := cmp.Or(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return os.Rename(next, path)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wicketgate/wicketgate/policies"
)

const fileCases = "cases.yaml"

func policyTestCommand() *cobra.Command {
	var policy string
	c := &cobra.Command{
		Use:   "test [FILE|FOLDER...]",
		Short: "Run the cases of a policy, and the tests of its Rego",
		Long: `Runs cases (YAML) and the tests in *_test.rego files, which go with the other *.rego
files that are given; those go with the cases too. A folder stands for its cases.yaml and its Rego; nothing for the
working directory. The policy is the one that --policy names, or a file of cases by its
key policy, or access.yaml beside it. What fails is shown with what the policy said.
A case without arguments asks whether the caller sees the tool; write {} for a call with
none. A server in observe mode is held to its rules.
Exit code 0: all pass; 1: one fails, or there is none; 2: a file is wrong.`,
		Example: "  wicketgate policy test policy/\n  wicketgate policy test --policy access.yaml cases.yaml deny.rego deny_test.rego",
		RunE: func(c *cobra.Command, args []string) error {
			t := policyTests{policy: policy, stdout: c.OutOrStdout(), stderr: c.ErrOrStderr(), rego: map[string]string{}}
			if len(args) == 0 {
				args = []string{"."}
			}
			return t.run(c.Context(), args)
		},
	}
	c.Flags().StringVar(&policy, "policy", "", "`file` of the policy; default: what the cases say, or access.yaml beside them")
	return c
}

// policyTests is one run of wicketgate policy test.
type policyTests struct {
	policy         string
	stdout, stderr io.Writer

	cases                   []string
	rego                    map[string]string // Rego by the file that it is in
	passed, failed, skipped int
}

func (t *policyTests) run(ctx context.Context, args []string) error {
	for _, path := range args {
		if err := t.add(path); err != nil {
			return &configError{err}
		}
	}
	for _, path := range t.cases {
		if err := t.runCases(ctx, path); err != nil {
			return err
		}
	}
	if err := t.runRego(ctx); err != nil {
		return err
	}
	if t.passed+t.failed == 0 {
		return fmt.Errorf("there is no case here: write some into %s, or name the files that have them", fileCases)
	}
	fmt.Fprintf(t.stdout, "%d passed, %d failed%s\n", t.passed, t.failed, ifAny(t.skipped, ", %d skipped"))
	if t.failed > 0 {
		return errReported
	}
	return nil
}

func ifAny(n int, format string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

// add sorts a file by its name, or what a folder has.
func (t *policyTests) add(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return t.addFolder(path)
	}
	if filepath.Ext(path) == ".rego" {
		b, err := os.ReadFile(path)
		t.rego[path] = string(b)
		return err
	}
	t.cases = append(t.cases, path)
	return nil
}

func (t *policyTests) addFolder(path string) error {
	cases := filepath.Join(path, fileCases)
	if _, err := os.Stat(cases); err == nil {
		t.cases = append(t.cases, cases)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if err == nil && filepath.Ext(e.Name()) == ".rego" && !e.IsDir() {
			err = t.add(filepath.Join(path, e.Name()))
		}
	}
	return err
}

func (t *policyTests) runCases(ctx context.Context, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return &configError{err}
	}
	cases, err := policies.ParseCases(path, b)
	if err != nil {
		return mistaken(t.stderr, err)
	}
	named := cases.Policy
	if named != "" && !filepath.IsAbs(named) {
		named = filepath.Join(filepath.Dir(path), named)
	}
	p, err := loadPolicy(ctx, policies.Files{Access: t.policyOf(path, named), Rego: t.denials()}, t.stderr)
	if err != nil {
		return err
	}
	for _, c := range cases.Cases {
		d, wrong := c.Run(ctx, p)
		if wrong == "" {
			t.passed++
			continue
		}
		t.fail(c.At, c.Name, wrong)
		showGround(t.stdout, d)
	}
	return nil
}

// denials are the Rego files that are no tests.
func (t *policyTests) denials() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(t.rego)), func(f string) bool { return strings.HasSuffix(f, "_test.rego") })
}

// policyOf is the policy for a file of tests.
func (t *policyTests) policyOf(path, named string) string {
	switch {
	case t.policy != "":
		return t.policy
	case named != "":
		return named
	}
	return filepath.Join(filepath.Dir(path), fileAccess)
}

func (t *policyTests) fail(at, name, wrong string) {
	t.failed++
	fmt.Fprintf(t.stdout, "FAIL %s: %s: %s\n", escape(at), escape(name), escape(wrong))
}

// showGround says on what a decision rests.
func showGround(w io.Writer, d policies.Decision) {
	for _, line := range []struct{ what, text string }{{"rule", d.Rule}, {"because", d.Detail}} {
		if line.text != "" {
			fmt.Fprintf(w, "     %s: %s\n", line.what, escape(line.text))
		}
	}
	if d.Err != nil {
		fmt.Fprintf(w, "     error: %s\n", escape(d.Err.Error()))
	}
}

func (t *policyTests) runRego(ctx context.Context) error {
	files := slices.Sorted(maps.Keys(t.rego))
	tests := slices.IndexFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.rego") })
	if tests < 0 {
		return nil
	}
	path := t.policyOf(files[tests], "")
	b, err := os.ReadFile(path)
	if err != nil && !(errors.Is(err, fs.ErrNotExist) && t.policy == "") { // Rego may be tested without a policy
		return &configError{err}
	}
	results, err := policies.RunRegoTests(ctx, policies.Config{Access: b, Name: path}, t.rego)
	if err != nil {
		return mistaken(t.stderr, err)
	}
	for _, r := range results {
		switch {
		case r.Skipped:
			t.skipped++
		case r.Passed:
			t.passed++
		case r.Err != nil:
			t.fail(r.At, r.Name, r.Err.Error())
		default:
			t.fail(r.At, r.Name, "it does not hold")
		}
	}
	return nil
}

// Command gitleaks prints what internal/redact keeps of the rules that this version
// of gitleaks has built in, as JSON: those that look at text alone.
//
//	go run . > ../../internal/redact/rules.json
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/pelletier/go-toml/v2"
	"github.com/zricethezav/gitleaks/v8/config"
)

type allowlist struct {
	Condition   string   `toml:"condition" json:"-"`
	Paths       []string `toml:"paths" json:"-"`
	RegexTarget string   `toml:"regexTarget" json:"target,omitempty"`
	Regexes     []string `toml:"regexes" json:"regexes,omitempty"`
	StopWords   []string `toml:"stopwords" json:"stopwords,omitempty"`
}

type rule struct {
	ID          string      `toml:"id" json:"id"`
	Regex       string      `toml:"regex" json:"regex"`
	Path        string      `toml:"path" json:"-"`
	SecretGroup int         `toml:"secretGroup" json:"group,omitempty"`
	Entropy     float64     `toml:"entropy" json:"entropy,omitempty"`
	Keywords    []string    `toml:"keywords" json:"keywords"`
	Required    []any       `toml:"required" json:"-"`
	Allowlists  []allowlist `toml:"allowlists" json:"allow,omitempty"`
}

type rules struct {
	Source    string    `toml:"-" json:"source"`
	Allowlist allowlist `toml:"allowlist" json:"allow"`
	Rules     []rule    `toml:"rules" json:"rules"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var all rules
	if err := toml.Unmarshal([]byte(config.DefaultConfig), &all); err != nil {
		return err
	}
	kept := rules{Source: "gitleaks v8.30.1, MIT License, Copyright (c) 2019 Zachary Rice", Allowlist: all.Allowlist}
	for _, r := range all.Rules {
		if r.Path != "" { // is for files of some name
			continue
		}
		if len(r.Keywords) == 0 || len(r.Required) > 0 {
			return fmt.Errorf("rule %s: has no keyword, or needs others: internal/redact cannot do that", r.ID)
		}
		r.Allowlists = onText(r.Allowlists)
		kept.Rules = append(kept.Rules, r)
	}
	e := json.NewEncoder(os.Stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	return e.Encode(kept)
}

// onText keeps what is about a secret or its match: not about files, and not about a
// line, where a word beside a secret would let it pass.
func onText(lists []allowlist) (out []allowlist) {
	for _, a := range lists {
		if a.Condition != "AND" && a.RegexTarget != "line" && len(a.Regexes)+len(a.StopWords) > 0 {
			out = append(out, a)
		}
	}
	return out
}

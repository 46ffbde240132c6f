package redact

import (
	_ "embed"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
)

//go:embed rules.json
var rulesJSON []byte

// ruleset is the rules for secrets.
type ruleset struct {
	allow    allowlist
	rules    []rule
	keywords *keywords
	of       [][]int // rules of a keyword
}

// rule finds one kind of secret.
type rule struct {
	ID       string      `json:"id"`
	Regex    string      `json:"regex"`
	Group    int         `json:"group"`
	Entropy  float64     `json:"entropy"`
	Keywords []string    `json:"keywords"`
	Allow    []allowlist `json:"allow"`

	atKeyword bool // every match begins with a keyword
	atWord    bool // and there with a word
	assigns   bool // a sign such as = comes after the keyword
	compile   func() *regexp.Regexp
}

// allowlist is what is no secret although it looks like one.
type allowlist struct {
	Target    string   `json:"target"` // "match": what the whole expression matched
	Regexes   []string `json:"regexes"`
	StopWords []string `json:"stopwords"`

	compile func() *regexp.Regexp // nil where there are none
}

// ownRules are beside those of gitleaks.
var ownRules = []rule{{ // one that was cut off
	ID:       "private-key",
	Regex:    `(?i)-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----(?:\s+[A-Za-z-]+:[^\r\n]*)*\s*[A-Za-z0-9+/=]{40,}(?:\s+[A-Za-z0-9+/=]+)*`,
	Keywords: []string{"-----begin"},
}}

// generic is the rule for what is called a key, and looks random.
const generic = "generic-api-key"

// handles are names of what the rule for generic keys takes for keys, and no client can
// do without: what leads to the next page of a list, MCP's progressToken, and the "key"
// of an entry or object in JSON.
const handles = `(?i)(?:page|continuation|cursor|next|sync|progress)[_.-]?(?:token|key)|^key["']`

// builtin reads the rules once. Each expression is compiled when it is first needed:
// a process that never sees a keyword never pays for it.
var builtin = sync.OnceValues(func() (*ruleset, error) {
	var in struct {
		Allow allowlist `json:"allow"`
		Rules []rule    `json:"rules"`
	}
	if err := json.Unmarshal(rulesJSON, &in, json.MatchCaseInsensitiveNames(false)); err != nil {
		return nil, fmt.Errorf("read the rules for secrets: %w", err)
	}
	s := &ruleset{allow: in.Allow.prepared(), rules: append(in.Rules, ownRules...)}
	numbers := map[string]int{}
	var words []string
	for i := range s.rules {
		if err := s.rules[i].prepare(); err != nil {
			return nil, fmt.Errorf("rule %s: %w", s.rules[i].ID, err)
		}
		for _, w := range s.rules[i].Keywords {
			n, ok := numbers[w]
			if !ok {
				n = len(words)
				numbers[w], words, s.of = n, append(words, w), append(s.of, nil)
			}
			s.of[n] = append(s.of[n], i)
		}
	}
	s.keywords = newKeywords(words)
	return s, nil
})

// before is how most expressions begin: with up to 50 characters that are no part of
// the secret. Without them a match begins at the keyword.
const before = `[\w.-]{0,50}?`

// sign is what comes after the keyword in those expressions: nothing but words, and
// then what assigns a value.
const sign = `(?:[ \t\w.-]{0,20})[\s'"]{0,3}(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)`

func (r *rule) prepare() error {
	expression := strings.ReplaceAll(r.Regex, before, "")
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return err
	}
	r.atKeyword, r.atWord = true, startsAtWord(tree)
	for _, b := range beginnings(tree) {
		if !slices.ContainsFunc(r.Keywords, func(k string) bool { return strings.HasPrefix(b.text, k) }) {
			r.atKeyword = false
		}
	}
	r.assigns = r.atKeyword && tree.Op == syntax.OpConcat && strings.Contains(expression, ")"+sign)
	if r.atKeyword {
		expression = `\A(?:` + expression + `)`
	}
	if r.ID == generic {
		r.Allow = append(r.Allow, allowlist{Target: "match", Regexes: []string{handles}})
	}
	for i, a := range r.Allow {
		r.Allow[i] = a.prepared()
	}
	r.compile = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
	return nil
}

func (a allowlist) prepared() allowlist {
	if len(a.Regexes) > 0 {
		a.compile = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(strings.Join(grouped(a.Regexes), "|")) })
	}
	return a
}

func grouped(expressions []string) (out []string) {
	for _, e := range expressions {
		out = append(out, "(?:"+e+")")
	}
	return out
}

// allows reports whether a match is no secret.
func (a allowlist) allows(secret, match string) bool {
	target := secret
	if a.Target == "match" {
		target = match
	}
	if a.compile != nil && a.compile().MatchString(target) {
		return true
	}
	lower := strings.ToLower(secret)
	return slices.ContainsFunc(a.StopWords, func(w string) bool { return strings.Contains(lower, w) })
}

// beginning is how a match may begin, in lower case. One that is open goes on with
// what is not known.
type beginning struct {
	text string
	open bool
}

// maxBeginnings bounds what beginnings tells apart.
const maxBeginnings = 64

// beginnings returns how matches begin; with the empty text, open, in any way.
func beginnings(re *syntax.Regexp) []beginning {
	unknown := []beginning{{open: true}}
	switch re.Op {
	case syntax.OpLiteral:
		return []beginning{{text: strings.ToLower(string(re.Rune))}}
	case syntax.OpCharClass:
		return ofClass(re.Rune)
	case syntax.OpEmptyMatch, syntax.OpWordBoundary, syntax.OpBeginText:
		return []beginning{{}}
	case syntax.OpCapture:
		return beginnings(re.Sub[0])
	case syntax.OpQuest:
		return append(beginnings(re.Sub[0]), beginning{})
	case syntax.OpAlternate:
		var out []beginning
		for _, sub := range re.Sub {
			out = append(out, beginnings(sub)...)
		}
		return out
	case syntax.OpConcat:
		out := []beginning{{}}
		for _, sub := range re.Sub {
			if out = extended(out, beginnings(sub)); len(out) > maxBeginnings {
				return unknown
			}
		}
		return out
	}
	return unknown
}

func ofClass(ranges []rune) (out []beginning) {
	for i := 0; i < len(ranges); i += 2 {
		if ranges[i+1]-ranges[i] > 8 {
			return []beginning{{open: true}}
		}
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			out = append(out, beginning{text: strings.ToLower(string(r))})
		}
	}
	return out
}

// extended puts each of the tails behind each of the heads that goes on.
func extended(heads, tails []beginning) (out []beginning) {
	for _, h := range heads {
		if h.open {
			out = append(out, h)
			continue
		}
		for _, t := range tails {
			if b := (beginning{h.text + t.text, t.open}); !slices.Contains(out, b) {
				out = append(out, b)
			}
		}
	}
	return out
}

// startsAtWord reports whether matches begin where a word does.
func startsAtWord(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpWordBoundary:
		return true
	case syntax.OpConcat, syntax.OpCapture:
		return startsAtWord(re.Sub[0])
	}
	return false
}

// entropy is Shannon's, in bits a byte: a text of few different letters is no secret.
func entropy(s string) (bits float64) {
	var counts [256]int
	for i := range len(s) {
		counts[s[i]]++
	}
	for _, n := range counts {
		if n > 0 {
			p := float64(n) / float64(len(s))
			bits -= p * math.Log2(p)
		}
	}
	return bits
}

package schema

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// patterns compiles the regular expressions of one schema. Go's are RE2: linear in
// the string, times the size of the program, which is bounded here.
type patterns map[string]*pattern

type pattern struct {
	text    string
	size    int
	must    []*regexp.Regexp
	mustNot []*regexp.Regexp
}

func (p *pattern) String() string { return p.text }

func (p *pattern) MatchString(s string) bool {
	for _, re := range p.must {
		if !re.MatchString(s) {
			return false
		}
	}
	return !slices.ContainsFunc(p.mustNot, func(re *regexp.Regexp) bool { return re.MatchString(s) })
}

// compileAll compiles the expressions of one subschema before the library asks for
// them, while it is known where they are.
func (ps patterns) compileAll(v map[string]any) error {
	named, _ := v["patternProperties"].(map[string]any)
	expressions := sorted(named)
	if x, ok := v["pattern"].(string); ok {
		expressions = append(expressions, x)
	}
	for _, x := range expressions {
		if _, err := ps.compile(x); err != nil {
			return err
		}
	}
	return nil
}

func (ps patterns) compile(text string) (jsonschema.Regexp, error) {
	if p := ps[text]; p != nil {
		return p, nil
	}
	if len(text) > maxPattern {
		return nil, fmt.Errorf("regular expression longer than %d bytes", maxPattern)
	}
	p := &pattern{text: text}
	rest := text
	for {
		ahead, negative, after, ok := lookahead(rest)
		if !ok {
			break
		}
		if err := p.add(ahead, negative); err != nil {
			return nil, err
		}
		rest = "^" + after
	}
	if err := p.add(rest, false); err != nil {
		return nil, err
	}
	total := p.size
	for _, q := range ps {
		total += q.size
	}
	if total > maxPrograms {
		return nil, fmt.Errorf("regular expressions larger than %d steps", maxPrograms)
	}
	ps[text] = p
	return p, nil
}

func (p *pattern) add(text string, negative bool) error {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return err
	}
	if p.size += programSize(tree); p.size > maxProgram {
		return fmt.Errorf("regular expression larger than %d steps", maxProgram)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return err
	}
	if negative {
		p.mustNot = append(p.mustNot, re)
	} else {
		p.must = append(p.must, re)
	}
	return nil
}

// lookahead takes ^(?=…) or ^(?!…) off the front of an expression: RE2 has none,
// and at the front it is a second expression. zod writes its e-mail pattern so.
func lookahead(text string) (ahead string, negative bool, rest string, ok bool) {
	if !strings.HasPrefix(text, "^(?=") && !strings.HasPrefix(text, "^(?!") {
		return "", false, "", false
	}
	end, depth, inClass, alternative := 0, 0, false, false
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case inClass:
			inClass = c != ']'
		case c == '[':
			inClass = true
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 && end == 0 {
				end = i
			}
		case c == '|' && depth == 0:
			alternative = true
		}
	}
	if end == 0 || alternative || end+1 < len(text) && strings.ContainsRune("*+?{", rune(text[end+1])) {
		return "", false, "", false
	}
	return "^(?:" + text[4:end] + ")", text[3] == '!', text[end+1:], true
}

// programSize estimates the program before anything is unrolled.
func programSize(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += programSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxProgram+1)
}

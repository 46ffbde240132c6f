package inspect

import (
	"regexp"
	"strings"
)

var (
	comment = lazily(`<!--|<!\[CDATA\[|<\?xml`)
	// tag: elements that a client's page would act on, and words that models are trained
	// to obey. <id> and <path> are how people write a placeholder.
	tag = lazily(`(?i)</?\s*(?:script|iframe|img|svg|object|embed|style|link|meta|form|input|button|a|base|video|audio|body|html|div|span|p|br|table|details|marquee|` +
		`important|system|systemprompt|system[-_](?:prompt|message|reminder|instructions?)|instructions?|hidden|secret|critical|mandatory|assistant|human|prompt|thinking|function_calls?|tool_calls?|antml:[a-z_]+)(?:\s[^<>]*|/)?>`)
	// prompt: delimiters of chat templates.
	prompt = lazily(`(?i)<\|[a-z_]+\|>|\[/?INST\]|<<SYS>>|\[system\]|###\s*(?:system|instructions?)\s*:?|\[\[?(?:important|hidden|system)[^\]]*\]\]?|\b(?:begin|end) (?:system|hidden) (?:prompt|instructions?)\b`)
	image  = lazily(`!\[[^\]]*\]\(\s*[a-zA-Z][a-zA-Z0-9+.-]*:`)
	scheme = lazily(`(?i)\b(?:javascript|vbscript|data):[^\s]*[,(]`)
	url    = lazily(`(?i)\b(?:https?|wss?|ftp)://[^\s"'<>)\]]+`)
)

// schemaReference names the members that say which schema is meant, and are URLs.
func schemaReference(name string) bool {
	return name == "$schema" || name == "$id" || name == "$ref" || name == "$dynamicRef"
}

// markup finds what a client may render, or a model take for the words of another.
func (t text) markup(add find) {
	for _, p := range []func() *regexp.Regexp{comment, tag, prompt} {
		if m := p().FindString(t.value); m != "" {
			add(Markup, Block, printable(m))
			break
		}
	}
	if m := image().FindString(t.value); m != "" {
		add(Link, Block, "an image, which many clients fetch: "+printable(m))
	}
	if m := scheme().FindString(t.value); m != "" {
		add(Link, Block, printable(m))
	}
	if m := url().FindString(t.value); m != "" && !schemaReference(t.last()) && !strings.HasPrefix(t.pointer, "/icons/") {
		add(Link, Warn, printable(m))
	}
}

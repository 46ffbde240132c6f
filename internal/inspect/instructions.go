package inspect

import (
	"regexp"
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"
)

// pattern is a way of words that descriptions of tools have no use for.
type pattern struct {
	code     string
	severity Severity
	re       func() *regexp.Regexp
}

func words(code string, severity Severity, expression string) pattern {
	return pattern{code, severity, lazily(expression)}
}

// lazily compiles an expression when it is first wanted. Every process of this program
// pays for what is compiled before main, and one that becomes a command (package sandbox)
// is started for each call.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// patterns match what plain returns. Each is from an attack that was published; what well
// known servers say is in testdata/benign, and none of it is blocked.
var patterns = []pattern{
	words(Override, Block, `\b(?:ignore|disregard|forget|override|bypass|discard)\b.{0,40}\b(?:previous|prior|above|earlier|preceding|other|existing|your|all|any|system|safety|developer|user)\b.{0,30}\b(?:instructions?|prompts?|rules?|guidelines?|directives?|guardrails?|polic(?:y|ies)|restrictions?)\b`),
	words(Override, Block, `\b(?:new|updated|revised|real|actual|hidden|secret) (?:system )?(?:instructions?|directives?|prompts?)\b ?:`),
	words(Override, Block, `\b(?:system|admin|developer|security) (?:override|notice|message|directive|instructions?) ?:|\b(?:you are now|from now on,? you|act as (?:if|though|an? (?:un|admin|root|different))|pretend (?:to be|you|that)|jailbreak|developer mode|dan mode)\b`),
	words(Override, Block, `\b(?:reveal|print|output|repeat|return|include|pass|send|leak|provide|insert|copy|append|fill in|show|disclose|dump)\b.{0,60}\b(?:system|developer|hidden|initial) (?:prompt|message|instructions?)\b`),
	words(Override, Block, `\b(?:without|no|skip|bypass|never|do not|don t|not need)\b.{0,30}\b(?:asking for|requesting|require|requiring|needing|waiting for|user|human|explicit)\b.{0,20}\b(?:confirmations?|consent|approvals?|permission)\b`),
	words(Override, Warn, `\bsystem prompt\b`),

	words(Secrecy, Block, `\b(?:do not|don t|never|must not|mustn t|should not|shouldn t|cannot|can t|without|avoid|refrain from)\b.{0,40}\b(?:tell(?:ing)?|mention(?:ing)?|inform(?:ing)?|notify(?:ing)?|reveal(?:ing)?|disclos(?:e|ing)|alert(?:ing)?|warn(?:ing)?|show(?:ing)?|explain(?:ing)?|let(?:ting)?|report(?:ing)?|display(?:ing)?)\b.{0,50}\b(?:users?|humans?|person|people|anyone|anybody|owner|operator|this|these instructions?|that you)\b`),
	words(Secrecy, Block, `\b(?:silently|secretly|covertly|discreetly|quietly|surreptitiously|stealthily)\b.{0,60}\b(?:send|forward|copy|read|call|include|add|bcc|upload|append|pass|execute|run|access|collect|store|log|replace|exfiltrate|extract|use)\b`),
	words(Secrecy, Block, `\b(?:users?|humans?)\b.{0,30}\b(?:must not|mustn t|should not|shouldn t|won t|will not|does not|doesn t|do not|never|cannot|can t)\b.{0,20}\b(?:know|notice|see|find out|be (?:told|aware|informed|notified|alerted)|aware|like (?:it|them))\b`),
	words(Secrecy, Block, `\b(?:hide|conceal|keep)\b.{0,40}\b(?:from the (?:user|human)|secret|hidden from)\b|\b(?:hide|conceal) (?:this|these|it|them)\b`),
	words(Secrecy, Block, `\b(?:confidential|internal|hidden|secret) (?:instructions?|directives?)\b|\b(?:instructions?|note) (?:only )?for (?:the )?(?:ai|llm|model|assistant|agent)s?(?: only)?\b`),

	words(Shadowing, Block, `\b(?:when(?:ever)?|if|while|once|as) this tool is (?:available|present|installed|loaded|connected|enabled|active|listed)\b`),
	words(Shadowing, Block, `\b(?:any|all|every|each|the|its|their|for|to|of) other (?:tools?|servers?|mcp)\b.{0,80}\b(?:must|always|never|instead|should|first|ignore|avoid|do not|don t|deprecated|redirect)\b`),
	words(Shadowing, Block, `\b(?:must|always|never|instead|should|do not|don t|avoid|need to|have to)\b.{0,40}\b(?:us(?:e|ing)|call(?:ing)?|invok(?:e|ing)|trust(?:ing)?)\b.{0,30}\b(?:any |all |the |every )?other (?:tools?|servers?|mcp)\b`),
	words(Shadowing, Block, `\b(?:when(?:ever)?|before|after|every time|each time|if)\b.{0,25}\b(?:the |any |an? )?\w+(?: \w+){0,3} (?:tool|function|server) (?:is|are|was|gets?|has been|must|should|needs?)\b.{0,80}\b(?:must|always|first|also|instead|change|replace|redirect|forward|set|modify|send)\b`),
	words(Shadowing, Block, `\b(?:must|have to|needs? to|should|has to|always) (?:always |also )?(?:send|change|redirect|forward|route|replace|bcc|cc|modify|set|rewrite)\b.{0,50}\b(?:emails?|messages?|recipients?|payments?|requests?|numbers?|addresses|address|transactions?|proxy number)\b.{0,60}\b(?:to|with|by|from)\b`),
	words(Shadowing, Block, `\b(?:modif(?:y|ies)|alters?|chang(?:e|es)|overrid(?:e|es)|replac(?:e|es)|affects?|supersed(?:e|es)|intercepts?)\b.{0,30}\b(?:behaviou?r|recipients?|arguments?|parameters?|output|results?|implementation|usage)s? (?:of|for|when|in)\b.{0,40}\b(?:tools?|send|calls?|functions?)\b`),
	words(Shadowing, Warn, `\b(?:instead of|rather than|do not use|don t use|replaces)\b.{0,30}\btools?\b`),

	words(Ordering, Block, `\b(?:before|prior to|in order to|for)\b (?:using|calling|invoking|you (?:can )?(?:use|call)|running|executing|use of)\b.{0,30}\b(?:this|any|every|all|each|other)\b.{0,60}\b(?:read|include|pass|provide|fetch|open|cat|load|access|look up|retrieve|collect|list the|gather|send|run|execute)\b`),
	words(Ordering, Block, `\b(?:otherwise|or else|if you do not|if you don t|unless you do)\b.{0,30}\b(?:the )?(?:tool|this|it|application|system)\b.{0,20}\b(?:will not|won t|does not|doesn t|cannot|can t|fails?|will fail|crash|will crash)\b`),
	words(Ordering, Block, `\b(?:must|always|should)\b.{0,20}\b(?:be )?(?:called|call|used|use|run|invoked|invoke)\b.{0,30}\b(?:this|it)?\b.{0,20}\b(?:before|prior to)\b.{0,20}\b(?:any|every|all|each|other|anything|everything)\b`),
	words(Ordering, Block, `\b(?:read|open|cat|load|access|fetch)\b.{0,60}\b(?:and|then)\b.{0,30}\b(?:pass|include|send|provide|put|add|append|insert|supply|use)\b.{0,40}\b(?:contents?|it|them|data|file|key)\b.{0,40}\b(?:as|in|into|to|via|through)\b`),
	words(Ordering, Block, `\b(?:simulate|pretend|fake)\b.{0,40}\b(?:error|failure|success)\b|\b(?:tool|function) (?:implementation|requires?|needs?)\b.{0,60}\b(?:contents? of|read(?:ing)?|credentials?|api key|private key|ssh)\b`),
	words(Ordering, Warn, `\b(?:must|always|should) (?:be )?(?:call|called|use|used|invoke)\b.{0,60}\b(?:before|first)\b`),

	words(Exfiltration, Block, `\b(?:send|post|upload|forward|transmit|exfiltrate|report|submit|deliver|push|curl|fetch|leak|copy|call|request)\b.{0,100}\b(?:https?|wss?|ftp|dns)://`),
	words(Exfiltration, Block, `\b(?:send|forward|e ?mail|mail|transmit|copy|bcc|cc|deliver|leak|redirect|route)\b.{0,100}(?:\b[a-z0-9._%+]+@[a-z0-9.-]+\.[a-z]{2,}|\+\d[\d ]{7,}\d)`),
	words(Exfiltration, Block, `\bb?cc\b.{0,30}@|\b(?:add|always|include|put)\b.{0,40}\bbcc\b|\bexfiltrat`),
	words(Exfiltration, Block, `\b(?:send|include|pass|provide|forward|append|insert|copy|share|place|put)\b.{0,50}\b(?:entire|full|whole|complete|all|previous|recent)\b.{0,30}\b(?:conversation|chat|history|transcript|last messages)\b`),

	words(CredentialPath, Block, `[~/\\.]ssh\b|\bid (?:rsa|dsa|ecdsa|ed25519)\b|\bauthorized keys\b|\.aws\b|\.kube\b|\.netrc\b|\.pgpass\b|\.npmrc\b|\.pypirc\b|\.gnupg\b|\.docker/config|\.git ?credentials|\.bash history|\.zsh history|/etc/(?:passwd|shadow|sudoers)|/proc/self/environ|\bmcp\.json\b|\bclaude desktop config\b|\.cursor/|\bkeychain\b|\bwallet\.dat\b|\blogin data\b.{0,10}\bchrome\b|169\.254\.169\.254`),
	words(CredentialPath, Block, `\b(?:read|cat|open|include|pass|send|contents? of|load|dump|provide|get|extract|steal)\b.{0,60}(?:\b(?:private keys?|ssh keys?|api keys?|access tokens?|passwords?|credentials?|secrets?)\b.{0,40}\b(?:from|file|env|environment|stored|and (?:pass|send|include))\b|\.env\b|\benvironment variables?\b.{0,60}\b(?:and|to|as|into) (?:pass|send|include|put|the))`),
	words(CredentialPath, Warn, `(?:^| )\.env\b`),
}

// contextParameters are arguments by which a server has the model hand over what it was
// told; no description is needed to have them filled.
var contextParameters = lazily(`^(?:(?:full |entire |whole |all |previous |users? )?(?:conversation|chat|message|session) (?:history|transcript|log|context)|chain of thoughts?|(?:hidden|internal) reasoning|(?:all |available |other )?tools? list|list of (?:all )?tools|tool call history|previous tool calls?|model name and version|side ?note|(?:your |the |llm |model )?system (?:prompt|message)(?: text| contents?)?|content from .*(?:reading|file|env).*)$`)

var separators = lazily("[\\s_*`\"'\u2018\u2019\u201c\u201d-]+")

// plain is the text as a model reads it: whatever its case, its emphasis, its width, and
// what is hidden between its letters.
func plain(s string) string {
	seen := strings.Map(func(r rune) rune {
		if hidden(r) {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(separators().ReplaceAllString(strings.ToLower(norm.NFKC.String(seen)), " "))
}

// instructions finds what tells the model to do something.
func (t text) instructions(add find) {
	s := plain(t.value)
	type kind struct {
		code     string
		severity Severity
	}
	seen := map[kind]bool{}
	for _, p := range patterns {
		k := kind{p.code, p.severity}
		if seen[k] || seen[kind{p.code, Block}] {
			continue
		}
		if m := p.re().FindString(s); m != "" {
			seen[k] = true
			add(p.code, p.severity, printable(m))
		}
	}
	if t.name && strings.Contains(t.pointer, "/properties/") && contextParameters().MatchString(s) {
		add(ContextParameter, contextSeverity(s), printable(s))
	}
}

// contextSeverity: a tool that asks another model has a system prompt to be given.
func contextSeverity(name string) Severity {
	if strings.HasSuffix(name, "system prompt") || strings.HasSuffix(name, "system message") {
		return Warn
	}
	return Block
}

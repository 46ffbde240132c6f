package main

// ServerConfig is an MCP server behind the gateway.
type ServerConfig struct {
	// In ISSUER/mcp/NAME, in access.yaml and in the audit log.
	Name string `yaml:"name" required:"true" pattern:"^[a-z0-9][a-z0-9-]{0,62}$"`

	// Where it speaks streamable HTTP. https; http only for this machine, or with
	// insecure_plaintext. Either this or command.
	URL string `yaml:"url"`

	// Program and arguments of a server that speaks over standard input and output; no
	// shell reads them. Every session has a process of its own, with nothing of
	// Wicketgate's environment but PATH and LANG. No token goes to it.
	Command []string `yaml:"command"`

	// Environment of the command.
	Env []EnvConfig `yaml:"env"`

	// Working directory of the command, which it may read. Absent: an empty temporary one.
	Dir string `yaml:"dir"`

	// A process ends when nothing has happened in its session for so long.
	Idle duration `yaml:"idle" default:"10m" min:"10s" max:"12h"`

	// What the command may do.
	Sandbox SandboxConfig `yaml:"sandbox"`

	// vault: it gets credentials of Vault, made for the call, and no token at all. Absent: a
	// call token with each request, or nothing, for a command.
	Credential string `yaml:"credential" enum:"vault"`

	// With credential: vault: which credential, and where it goes.
	Vault *ServerVaultConfig `yaml:"vault"`

	// aud of the call tokens that it is sent: its own name for itself, used by no other
	// server. Default: url.
	Audience string `yaml:"audience"`

	// Names of further servers for which a token for this one may be exchanged (RFC
	// 8693): those that this server calls on behalf of its callers. Absent: none.
	Downstream []string `yaml:"downstream"`

	// Its SPIFFE ID: it is spoken to by mutual TLS, with our X.509-SVID, and only if its
	// own is that one. Needs spiffe.workload_api, and an https url.
	SPIFFEID string `yaml:"spiffe_id"`

	// How long a call may take, from its call token to the end of its answer. Streams that
	// have no end (GET, subscriptions/listen) must open in that time.
	Timeout duration `yaml:"timeout" default:"2m" min:"1s" max:"1h"`

	// What one subject may have of this server at a time, in each process; 0 is no bound.
	// What is more is refused with HTTP 429.
	Budget BudgetConfig `yaml:"budget"`

	// Refuse access tokens that are bound to no key of the client, so that a stolen one is
	// of no use: only DPoP (RFC 9449) and certificates (RFC 8705) get in. Many MCP clients
	// can do neither.
	SenderConstrained bool `yaml:"sender_constrained" default:"false"`

	// What is taken out of its answers: off, mask or deny for each class.
	Redact RedactConfig `yaml:"redact"`

	// Classes that redact masks and approvers see all the same in the arguments of a call
	// that waits: email, phone, card, iban. Who approves a message has to know to whom it
	// goes. The store and the webhooks have them, too. What a rule of access.yaml redacts
	// stays masked, and so do secrets.
	ApproversSee []string `yaml:"approvers_see"`

	// Tools of whose arguments those pass, too, that their definition does not name. A tool
	// that is not named here takes no parameter that it does not name, at any level.
	OpenTools []string `yaml:"open_tools"`

	// Speak http to another machine: whoever is on the way reads arguments, results and
	// 60-second call tokens.
	InsecurePlaintext bool `yaml:"insecure_plaintext" default:"false"`
}

// EnvConfig is a variable of a command's environment.
type EnvConfig struct {
	// Name of the variable.
	Name string `yaml:"name" required:"true" pattern:"^[A-Za-z_][A-Za-z0-9_]{0,127}$"`

	// Its value. Secrets belong into a file.
	Value string `yaml:"value" secret:"true"`

	// Instead of value: file with it, which others must not be able to read. White space
	// around it does not count.
	File string `yaml:"file"`
}

// SandboxConfig is what a command may do. Linux enforces it.
type SandboxConfig struct {
	// best-effort: the log says at the start what this machine cannot enforce. required:
	// it does not start then. off: the command may do whatever Wicketgate may.
	Mode string `yaml:"mode" enum:"best-effort,required,off" default:"best-effort"`

	// Memory of one process, in MiB; all processes of a session together are looked at twice a
	// second and killed beyond it.
	Memory int `yaml:"memory" default:"1024" min:"64" max:"1048576"`

	// CPU time of one process, after which it is killed.
	CPU duration `yaml:"cpu" default:"1h" min:"1s" max:"365d"`

	// Processes and threads of a session.
	Processes int `yaml:"processes" default:"256" min:"1" max:"100000"`

	// Size of a file that it writes, in MiB.
	Output int `yaml:"output" default:"256" min:"1" max:"1048576"`

	// Files and folders that it may read, with what is below, besides what programs need of
	// the system (/usr, /lib, certificates). Name the folder with its own code here.
	Read []string `yaml:"read"`

	// Files and folders that it may write to as well. HOME and TMPDIR are a folder of its
	// session, which is removed with it.
	Write []string `yaml:"write"`

	// TCP ports that it may connect to, on any host: the kernel limits ports, not hosts.
	// Absent: no network at all. "53" allows every datagram (UDP) too, which names need.
	Connect []string `yaml:"connect"`
}

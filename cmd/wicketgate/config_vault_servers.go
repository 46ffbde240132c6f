package main

// ServerVaultConfig is what a server with credential: vault is called with.
type ServerVaultConfig struct {
	// Engine of Vault that the path is of. database: a user of a database, made for the call.
	// pki: a certificate, issued for the call. lease: whatever else answers a lease. kv (of
	// version 2) and database-static: a key that stays.
	Engine string `yaml:"engine" required:"true" enum:"database,database-static,kv,pki,lease"`

	// Path in Vault: database/creds/reports, secret/data/reports, pki/issue/reports. The subject
	// of the call may be in it as {{.subject}}; one that could lead elsewhere is refused.
	Path string `yaml:"path" required:"true"`

	// vault.login.method jwt: Vault's role for calls of this server.
	Role string `yaml:"role"`

	// Other methods: policies of Vault for the token of a call.
	Policies []string `yaml:"policies"`

	// Other methods: token role of Vault that makes the token of a call. Absent: our own
	// login must have all of policies.
	TokenRole string `yaml:"token_role" pattern:"^[A-Za-z0-9_.-]+$"`

	// kv: the version to take. 0: the newest.
	Version int `yaml:"version" default:"0" min:"0" max:"1000000000"`

	// pki and lease: what is sent to the path, as common_name and ttl.
	Request []VaultRequestConfig `yaml:"request"`

	// For whom one credential is. call: each call has its own. session and subject: calls of
	// the same session, or of the same subject by the same client, share one for ttl. Never do
	// two subjects.
	Per string `yaml:"per" enum:"call,session,subject" default:"call"`

	// How long a credential per session or subject is used.
	TTL duration `yaml:"ttl" default:"10m" min:"10s" max:"24h"`

	// calls: of tools, resources, prompts and completions. all: whatever is sent, initialize
	// and lists too, for servers that refuse everything without a credential.
	Messages string `yaml:"messages" enum:"calls,all" default:"calls"`

	// A key that stays (kv, database-static) and is older than that is warned about.
	WarnAge duration `yaml:"warn_age" default:"60d" min:"1h" max:"3650d"`

	// One that is older than that is refused.
	MaxAge duration `yaml:"max_age" default:"90d" min:"1h" max:"3650d"`

	// Where the credential goes: never into the arguments.
	Inject InjectConfig `yaml:"inject" required:"true"`
}

// VaultRequestConfig is a parameter of a request to Vault.
type VaultRequestConfig struct {
	// common_name
	Name string `yaml:"name" required:"true" pattern:"^[a-z][a-z0-9_]{0,63}$"`

	// Its value.
	Value string `yaml:"value" required:"true"`
}

// InjectConfig is where a credential goes. Values are templates of Go over what Vault
// answered: {{.username}}, {{.password | urlquery}}.
type InjectConfig struct {
	// Headers of each request.
	Header []HeaderConfig `yaml:"header"`

	// HTTP Basic (RFC 7617).
	Basic *BasicConfig `yaml:"basic"`

	// Parameters of the URL. Needs allow_query.
	Query []ParameterConfig `yaml:"query"`

	// What is in a URL ends up in logs of servers and proxies, which keep it.
	AllowQuery bool `yaml:"allow_query" default:"false"`

	// Mutual TLS, with certificate, ca_chain and private_key of what Vault answered.
	ClientCertificate bool `yaml:"client_certificate" default:"false"`

	// Variables of the environment of a command, over those of env.
	Env []VariableConfig `yaml:"env"`

	// Files of a command, in a folder of its process.
	Files []FileConfig `yaml:"files"`
}

// HeaderConfig is a header with a credential.
type HeaderConfig struct {
	// X-Api-Key
	Name string `yaml:"name" required:"true" pattern:"^[A-Za-z][A-Za-z0-9_-]{0,63}$"`

	// Template of its value.
	Value string `yaml:"value" required:"true" secret:"true"`
}

// BasicConfig is user and password.
type BasicConfig struct {
	// Template of the user.
	Username string `yaml:"username" required:"true" secret:"true"`

	// Template of the password.
	Password string `yaml:"password" required:"true" secret:"true"`
}

// ParameterConfig is a parameter of a URL with a credential.
type ParameterConfig struct {
	// key
	Name string `yaml:"name" required:"true" pattern:"^[A-Za-z0-9_.-]{1,64}$"`

	// Template of its value, which is escaped for the URL by itself.
	Value string `yaml:"value" required:"true" secret:"true"`
}

// VariableConfig is a variable of the environment with a credential.
type VariableConfig struct {
	// DSN
	Name string `yaml:"name" required:"true" pattern:"^[A-Za-z_][A-Za-z0-9_]{0,127}$"`

	// Template of its value.
	Value string `yaml:"value" required:"true" secret:"true"`
}

// FileConfig is a file with a credential.
type FileConfig struct {
	// Variable of the environment with its path.
	Env string `yaml:"env" required:"true" pattern:"^[A-Za-z_][A-Za-z0-9_]{0,127}$"`

	// Name of the file.
	Name string `yaml:"name" required:"true" pattern:"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"`

	// Template of what is in it.
	Content string `yaml:"content" required:"true" secret:"true"`
}

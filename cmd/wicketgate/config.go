package main

import "time"

// Config is wicketgate.yaml. The comments of its fields are the descriptions in
// config.schema.json, and a test holds the two equal. The tags are rules that the
// reader enforces: required, default, min, max, enum, pattern. What is absent has
// its default, which is the safe choice.
//
// Files are relative to the folder of wicketgate.yaml, unless they say otherwise.
type Config struct {
	// External base URL of everything, without trailing slash: the issuer of tokens and
	// the beginning of every URL that clients see. It is never taken from a request.
	// https; http only for a host that is this machine.
	Issuer string `yaml:"issuer" required:"true"`

	// HOST:PORT for clients. HOST is an IP address or localhost, or empty for every
	// address. Without tls, an address that other machines reach needs trusted_proxies.
	Listen string `yaml:"listen" default:"127.0.0.1:8420"`

	// Serve HTTPS. Absent: plain HTTP, for a proxy in front that does TLS.
	TLS *TLSConfig `yaml:"tls"`

	// Proxies in front. Absent: no forwarded header is believed.
	TrustedProxies *ProxiesConfig `yaml:"trusted_proxies"`

	// The operators' listener.
	Admin AdminConfig `yaml:"admin"`

	// Folder for what Wicketgate remembers, made if it is not there. Nobody but its
	// owner may enter it (mode 0700). One process at a time; never a folder that
	// wicketgate dev has used.
	Data string `yaml:"data" required:"true"`

	// Where grants, clients, keys and pinned tool definitions are kept. Absent: SQLite
	// in the data folder.
	Store StoreConfig `yaml:"store"`

	// File with the key-encryption key (base64 of 32 bytes, mode 0600), made at the
	// first start. Default: kek in the data folder. Whoever has it and the store can
	// sign tokens: back the two up apart. Without it the store's keys are lost.
	KeyEncryptionKey string `yaml:"key_encryption_key"`

	// Path of access.yaml: who may call which tools. What it does not allow is denied.
	Policy string `yaml:"policy" required:"true"`

	// The audit log.
	Audit AuditConfig `yaml:"audit"`

	// The MCP servers behind the gateway, each at ISSUER/mcp/NAME.
	Servers []ServerConfig `yaml:"servers"`

	// Workloads that may ask for tokens. One that is removed here is refused from the
	// next start on.
	Clients []ClientConfig `yaml:"clients"`

	// How long things live.
	Lifetimes LifetimesConfig `yaml:"lifetimes"`

	// Origins (https://HOST[:PORT]) whose pages may call the gateway from a browser,
	// besides the issuer's own. Absent: none. Every script on such a page can use the
	// tokens that it holds.
	AllowedOrigins []string `yaml:"allowed_origins"`

	// What happens to a tool definition that was never seen before. approve: the tool
	// stays invisible until an operator approves it; no command does that yet.
	// first-use: the first one seen counts, so a server that is malicious on its first
	// day is believed; a definition that changes later still takes the tool away.
	Trust string `yaml:"trust" enum:"approve,first-use" default:"approve"`

	// Limits of the listeners.
	Limits LimitsConfig `yaml:"limits"`

	// How to end at SIGTERM or SIGINT. A second signal ends at once.
	Stop StopConfig `yaml:"stop"`

	// The log on standard error. The audit log is another thing.
	Log LogConfig `yaml:"log"`
}

// TLSConfig is how the listener for clients does TLS.
type TLSConfig struct {
	// PEM file with the certificate and its intermediates, the leaf first. It is looked
	// at with every handshake: a new pair counts at once, open connections go on.
	Cert string `yaml:"cert" required:"true"`

	// PEM file with the private key; others must not be able to read it.
	Key string `yaml:"key" required:"true"`

	// The oldest TLS version that is spoken.
	MinVersion string `yaml:"min_version" enum:"1.2,1.3" default:"1.2"`
}

// ProxiesConfig says whose word counts for where a request came from.
type ProxiesConfig struct {
	// IP addresses and CIDR networks of the proxies. From anybody else the header is
	// ignored. Without tls on an address that other machines reach, nobody else is
	// served. Whoever has such an address can name any source in the audit log.
	Addresses []string `yaml:"addresses" required:"true"`

	// Header with the forwarded addresses, the nearest last. The client is the last
	// one that is no trusted proxy. The proxy must set or extend it, not pass it on.
	Header string `yaml:"header" default:"X-Forwarded-For" pattern:"^[A-Za-z][A-Za-z0-9-]{0,63}$"`
}

// AdminConfig is the operators' listener.
type AdminConfig struct {
	// HOST:PORT for /healthz, /readyz and /metrics, plain HTTP. They name no caller and
	// no secret, but whoever reaches the address may read them.
	Listen string `yaml:"listen" default:"127.0.0.1:8421"`
}

// StoreConfig picks one store.
type StoreConfig struct {
	// One file on this machine.
	SQLite *SQLiteConfig `yaml:"sqlite"`
}

// SQLiteConfig is the embedded store.
type SQLiteConfig struct {
	// Path of the database. Default: wicketgate.db in the data folder. Never on a
	// network file system: it breaks SQLite's locks.
	Path string `yaml:"path"`
}

// AuditConfig is the audit log.
type AuditConfig struct {
	// Path of the file. Default: audit.jsonl in the data folder. It grows; a call that
	// cannot be recorded is refused, so watch the space.
	Path string `yaml:"path"`

	// fsync each group of lines: survives a power cut, and costs milliseconds a call.
	// false survives kill -9.
	Sync bool `yaml:"sync" default:"false"`
}

// ServerConfig is an MCP server behind the gateway.
type ServerConfig struct {
	// In ISSUER/mcp/NAME, in access.yaml and in the audit log.
	Name string `yaml:"name" required:"true" pattern:"^[a-z0-9][a-z0-9-]{0,62}$"`

	// Where it speaks streamable HTTP. https; http only for this machine, or with
	// insecure_plaintext.
	URL string `yaml:"url" required:"true"`

	// aud of the call tokens that it is sent: its own name for itself, used by no other
	// server. Default: url.
	Audience string `yaml:"audience"`

	// Speak http to another machine: whoever is on the way reads arguments, results and
	// 60-second call tokens.
	InsecurePlaintext bool `yaml:"insecure_plaintext" default:"false"`
}

// ClientConfig is a confidential client: a workload that proves who it is by a
// secret (HTTP Basic, or client_id and client_secret in the body).
type ClientConfig struct {
	// client_id, and the subject of what it does for itself; access.yaml names it under
	// clients.
	ID string `yaml:"id" required:"true"`

	// For people to read.
	Name string `yaml:"name"`

	// SHA-256 of the secret, in hex. The secret must be 256 random bits, because a
	// guessable one can be found from its hash: openssl rand -hex 32 makes one, and
	// printf %s SECRET | sha256sum its hash.
	SecretSHA256 string `yaml:"secret_sha256" secret:"true" pattern:"^[0-9a-f]{64}$"`

	// Instead of secret_sha256: file with the secret itself, at least 43 characters,
	// which others must not be able to read. White space around it does not count.
	SecretFile string `yaml:"secret_file"`

	// What it may ask the token endpoint for: client_credentials,
	// urn:ietf:params:oauth:grant-type:token-exchange.
	GrantTypes []string `yaml:"grant_types" default:"client_credentials"`

	// The most it may be granted: mcp:tools, mcp:resources, mcp:prompts, tool:NAME.
	// Absent: the first three; policy decides on each call in any case.
	Scopes []string `yaml:"scopes"`
}

// LifetimesConfig is how long things live: 90s, 5m, 12h, 14d.
type LifetimesConfig struct {
	// Of an access token. There is no revocation of access tokens yet: this is how long
	// one that was stolen works.
	AccessToken duration `yaml:"access_token" default:"5m" min:"1m" max:"1h"`

	// Of one refresh token that is not used.
	RefreshToken duration `yaml:"refresh_token" default:"14d" min:"1h" max:"90d"`

	// From a person's consent to the next, however often it is refreshed.
	Grant duration `yaml:"grant" default:"90d" min:"1h" max:"365d"`

	// Of a login session in the browser.
	Login duration `yaml:"login" default:"12h" min:"5m" max:"7d"`
}

// LimitsConfig bounds what the listeners take.
type LimitsConfig struct {
	// Open connections of clients; more wait. Behind a proxy few are enough.
	Connections int `yaml:"connections" default:"10000" min:"16" max:"1000000"`

	// Time for a request's headers to arrive.
	Headers duration `yaml:"headers" default:"10s" min:"1s" max:"1m"`

	// Time that a connection may be kept without a request.
	Idle duration `yaml:"idle" default:"2m" min:"5s" max:"1h"`
}

// StopConfig is an orderly end.
type StopConfig struct {
	// How long /readyz says 503 before new connections are refused, for a load balancer
	// to notice.
	Drain duration `yaml:"drain" default:"0s" min:"0s" max:"5m"`

	// How long calls may then take to finish before they are cut off.
	Finish duration `yaml:"finish" default:"10s" min:"1s" max:"10m"`
}

// LogConfig is the log on standard error.
type LogConfig struct {
	// debug also logs every request: method, path, status, source; no token, no
	// argument.
	Level string `yaml:"level" enum:"debug,info,warn,error" default:"info"`

	// json is for machines.
	Format string `yaml:"format" enum:"text,json" default:"text"`
}

// duration is a time.Duration that is written like 90s, 5m, 12h or 14d.
type duration time.Duration

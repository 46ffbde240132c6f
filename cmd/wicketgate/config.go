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
	// first start. Default: kek in the data folder, unless keys.transit is there. Whoever has it and the store can
	// sign tokens: back the two up apart. Without it the store's keys are lost.
	KeyEncryptionKey string `yaml:"key_encryption_key"`

	// Where the keys of the store are opened, if not with key_encryption_key.
	Keys KeysConfig `yaml:"keys"`

	// Where people log in: the organisation's IdP, by OpenID Connect. Absent: nobody can
	// log in, and only workloads (clients with client_credentials) get tokens.
	Login *LoginConfig `yaml:"login"`

	// Clients that register themselves.
	Registration RegistrationConfig `yaml:"registration"`

	// A listener of its own at which clients authenticate by certificate (RFC 8705).
	// Absent: none, unless trusted_proxies.client_certificate says that a proxy does it.
	MutualTLS *MutualTLSConfig `yaml:"mutual_tls"`

	// PEM file with the authorities whose certificates count for tls_client_auth. All
	// clients share them: tls_name tells clients apart.
	ClientCA string `yaml:"client_ca"`

	// What tokens are signed with. A change counts from the next rotation of the keys.
	TokenAlgorithm string `yaml:"token_algorithm" enum:"ES256,EdDSA" default:"ES256"`

	// Path of access.yaml: who may call which tools. What it does not allow is denied. It is
	// followed (SIGHUP: at once). Needed unless pdp has a bundle or opa.
	Policy string `yaml:"policy"`

	// Policy besides access.yaml, or in its place.
	PDP PDPConfig `yaml:"pdp"`

	// The audit log.
	Audit AuditConfig `yaml:"audit"`

	// Calls that access.yaml lets through with somebody's approval only.
	Approvals ApprovalsConfig `yaml:"approvals"`

	// The MCP servers behind the gateway, each at ISSUER/mcp/NAME.
	Servers []ServerConfig `yaml:"servers"`

	// HashiCorp Vault, for servers with credential: vault and for keys.transit. Absent: none.
	Vault *VaultConfig `yaml:"vault"`

	// Clients that are known from here: workloads, and applications that do not register
	// themselves. One that is removed here is refused from the next start on.
	Clients []ClientConfig `yaml:"clients"`

	// SPIFFE: workloads that prove themselves by their SVIDs, and our own. Absent: none.
	SPIFFE *SPIFFEConfig `yaml:"spiffe"`

	// The authorization server, where it is another process: only for serve --role gateway,
	// which needs it. Absent: it is in this process.
	Exchange *ExchangeConfig `yaml:"exchange"`

	// The pages and the API where people approve calls, at ISSUER/console/.
	Console ConsoleConfig `yaml:"console"`

	// Other issuers that are believed, and for what. Absent: none.
	TrustedIssuers []TrustedIssuerConfig `yaml:"trusted_issuers"`

	// How long things live.
	Lifetimes LifetimesConfig `yaml:"lifetimes"`

	// How old secrets and keys may become.
	Ages AgesConfig `yaml:"ages"`

	// Origins (https://HOST[:PORT]) whose pages may call the gateway from a browser,
	// besides the issuer's own. Absent: none. Every script on such a page can use the
	// tokens that it holds.
	AllowedOrigins []string `yaml:"allowed_origins"`

	// What happens to a tool definition that was never seen before. approve: the tool
	// stays invisible until an operator approves it (wicketgate tools approve).
	// first-use: the first one seen counts unless something is found in it, so a server
	// that is malicious on its first day may be believed; a definition that changes later
	// still takes the tool away.
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
	Cert string `yaml:"cert"`

	// PEM file with the private key; others must not be able to read it.
	Key string `yaml:"key"`

	// Instead of cert and key: show our X.509-SVID, which changes by itself. Only clients
	// that have the trust bundle accept it, no browser does.
	SVID bool `yaml:"svid" default:"false"`

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

	// Header in which the proxy passes on the certificate that a client has proved to
	// have: Client-Cert of RFC 9440, or nginx's $ssl_client_escaped_cert. Absent: no such
	// header is believed. The proxy must overwrite it in every request: whoever can set
	// it is any client that authenticates by certificate.
	ClientCertificate string `yaml:"client_certificate" pattern:"^[A-Za-z][A-Za-z0-9-]{0,63}$"`
}

// LoginConfig is the IdP. Register there as redirect URI: ISSUER/oauth2/callback.
type LoginConfig struct {
	// The IdP's issuer, to the letter as its discovery document says it.
	Issuer string `yaml:"issuer" required:"true"`

	// client_id of Wicketgate at the IdP.
	ClientID string `yaml:"client_id" required:"true"`

	// File with the client secret of Wicketgate at the IdP, which others must not be able
	// to read. Absent: a public client, protected by PKCE alone.
	ClientSecretFile string `yaml:"client_secret_file"`

	// Scopes to ask the IdP for; openid must be among them.
	Scopes []string `yaml:"scopes" default:"openid"`

	// Claim that names a person in access.yaml and in the audit log. sub never changes
	// hands. Whoever can change another one at the IdP becomes somebody else here; email
	// counts only when the IdP has verified it.
	SubjectClaim string `yaml:"subject_claim" enum:"sub,email,preferred_username" default:"sub"`

	// Claim with the groups that access.yaml gives roles to; dots lead into objects:
	// realm_access.roles.
	GroupsClaim string `yaml:"groups_claim" default:"groups"`

	// Further claims that access.yaml may ask about: department, cost_centre. They
	// travel in access tokens, which clients can read.
	Claims []string `yaml:"claims"`
}

// RegistrationConfig is how clients come to be known that are not configured.
type RegistrationConfig struct {
	// Dynamic client registration (RFC 7591), which most MCP clients need. false: only
	// configured clients, and those known by a client ID metadata document.
	Dynamic bool `yaml:"dynamic" default:"true"`

	// Client ID metadata documents: client_id is an https URL, and what it says is
	// fetched from there, from public addresses only. false: such clients are unknown.
	Documents bool `yaml:"documents" default:"true"`

	// Registrations a minute from one address (IPv6: /64). Hosted clients share theirs.
	PerMinute int `yaml:"per_minute" default:"60" min:"1" max:"10000"`

	// Clients that registered and were never used, at any time. More are refused until
	// some have been used or removed.
	MaxUnused int `yaml:"max_unused" default:"10000" min:"1" max:"1000000"`

	// Time after which a client that was never used is removed. Its next connection asks
	// to register again.
	Unused duration `yaml:"unused" default:"7d" min:"1h" max:"90d"`
}

// MutualTLSConfig is the listener for clients that authenticate by certificate.
type MutualTLSConfig struct {
	// HOST:PORT; the certificate is that of tls, which must be configured unless svid is
	// true.
	Listen string `yaml:"listen" required:"true"`

	// URL of that listener for clients, without trailing slash; the metadata names the
	// endpoints there (mtls_endpoint_aliases).
	URL string `yaml:"url" required:"true"`

	// Show our X.509-SVID instead of the certificate of tls, for workloads that have the
	// trust bundle.
	SVID bool `yaml:"svid" default:"false"`
}

// StoreConfig picks one store.
type StoreConfig struct {
	// One file on this machine.
	SQLite *SQLiteConfig `yaml:"sqlite"`

	// A PostgreSQL server, for several replicas. Each has its own data folder, and all
	// the same key_encryption_key.
	Postgres *PostgresConfig `yaml:"postgres"`
}

// PostgresConfig is the store for several replicas.
type PostgresConfig struct {
	// postgres://USER@HOST/DATABASE?sslmode=verify-full, without a password. To another
	// machine without TLS only with sslmode=disable, said in so many words. PgBouncer
	// may pool transactions.
	URL string `yaml:"url" required:"true" secret:"true"`

	// File with the password, which others must not be able to read. Absent: libpq's
	// PGPASSFILE, or none.
	PasswordFile string `yaml:"password_file"`

	// Connections of this process. 0: four, or the number of CPUs if that is more.
	MaxConnections int `yaml:"max_connections" default:"0" min:"0" max:"1000"`

	// Bring the schema up to date at the start, which needs the right to create tables.
	// false: wicketgate migrate up does it, and a start on a schema that is too old fails.
	Migrate bool `yaml:"migrate" default:"false"`
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

	// Tells the log of this process from those of others that share the store: needed
	// with store.postgres, and the same after a restart.
	Name string `yaml:"name" pattern:"^[A-Za-z0-9_.-]{1,64}$"`

	// What of the arguments of calls is written down beside their digest. redacted: all,
	// without what servers[].redact names, and secrets never; at most 16 KiB a call.
	Arguments string `yaml:"arguments" enum:"none,redacted" default:"none"`

	// fsync each group of lines: survives a power cut, and costs milliseconds a call.
	// false survives kill -9.
	Sync bool `yaml:"sync" default:"false"`
}

// ClientConfig is a client that is known from here.
type ClientConfig struct {
	// client_id, and the subject of what it does for itself; access.yaml names it under
	// clients. With one of the auth_methods spiffe it is the SPIFFE ID; a * in it stands for
	// one whole segment of the path: spiffe://example.org/agent/*. Every workload that such
	// a pattern names is a client of its own, with its own SPIFFE ID as client_id.
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

	// How it proves who it is. client_secret: HTTP Basic, or in the body. private_key_jwt
	// needs jwks_file or jwks_uri; tls_client_auth needs tls_name, and
	// self_signed_tls_client_auth a key set with its certificate's key. workload_identity:
	// by what a platform says of it (trusted_issuers), and in no other way. spiffe: by its
	// SVID, where spiffe_x509 takes an X.509-SVID only (mutual_tls), which cannot be replayed
	// by who reads it, and spiffe_jwt a JWT-SVID only. none: a public client, which acts for
	// people only.
	AuthMethod string `yaml:"auth_method" enum:"client_secret,private_key_jwt,tls_client_auth,self_signed_tls_client_auth,workload_identity,spiffe,spiffe_x509,spiffe_jwt,none" default:"client_secret"`

	// File with the client's public keys: a JWK Set (RFC 7517).
	JWKSFile string `yaml:"jwks_file"`

	// Instead of jwks_file: https URL where the client publishes its keys, at a public
	// address.
	JWKSURI string `yaml:"jwks_uri"`

	// A further aud to take in the client's assertions, besides the issuer: for a client
	// that can only send the URL of the token endpoint.
	AssertionAudience string `yaml:"assertion_audience"`

	// The one name that its certificate must have, as KIND:NAME; kinds are dn, dns, uri,
	// ip and email (RFC 8705 section 2.1.2): uri:spiffe://example.org/agent.
	TLSName string `yaml:"tls_name" pattern:"^(dn|dns|uri|ip|email):.+$"`

	// Where people are sent back to, for authorization_code: https, or http on this
	// machine, whose port may vary.
	RedirectURIs []string `yaml:"redirect_uris"`

	// Name of the server whose tokens it may introspect (RFC 7662), as that server's
	// own client.
	ResourceServer string `yaml:"resource_server"`

	// What it may ask the token endpoint for: client_credentials, authorization_code,
	// refresh_token, urn:ietf:params:oauth:grant-type:device_code,
	// urn:ietf:params:oauth:grant-type:token-exchange, and
	// urn:ietf:params:oauth:grant-type:jwt-bearer for identity assertions of an issuer that
	// has id_jag. Leave it out with auth_method workload_identity.
	GrantTypes []string `yaml:"grant_types" default:"client_credentials"`

	// client_ids whose access tokens it may exchange besides its own (RFC 8693), to act
	// for their users; "*" is every client. Absent: none. The delegation chain in the new
	// token names both, and policy still decides each call.
	ActsFor []string `yaml:"acts_for"`

	// Its access tokens must be bound to a key of its own, which it proves with each request
	// (DPoP, RFC 9449). false: they are when it sends a proof.
	DPoPBound bool `yaml:"dpop_bound_access_tokens" default:"false"`

	// Its access tokens are bound to the certificate of its connection (RFC 8705), which
	// must come by mutual_tls or by trusted_proxies.client_certificate.
	CertificateBound bool `yaml:"tls_client_certificate_bound_access_tokens" default:"false"`

	// It is a gateway of ours in another process (serve --role gateway): it alone may ask for
	// call tokens of servers, and for what was revoked. Needs auth_method spiffe_x509 and
	// mutual_tls, or private_key_jwt and its keys, and goes with id and name alone.
	Gateway bool `yaml:"gateway" default:"false"`

	// The most it may be granted: mcp:tools, mcp:resources, mcp:prompts, tool:NAME.
	// Absent: the first three; policy decides on each call in any case.
	Scopes []string `yaml:"scopes"`
}

// LifetimesConfig is how long things live: 90s, 5m, 12h, 14d.
type LifetimesConfig struct {
	// Of an access token: how long one that was stolen works, unless somebody revokes it.
	AccessToken duration `yaml:"access_token" default:"5m" min:"1m" max:"1h"`

	// Of one refresh token that is not used.
	RefreshToken duration `yaml:"refresh_token" default:"14d" min:"1h" max:"90d"`

	// From a person's consent to the next, however often it is refreshed.
	Grant duration `yaml:"grant" default:"90d" min:"1h" max:"365d"`

	// Of a login session in the browser.
	Login duration `yaml:"login" default:"12h" min:"5m" max:"7d"`
}

// AgesConfig is how old secrets and keys may become.
type AgesConfig struct {
	// A client secret older than that is warned about, in the log, in /metrics and by
	// wicketgate clients list.
	SecretWarn duration `yaml:"secret_warn" default:"60d" min:"1d" max:"3650d"`

	// A client secret older than that is refused. wicketgate clients rotate makes a new
	// one; that of a configured client is replaced in the configuration.
	SecretMax duration `yaml:"secret_max" default:"90d" min:"1d" max:"3650d"`

	// A signing key in use for longer than that is warned about.
	KeyWarn duration `yaml:"key_warn" default:"60d" min:"1d" max:"3650d"`

	// A signing key in use for longer than that is rotated by itself. wicketgate keys
	// rotate does it before.
	KeyMax duration `yaml:"key_max" default:"90d" min:"1d" max:"3650d"`
}

// duration is a time.Duration that is written like 90s, 5m, 12h or 14d.
type duration time.Duration

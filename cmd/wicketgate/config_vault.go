package main

// VaultConfig is the HashiCorp Vault that servers with credential: vault are called with
// credentials of.
type VaultConfig struct {
	// https://HOST[:PORT]; http for this machine only.
	Address string `yaml:"address" required:"true"`

	// Of Vault Enterprise. Absent: none.
	Namespace string `yaml:"namespace"`

	// Certificates (PEM) that vouch for Vault, instead of the authorities of this machine.
	CA string `yaml:"ca"`

	// How long one request to Vault may take.
	Timeout duration `yaml:"timeout" default:"5s" min:"1s" max:"1m"`

	// With login.method jwt: aud of the tokens that Vault is logged in to with
	// (bound_audiences of its roles), used by no server. Default: address.
	Audience string `yaml:"audience"`

	// How we log in.
	Login VaultLoginConfig `yaml:"login" required:"true"`
}

// VaultLoginConfig is how we log in to Vault: deploy/vault sets each of the ways up.
type VaultLoginConfig struct {
	// jwt: for each call with its own call token, so that Vault's policies and audit log know
	// person and agent by themselves. The others log in once, and make a token of Vault's for
	// each call, with person and agent as metadata. cert: by our X.509-SVID
	// (spiffe.workload_api). approle: by role_id and secret-id. kubernetes: by the token of our
	// service account.
	Method string `yaml:"method" required:"true" enum:"jwt,cert,approle,kubernetes"`

	// Where the method is mounted in Vault. Default: its name.
	Mount string `yaml:"mount" pattern:"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"`

	// Role of our own login, with which we end what a crash left behind. Needed with jwt and
	// kubernetes; with cert: absent, any that takes our certificate.
	Role string `yaml:"role"`

	// approle: the role_id.
	RoleID string `yaml:"role_id"`

	// approle: file with the secret-id, which others must not be able to read.
	SecretIDFile string `yaml:"secret_id_file"`

	// The file has no secret-id, but a wrapping token, which is unwrapped once, at the start:
	// put a new one there before the next. Somebody else who has used it shows: the start fails.
	Wrapped bool `yaml:"wrapped" default:"false"`

	// kubernetes: file with the token of our service account, read for each login. Default:
	// /var/run/secrets/kubernetes.io/serviceaccount/token
	TokenFile string `yaml:"token_file"`
}

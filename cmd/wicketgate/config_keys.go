package main

// KeysConfig says where the keys of the store are opened, if not with key_encryption_key.
type KeysConfig struct {
	// In HashiCorp Vault (see vault). Absent: with key_encryption_key.
	Transit *TransitConfig `yaml:"transit"`
}

// TransitConfig is the transit engine of Vault. Its key wraps the keys of the store in place
// of key_encryption_key: nothing starts while Vault is away, and when the key in Vault is
// lost, so are the store's keys. wicketgate keys rewrap moves the keys of a store there,
// and back. docs/operate.md has the set-up, deploy/vault the policy.
type TransitConfig struct {
	// Where the engine is mounted in Vault.
	Mount string `yaml:"mount" default:"transit" pattern:"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"`

	// Name of the key there, of type aes256-gcm96.
	Key string `yaml:"key" required:"true" pattern:"^[A-Za-z0-9_-]{1,64}$"`

	// Make the token keys in Vault too, each as a key of its own, whose private half never
	// leaves it. Every token is then signed there: that costs a request each, more than
	// everything else of a call, and without Vault there are no tokens. A change counts from
	// the next rotation of the keys.
	Sign bool `yaml:"sign" default:"false"`
}

// keysInVault checks that we can log in to Vault before we have keys.
func (c configCheck) keysInVault() {
	const at = "keys.transit"
	t := c.s.Keys.Transit
	switch {
	case t == nil || !c.good(at) || !c.good("vault"):
	case c.s.KeyEncryptionKey != "":
		c.refuse("key_encryption_key", "key_encryption_key and keys.transit are both there: remove one; wicketgate keys rewrap moves the keys of a store from the one to the other")
	case c.s.Vault == nil:
		c.refuse(at, "keys.transit needs vault: say where it is, and how we log in")
	case c.s.Vault.Login.Method == loginJWT:
		c.refuse("vault.login.method", "vault.login.method is jwt: we log in with a token that we sign, and keys.transit has the keys for that in Vault; write cert, approle or kubernetes, or remove keys.transit")
	case t.Sign && !c.s.house.Role.issues():
		c.refuse(at+".sign", "keys.transit.sign is true, and a gateway alone signs no tokens: remove it here")
	default:
		c.s.house.Transit = t
	}
}

package authz

// CheckRedirectURI reports why a client may not have the redirect URI: it must be
// https, or http on loopback, or to the letter one of custom.
func CheckRedirectURI(uri string, custom []string) error { return checkRedirectURI(uri, custom) }

// CheckKeySet reports why b is no JWK Set (RFC 7517 §5) that a client may have.
func CheckKeySet(b []byte) error {
	_, err := parseKeySet(b)
	return err
}

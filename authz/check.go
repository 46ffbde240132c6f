package authz

// CheckRedirectURI reports why a client may not have the redirect URI: it must be
// https, or http on loopback, or to the letter one of custom.
func CheckRedirectURI(uri string, custom []string) error { return checkRedirectURI(uri, custom) }

package main

// PDPConfig is where policy comes from, besides access.yaml.
type PDPConfig struct {
	// Rego files of package wicketgate.deny, which add denials to access.yaml and nothing
	// else.
	Rego []string `yaml:"rego"`

	// A signed OPA bundle that takes the place of access.yaml.
	Bundle *BundleConfig `yaml:"bundle"`

	// An OPA elsewhere that decides. Whoever is in its place decides: what keeps it from
	// answering denies every call.
	OPA *OPAConfig `yaml:"opa"`
}

// BundleConfig is a signed OPA bundle. Without a good one everything is denied.
type BundleConfig struct {
	// The bundle: a folder, or a .tar.gz. Put another one into its place by renaming.
	Path string `yaml:"path"`

	// Instead of path: URL of the bundle at an OPA bundle server, https, or http on this
	// machine. It is asked with the ETag of the one that is here.
	URL string `yaml:"url"`

	// PEM file with the public key, or the certificate, of who signs. Whoever has the
	// private one writes the policy.
	KeyFile string `yaml:"key_file" required:"true"`

	// The only algorithm whose signatures count.
	Algorithm string `yaml:"algorithm" required:"true" enum:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA"`

	// The scope that the signature must have. Absent: one without.
	Scope string `yaml:"scope"`

	// How often the bundle server is asked. A file is looked at every second.
	Interval duration `yaml:"interval" default:"30s" min:"1s" max:"1h"`

	// File with the bearer token for the bundle server, which others must not be able to
	// read. It is read for each request. Absent: none is sent.
	TokenFile string `yaml:"token_file"`

	// PEM file with the authorities of the bundle server. Absent: those of the system.
	CA string `yaml:"ca"`
}

// OPAConfig is an OPA elsewhere. With policy beside it, access.yaml says what of each
// question is computed here for the Rego there (wicketgate policy compile writes that).
type OPAConfig struct {
	// Its base URL, https, or http on this machine; asked is
	// URL/v1/data/wicketgate/access/decision.
	URL string `yaml:"url" required:"true"`

	// How long an answer may take. What comes later denies.
	Timeout duration `yaml:"timeout" default:"1s" min:"1s" max:"10s"`

	// File with the bearer token for it, which others must not be able to read. It is read
	// for each request. Absent: none is sent.
	TokenFile string `yaml:"token_file"`

	// PEM file with the authorities of its certificate. Absent: those of the system.
	CA string `yaml:"ca"`
}

package credential

// Injection says where the values go. Values are templates (text/template) over the names
// that the secret has: {{.username}}, {{.password | urlquery}}.
type Injection struct {
	Header            []Field // header of each request
	Basic             *Basic  // HTTP Basic (RFC 7617)
	Query             []Field // parameter of the URL: it ends up in logs of others
	Env               []Field // variable of the environment of a command
	Files             []FileField
	ClientCertificate bool // certificate, ca_chain and private_key of the secret, for mutual TLS
}

// Field is one place.
type Field struct {
	Name, Value string
}

// Basic is user and password.
type Basic struct {
	Username, Password string
}

// FileField is a file with the path in the variable Env.
type FileField struct {
	Env, Name, Content string
}

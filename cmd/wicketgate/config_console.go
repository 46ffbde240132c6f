package main

// ConsoleConfig is the pages and the API where people approve calls.
type ConsoleConfig struct {
	// Serve them, and issue tokens for them. false: nobody can approve a call here, so one
	// that needs it is never made. With serve --role, both processes have to say the same.
	Enabled bool `yaml:"enabled" default:"true"`
}

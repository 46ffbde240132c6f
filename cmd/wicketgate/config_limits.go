package main

// AdminConfig is the operators' listener.
type AdminConfig struct {
	// HOST:PORT for /healthz, /readyz and /metrics, plain HTTP. They name no caller and
	// no secret, but whoever reaches the address may read them.
	Listen string `yaml:"listen" default:"127.0.0.1:8421"`
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

// BudgetConfig bounds what one subject may have of one server at a time. 0: no bound.
type BudgetConfig struct {
	// Calls that are open. One whose client has gone counts until the server has ended it.
	Calls int `yaml:"calls" default:"64" min:"0" max:"100000"`

	// Streams without an end: GET and subscriptions/listen.
	Streams int `yaml:"streams" default:"16" min:"0" max:"10000"`

	// Bytes a minute of requests, answers and events together; at least 4194304, which is
	// the largest answer. An answer that is more ends with an error.
	Bytes int `yaml:"bytes" default:"268435456" min:"0" max:"1000000000000"`
}

// LogConfig is the log on standard error.
type LogConfig struct {
	// debug also logs every request: method, path, status, source; no token, no
	// argument.
	Level string `yaml:"level" enum:"debug,info,warn,error" default:"info"`

	// json is for machines.
	Format string `yaml:"format" enum:"text,json" default:"text"`
}

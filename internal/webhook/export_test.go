package webhook

import (
	"net/http"
	"time"
)

// Sign is what every attempt does.
func (e Endpoint) Sign(h http.Header, m Message, now time.Time) error { return e.sign(h, m, now) }

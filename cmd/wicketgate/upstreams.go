package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wicketgate/wicketgate/gateway"
	"github.com/wicketgate/wicketgate/internal/inline"
	"github.com/wicketgate/wicketgate/internal/web"
)

// gatewayEnd is how long a gateway may take to end what calls that were cut off and
// sessions with servers leave behind.
const gatewayEnd = 5 * time.Second

// defaultBudget is that of development mode and of the endpoint over all servers;
// wicketgate.yaml says the same for each server.
var defaultBudget = gateway.Budget{Calls: 64, Streams: 16, Bytes: 256 << 20}

// dialWithin is how long a connection to a server may take.
const dialWithin = 5 * time.Second

// transport is for upstreams: many calls at once over kept connections, no proxy
// of the environment, no decompression (bytes pass as they are).
func transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy, t.DisableCompression = nil, true
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 1024, 256
	t.DialContext, t.TLSHandshakeTimeout = (&net.Dialer{Timeout: dialWithin, KeepAlive: 30 * time.Second}).DialContext, dialWithin
	return t
}

// inline is transport for upstreams that are called in the clear: on loopback or through
// a sidecar, where handing each call over to the goroutines of a connection is dear.
func (h *house) inline() http.RoundTripper {
	t := inline.New(transport())
	h.closers = append(h.closers, func() error { t.CloseIdleConnections(); return nil })
	return t
}

// observer is who is told of every message.
func observer(m *metrics) func(gateway.Called) {
	if m == nil {
		return nil
	}
	return m.called
}

// runGateway has the gateway looked after until the house is closed.
func (h *house) runGateway(cfg houseConfig) {
	if cfg.Metrics != nil {
		cfg.Metrics.registry.MustRegister(upstreamMetrics{h.gateway})
	}
	h.closers = append(h.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), gatewayEnd)
		defer cancel()
		return h.gateway.Close(ctx)
	}, every(time.Minute, cfg.Log, "end idle sessions", h.gateway.EndIdle))
}

// drain ends the streams that would never end.
func (h *house) drain() {
	if h.gateway != nil {
		h.gateway.Drain()
	}
}

// upstreamsCheck warns of servers that do not answer. That is never a reason to be not
// ready, even if it is all of them: no replica can do better, the authorization server
// works, callers are told clearly, and only calls find out that a server is back.
func (h *house) upstreamsCheck() web.Check {
	return web.Check{Name: "servers", Do: func(context.Context) error {
		var away []string
		for _, s := range h.gateway.Stats() {
			if s.Circuit != "closed" {
				away = append(away, s.Server)
			}
		}
		if len(away) == 0 {
			return nil
		}
		return web.Warning{Err: fmt.Errorf("do not answer, and calls of them are refused or tried one at a time: %s", strings.Join(away, ", "))}
	}}
}

// upstreamMetrics reads the state of the servers when it is asked for.
type upstreamMetrics struct{ gateway *gateway.Gateway }

var (
	circuitState = prometheus.NewDesc("wicketgate_server_circuit_state", "1 for the state of the server's circuit: closed (it answers), open (it does not, and calls are refused), half-open (one call tries).", []string{"server", "state"}, nil)
	openStreams  = prometheus.NewDesc("wicketgate_server_streams_open", "Streams of clients that have no end: GET and subscriptions/listen.", []string{"server"}, nil)
	keptSessions = prometheus.NewDesc("wicketgate_server_sessions_kept", "Sessions that the gateway keeps with the server for callers of MCP 2026-07-28.", []string{"server"}, nil)
	passedBytes  = prometheus.NewDesc("wicketgate_server_bytes_total", "Bytes of bodies sent to and received from the server.", []string{"server", "direction"}, nil)
)

// Describe implements prometheus.Collector.
func (upstreamMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{circuitState, openStreams, keptSessions, passedBytes} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (u upstreamMetrics) Collect(to chan<- prometheus.Metric) {
	for _, s := range u.gateway.Stats() {
		for _, state := range []string{"closed", "half-open", "open"} {
			is := 0.0
			if s.Circuit == state {
				is = 1
			}
			to <- prometheus.MustNewConstMetric(circuitState, prometheus.GaugeValue, is, s.Server, state)
		}
		to <- prometheus.MustNewConstMetric(openStreams, prometheus.GaugeValue, float64(s.Streams), s.Server)
		to <- prometheus.MustNewConstMetric(keptSessions, prometheus.GaugeValue, float64(s.Sessions), s.Server)
		to <- prometheus.MustNewConstMetric(passedBytes, prometheus.CounterValue, float64(s.Sent), s.Server, "sent")
		to <- prometheus.MustNewConstMetric(passedBytes, prometheus.CounterValue, float64(s.Received), s.Server, "received")
	}
}

// called counts one message. It goes into gateway.Config.Observe.
func (m *metrics) called(c gateway.Called) {
	m.calls.WithLabelValues(c.Server, c.Era, m.reasons.label(c.Reason)).Inc()
	if c.Observed != "" {
		m.observed.WithLabelValues(c.Server, m.reasons.label(c.Observed)).Inc()
	}
	if c.Took > 0 {
		m.durations.WithLabelValues(c.Server, c.Era).Observe(c.Took.Seconds())
	}
}

// maxReasons bounds the values of the label: some reasons come from an authorization
// server in another process.
const maxReasons = 200

// vocabulary keeps a label from having ever more values.
type vocabulary struct {
	mu    sync.Mutex // guards known
	known map[string]bool
}

func (v *vocabulary) label(word string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.known[word] && len(v.known) >= maxReasons {
		return "other"
	}
	if v.known == nil {
		v.known = map[string]bool{}
	}
	v.known[word] = true
	return word
}

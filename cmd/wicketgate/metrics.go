package main

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wicketgate/wicketgate/internal/spiffe"
)

// metrics is what /metrics says. No label holds what a caller chose: handlers by
// their pattern, methods that are ours, classes of status, kinds of audit lines.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	open     prometheus.Gauge
	audit    *prometheus.CounterVec
	failures prometheus.Counter
	secrets  *prometheus.GaugeVec
	reloads  *prometheus.CounterVec

	calls     *prometheus.CounterVec
	observed  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	reasons   vocabulary
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wicketgate_http_request_duration_seconds",
			Help:    "Requests of clients, by the pattern of their handler (none: refused before one was found), method and class of status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120}}, []string{"handler", "method", "code"}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{Name: "wicketgate_http_requests_in_flight", Help: "Requests of clients that are being served."}),
		audit: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wicketgate_audit_lines_total",
			Help: "Lines written to the audit log since the start, by kind."}, []string{"kind"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "wicketgate_audit_failures_total",
			Help: "Lines that could not be written; what they were about was refused."}),
	}
	m.secrets = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "wicketgate_client_secrets",
		Help: "Clients with a secret, by its age: good, old (rotate it), refused. Counted once a day."}, []string{"age"})
	m.calls = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wicketgate_calls_total",
		Help: "Messages of clients for a server (*: the endpoint over all), by era (stateless, session) and reason: ok, or a word of the audit log."}, []string{"server", "era", "reason"})
	m.observed = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wicketgate_observed_denials_total",
		Help: "Messages that policy would have denied, were the server not in observe mode, by the reason."}, []string{"server", "reason"})
	m.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wicketgate_call_duration_seconds",
		Help:    "Messages that were served, without streams that have no end.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120, 600, 3600}}, []string{"server", "era"})
	m.reloads = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wicketgate_policy_reloads_total",
		Help: "Changes of the policy since the start, by result: ok took effect, failed was refused."}, []string{"result"})
	m.registry.MustRegister(m.reloads, m.calls, m.observed, m.durations, m.secrets, m.requests, m.open, m.audit, m.failures, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	return m
}

// watch adds when the certificate expires.
func (m *metrics) watch(c *certificate) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wicketgate_tls_certificate_expiry_timestamp_seconds",
		Help: "When the certificate in use expires, Unix time."}, c.expires))
}

// watchSVID adds when our X.509-SVID expires.
func (m *metrics) watchSVID(s *spiffe.Source) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wicketgate_spiffe_svid_expiry_timestamp_seconds",
		Help: "When our X.509-SVID expires, Unix time; 0: there is none, or it has expired."}, func() float64 {
		own, err := s.Own()
		if err != nil {
			return 0
		}
		return float64(own.Certificates[0].NotAfter.Unix())
	}))
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

type patternKey struct{}

// observe counts and times requests. It goes around everything; name goes around
// the mux and tells it the pattern.
func (m *metrics) observe(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, pattern := time.Now(), "none"
		cw := &codeWriter{ResponseWriter: w}
		m.open.Inc()
		defer func() { // also when h panics
			m.open.Dec()
			m.requests.WithLabelValues(pattern, knownMethod(r.Method), cw.class()).Observe(time.Since(start).Seconds())
		}()
		h.ServeHTTP(cw, r.WithContext(context.WithValue(r.Context(), patternKey{}, &pattern)))
	})
}

func (m *metrics) name(mux http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p, ok := r.Context().Value(patternKey{}).(*string); ok && r.Pattern != "" {
				*p = r.Pattern
			}
		}()
		mux.ServeHTTP(w, r)
	})
}

// knownMethod keeps a stranger from making up labels.
func knownMethod(method string) string {
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}, method) {
		return method
	}
	return "other"
}

// codeWriter remembers the status.
type codeWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *codeWriter) WriteHeader(status int) {
	if w.status < http.StatusOK { // what comes before the final one is information
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *codeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// class is 2xx and so on; what wrote nothing is a 200.
func (w *codeWriter) class() string {
	return strconv.Itoa(max(w.status, http.StatusOK)/100) + "xx"
}

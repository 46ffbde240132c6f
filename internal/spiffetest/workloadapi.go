package spiffetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// State is what a Workload API says. The zero value has an identity for nobody.
type State struct {
	// SVIDs are those of the workload, of Domain.X509. The first is the default one.
	SVIDs []tls.Certificate

	// Domains are those whose bundles it passes on. That of an SVID signs the JWT-SVIDs.
	Domains []*Domain

	// Refuse answers everything with this code, as agents do with codes.PermissionDenied
	// where no registration entry matches.
	Refuse codes.Code

	// RefuseJWTBundles is Refuse for the stream of the bundles of JWT-SVIDs alone.
	RefuseJWTBundles codes.Code

	// Hang takes every request, and answers none. What was sent before stays sent.
	Hang bool
}

// WorkloadAPI is the Workload API of an agent (SPIFFE Workload API §4, §5). It is safe
// for concurrent use.
type WorkloadAPI struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	path string

	mu      sync.Mutex // guards what follows
	state   State
	changed chan struct{} // closed at the next change
	stop    func()        // nil: stopped
}

// Serve serves until the test ends.
func Serve(t testing.TB, s State) *WorkloadAPI {
	t.Helper()
	dir, err := os.MkdirTemp("", "spiffe") // the path of a socket has at most 107 bytes, and names of tests are long
	if err != nil {
		t.Fatal(err)
	}
	w := &WorkloadAPI{path: filepath.Join(dir, "agent.sock"), state: s, changed: make(chan struct{})}
	w.Start(t)
	t.Cleanup(func() {
		w.Stop()
		_ = os.RemoveAll(dir)
	})
	return w
}

// Address is that for SPIFFE_ENDPOINT_SOCKET (SPIFFE Workload Endpoint §4).
func (w *WorkloadAPI) Address() string { return "unix://" + w.path }

// Set says something else from now on: all that watch are told at once.
func (w *WorkloadAPI) Set(s State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = s
	close(w.changed)
	w.changed = make(chan struct{})
}

// Start listens again after Stop.
func (w *WorkloadAPI) Start(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop != nil {
		t.Fatal("the Workload API is running")
	}
	l, err := net.Listen("unix", w.path)
	if err != nil {
		t.Fatal(err)
	}
	server, served := grpc.NewServer(), make(chan struct{})
	workload.RegisterSpiffeWorkloadAPIServer(server, w)
	go func() {
		defer close(served)
		_ = server.Serve(l) // it ends with Stop
	}()
	w.stop = func() {
		server.Stop()
		<-served
	}
}

// Stop breaks all connections and removes the socket, as an agent that ends does.
func (w *WorkloadAPI) Stop() {
	w.mu.Lock()
	stop := w.stop
	w.stop = nil
	w.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// now is what to say, and when that is old.
func (w *WorkloadAPI) now() (State, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, w.changed
}

// answer says what there is to say, and again with each change if it is a stream.
func (w *WorkloadAPI) answer(ctx context.Context, stream bool, say func(State) error) error {
	if md, _ := metadata.FromIncomingContext(ctx); !slices.Equal(md.Get("workload.spiffe.io"), []string{"true"}) {
		return status.Error(codes.InvalidArgument, "security header missing from request") // SPIFFE Workload Endpoint §6
	}
	for {
		s, changed := w.now()
		if s.Refuse != codes.OK {
			return status.Error(s.Refuse, "no identity issued")
		}
		if !s.Hang {
			if err := say(s); err != nil || !stream {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// FetchX509SVID implements workload.SpiffeWorkloadAPIServer.
func (w *WorkloadAPI) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return w.answer(stream.Context(), true, func(s State) error {
		out := &workload.X509SVIDResponse{FederatedBundles: s.x509Bundles()}
		for _, svid := range s.SVIDs {
			m, err := s.x509(svid)
			if err != nil {
				return err
			}
			delete(out.FederatedBundles, "spiffe://"+svid.Leaf.URIs[0].Host)
			out.Svids = append(out.Svids, m)
		}
		return stream.Send(out)
	})
}

func (s State) x509(svid tls.Certificate) (*workload.X509SVID, error) {
	d, err := s.domain(svid)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
	return &workload.X509SVID{SpiffeId: svid.Leaf.URIs[0].String(), X509Svid: slices.Concat(svid.Certificate...), X509SvidKey: key, Bundle: d.CA.Raw}, err
}

// domain is that of an SVID.
func (s State) domain(svid tls.Certificate) (*Domain, error) {
	for _, d := range s.Domains {
		if d.Name == svid.Leaf.URIs[0].Host {
			return d, nil
		}
	}
	return nil, fmt.Errorf("State.Domains has no trust domain of %s", svid.Leaf.URIs[0])
}

func (s State) x509Bundles() map[string][]byte {
	out := map[string][]byte{}
	for _, d := range s.Domains {
		out["spiffe://"+d.Name] = d.CA.Raw
	}
	return out
}

// FetchX509Bundles implements workload.SpiffeWorkloadAPIServer.
func (w *WorkloadAPI) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	return w.answer(stream.Context(), true, func(s State) error {
		return stream.Send(&workload.X509BundlesResponse{Bundles: s.x509Bundles()})
	})
}

// FetchJWTBundles implements workload.SpiffeWorkloadAPIServer.
func (w *WorkloadAPI) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	return w.answer(stream.Context(), true, func(s State) error {
		if s.RefuseJWTBundles != codes.OK {
			return status.Error(s.RefuseJWTBundles, "no bundles")
		}
		out := &workload.JWTBundlesResponse{Bundles: map[string][]byte{}}
		for _, d := range s.Domains {
			b, err := d.bundle()
			if err != nil {
				return err
			}
			if out.Bundles["spiffe://"+d.Name], err = b.JWTBundle().Marshal(); err != nil {
				return err
			}
		}
		return stream.Send(out)
	})
}

// FetchJWTSVID implements workload.SpiffeWorkloadAPIServer.
func (w *WorkloadAPI) FetchJWTSVID(ctx context.Context, r *workload.JWTSVIDRequest) (out *workload.JWTSVIDResponse, err error) {
	err = w.answer(ctx, false, func(s State) (err error) {
		out, err = s.jwts(r)
		return err
	})
	return out, err
}

func (s State) jwts(r *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	out := &workload.JWTSVIDResponse{}
	if len(r.Audience) == 0 {
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	}
	for _, svid := range s.SVIDs {
		id := svid.Leaf.URIs[0].String()
		if r.SpiffeId != "" && r.SpiffeId != id {
			continue
		}
		d, err := s.domain(svid)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		raw, err := d.jwt(map[string]any{"sub": id, "aud": r.Audience, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()})
		if err != nil {
			return nil, err
		}
		out.Svids = append(out.Svids, &workload.JWTSVID{SpiffeId: id, Svid: raw})
	}
	if len(out.Svids) == 0 {
		return nil, status.Error(codes.PermissionDenied, "no identity issued")
	}
	return out, nil
}

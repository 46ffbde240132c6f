package authz

import (
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/wicketgate/wicketgate/internal/dpop"
	"github.com/wicketgate/wicketgate/internal/identity"
	"github.com/wicketgate/wicketgate/internal/oauth"
	"github.com/wicketgate/wicketgate/internal/web"
)

const (
	requestURIPrefix = "urn:ietf:params:oauth:request_uri:" // RFC 9126 §2.2
	pushedLifetime   = 90 * time.Second
	maxPushed        = 16 << 10 // bytes
)

// pushedRequest is a pushed authorization request at rest.
type pushedRequest struct {
	ClientID identity.ClientID `json:"client_id"`
	Query    string            `json:"query"`
}

// pushed is the success response of RFC 9126 §2.2.
type pushed struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int64  `json:"expires_in"` // seconds
}

// push is the pushed authorization request endpoint (RFC 9126 §2).
func (s *Server) push(w http.ResponseWriter, r *http.Request) error {
	proof, err := s.checkProof(w, r, PathPAR, "par")
	if err != nil {
		return err
	}
	client, form, err := s.authenticated(r, "par")
	if err != nil {
		return err
	}
	resp, err := s.pushRequest(r, client, form, proof)
	if err != nil {
		return s.denied(r, client, "par", err)
	}
	return web.WriteJSON(w, http.StatusCreated, resp)
}

func (s *Server) pushRequest(r *http.Request, client Client, form url.Values, proof dpop.Proof) (pushed, error) {
	query := maps.Clone(form)
	for _, secret := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
		query.Del(secret)
	}
	query.Set("client_id", client.ID.String())
	if proof.Thumbprint != "" { // the code is bound to that key (RFC 9449 §10.1)
		if jkt := query.Get("dpop_jkt"); jkt != "" && jkt != proof.Thumbprint {
			return pushed{}, &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "dpop_jkt is not the thumbprint of the key of the DPoP proof"}
		}
		query.Set("dpop_jkt", proof.Thumbprint)
	}
	if _, err := s.parseFor(client, query); err != nil {
		return pushed{}, web.Wire(err) // there is no browser to redirect (RFC 9126 §2.3)
	}
	if err := proof.Spend(r.Context()); err != nil {
		return pushed{}, err
	}
	value, err := json.Marshal(pushedRequest{client.ID, query.Encode()})
	if err != nil {
		return pushed{}, err
	}
	id, now := rand.Text(), s.cfg.Now()
	if err := s.cfg.Store.InsertTicket(r.Context(), TicketRequest, TicketKey(id), value, now, now.Add(pushedLifetime)); err != nil {
		return pushed{}, err
	}
	return pushed{requestURIPrefix + id, int64(pushedLifetime.Seconds())}, nil
}

// authorizePushed spends a request_uri, and sends the browser on to a page of its
// own: that one can be loaded again, the request_uri cannot.
func (s *Server) authorizePushed(w http.ResponseWriter, r *http.Request, q url.Values) error {
	again := &oauth.Error{Code: oauth.InvalidRequest, Description: "this link was used before or is too old: go back to the application and connect again"}
	id := q.Get("request_uri")[len(requestURIPrefix):]
	value, err := s.cfg.Store.Ticket(r.Context(), TicketRequest, TicketKey(id), s.cfg.Now())
	if errors.Is(err, ErrNotFound) {
		return again
	} else if err != nil {
		return err
	}
	var p pushedRequest
	if err := json.Unmarshal(value, &p); err != nil {
		return err
	}
	if p.ClientID.String() != q.Get("client_id") { // RFC 9126 §4; whoever guesses does not spend it
		return again
	}
	if _, err := s.cfg.Store.TakeTicket(r.Context(), TicketRequest, TicketKey(id), s.cfg.Now()); errors.Is(err, ErrSpent) || errors.Is(err, ErrNotFound) {
		return again
	} else if err != nil {
		return err
	}
	query, err := url.ParseQuery(p.Query)
	if err != nil {
		return err
	}
	req, err := s.parseAuthorize(r.Context(), query)
	if err != nil {
		return err
	}
	s.begin(req)
	return s.resume(w, r, req, s.browser(w, r))
}

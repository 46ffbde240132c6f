package storetest

import (
	"testing"
	"time"

	"github.com/wicketgate/wicketgate/authz"
	"github.com/wicketgate/wicketgate/internal/identity"
)

var documentTests = []test{
	{"a metadata document comes back with every field", documentRoundTrip},
	{"without a digest, the document fetched last is found", lastDocument},
	{"a document fetched again is renewed", renewDocument},
	{"a document is what its digest says: another body does not replace it", documentBody},
	{"a fetch that began earlier does not make a document older", olderFetch},
	{"a document of one client is none of another", documentClients},
	{"changing a returned document changes nothing in the store", ownDocument},
	{"documents are there after the store was closed and opened", persistDocument},
}

func someDocument(client, digest string) authz.Document {
	return authz.Document{ClientID: identity.MustClientID("https://" + client + ".example/metadata.json"), Digest: digest,
		Body: []byte(`{"client_name":"é` + digest + `"}`), Fetched: at, Fresh: at.Add(time.Hour)}
}

func wantDocument(t *testing.T, s Store, digest string, want authz.Document) {
	t.Helper()
	got, err := s.Document(t.Context(), want.ClientID, digest)
	must(t, err)
	wantSame(t, "Document "+digest, got, want)
	wantUTC(t, got.Fetched, got.Fresh)
}

func documentRoundTrip(t *testing.T, s Stores) {
	d := someDocument("c1", "one")
	must(t, s.PutDocument(t.Context(), d))
	wantDocument(t, s, "one", d)
	wantDocument(t, s, "", d)
	for _, digest := range []string{"ONE", "on", "one ", "%"} {
		_, err := s.Document(t.Context(), d.ClientID, digest)
		wantIs(t, "Document "+digest, err, authz.ErrNotFound)
	}
}

// lastDocument: a grant keeps the document that it was made with, whatever the
// client publishes now.
func lastDocument(t *testing.T, s Stores) {
	first, second := someDocument("c1", "z first"), someDocument("c1", "a second")
	second.Fetched = at.Add(time.Minute)
	must(t, s.PutDocument(t.Context(), second))
	must(t, s.PutDocument(t.Context(), first))
	wantDocument(t, s, "", second)
	wantDocument(t, s, first.Digest, first)
	first.Fetched = at.Add(time.Hour) // the client went back to what it said before
	must(t, s.PutDocument(t.Context(), first))
	wantDocument(t, s, "", first)
	wantDocument(t, s, second.Digest, second)
}

func renewDocument(t *testing.T, s Stores) {
	d := someDocument("c1", "one")
	must(t, s.PutDocument(t.Context(), d))
	d.Fetched, d.Fresh = at.Add(time.Hour), at.Add(time.Minute) // it may say that it is fresh for less time
	must(t, s.PutDocument(t.Context(), d))
	wantDocument(t, s, "", d)
}

func documentBody(t *testing.T, s Stores) {
	d := someDocument("c1", "one")
	must(t, s.PutDocument(t.Context(), d))
	other := d
	other.Body = []byte(`{"redirect_uris":["https://attacker.example/"]}`)
	must(t, s.PutDocument(t.Context(), other))
	wantDocument(t, s, "one", d)
}

func olderFetch(t *testing.T, s Stores) {
	d := someDocument("c1", "one")
	must(t, s.PutDocument(t.Context(), d))
	older := d
	older.Fetched, older.Fresh = at.Add(-time.Microsecond), at.Add(time.Minute)
	must(t, s.PutDocument(t.Context(), older))
	wantDocument(t, s, "one", d)
}

func documentClients(t *testing.T, s Stores) {
	d := someDocument("c1", "one")
	must(t, s.PutDocument(t.Context(), d))
	other := someDocument("c2", "one")
	for _, digest := range []string{"", "one"} {
		_, err := s.Document(t.Context(), other.ClientID, digest)
		wantIs(t, "Document of another client", err, authz.ErrNotFound)
	}
	other.Body, other.Fetched = []byte("{}"), at.Add(time.Hour)
	must(t, s.PutDocument(t.Context(), other))
	wantDocument(t, s, "", d)
	wantDocument(t, s, "", other)
}

func ownDocument(t *testing.T, s Stores) {
	d := someDocument("c1", "one")
	must(t, s.PutDocument(t.Context(), d))
	clear(d.Body)
	for range 2 {
		got, err := s.Document(t.Context(), d.ClientID, "one")
		must(t, err)
		wantSame(t, "Document", got, someDocument("c1", "one"))
		clear(got.Body)
	}
}

func persistDocument(t *testing.T, s Stores) {
	d := someDocument("c1", "one")
	must(t, s.PutDocument(t.Context(), d))
	must(t, s.Close())
	wantDocument(t, s.Open(t), "one", d)
}

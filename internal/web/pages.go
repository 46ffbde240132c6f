package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io/fs"
	"net/http"
)

//go:embed page.css
var pageStyle string

// Pages are the pages of one package, for people: they cannot be framed, run no script
// and load nothing. It does NOT know what is on them.
type Pages struct {
	Style     template.CSS // goes into each page's style element, to the letter
	policy    string
	templates *template.Template
}

// NewPages reads pages/*.html and pages/style.css, which is added to the style that all
// pages have. It panics if one is missing or wrong: they are embedded.
func NewPages(files fs.FS) *Pages {
	own, err := fs.ReadFile(files, "pages/style.css")
	if err != nil {
		panic(err)
	}
	style := pageStyle + string(own)
	sum := sha256.Sum256([]byte(style))
	return &Pages{Style: template.CSS(style), templates: template.Must(template.ParseFS(files, "pages/*.html")),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'; form-action "}
}

// Write answers with a page. formAction is where its forms may lead, as in a Content
// Security Policy.
func (p *Pages) Write(w http.ResponseWriter, status int, name string, data any, formAction string) error {
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", p.policy+formAction)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin") // no-referrer would make our own forms' Origin null
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
	return nil
}

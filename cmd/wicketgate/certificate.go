package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
)

// certificate is a certificate with its key, read anew when its files change.
type certificate struct {
	cert, key string // paths
	log       *slog.Logger

	mu      sync.RWMutex // guards what follows
	current *tls.Certificate
	seen    [2]os.FileInfo // the files as they were when last read, in vain or not
}

// loadCertificate reads the pair for the first time.
func loadCertificate(cert, key string) (*certificate, error) {
	c := &certificate{cert: cert, key: key, log: slog.New(slog.DiscardHandler)}
	var err error
	if c.seen, err = c.stat(); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	c.current = &pair
	return c, nil
}

// get is a tls.Config.GetCertificate. It looks at the files with every handshake.
// A pair that does not load, perhaps because only half of it has been replaced,
// leaves the old one in use until a file changes again.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	now, err := c.stat()
	c.mu.RLock()
	current, same := c.current, err != nil || unchanged(c.seen, now)
	c.mu.RUnlock()
	if same {
		return current, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if unchanged(c.seen, now) {
		return c.current, nil
	}
	c.seen = now
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		c.log.Error("new certificate not used", "cert", c.cert, "error", err)
		return c.current, nil
	}
	c.current = &pair
	c.log.Info("certificate read anew", "cert", c.cert, "expires", pair.Leaf.NotAfter)
	return c.current, nil
}

// expires is when the certificate in use does, in Unix seconds.
func (c *certificate) expires() float64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return float64(c.current.Leaf.NotAfter.Unix())
}

func (c *certificate) stat() (files [2]os.FileInfo, err error) {
	for i, path := range []string{c.cert, c.key} {
		if files[i], err = os.Stat(path); err != nil {
			return files, err
		}
	}
	return files, nil
}

func unchanged(a, b [2]os.FileInfo) bool {
	for i := range a {
		if !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}

package keys

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// LoadKEK reads the key-encryption key from a file (base64 of 32 bytes, mode
// 0600), making the file when it does not exist. Whoever can read the file and
// the store can sign tokens.
func LoadKEK(path string) (KEK, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createKEK(path)
	}
	if err != nil {
		return KEK{}, fmt.Errorf("read key-encryption key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return KEK{}, fmt.Errorf("read key-encryption key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return KEK{}, fmt.Errorf("key-encryption key %s can be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(raw) != len(KEK{}) {
		return KEK{}, fmt.Errorf("key-encryption key %s: not the base64 of 32 bytes", path)
	}
	return KEK(raw), nil
}

func createKEK(path string) (KEK, error) {
	var k KEK
	rand.Read(k[:])
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return KEK{}, fmt.Errorf("create key-encryption key: %w", err)
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(k[:]) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return KEK{}, fmt.Errorf("create key-encryption key: %w", err)
	}
	return k, nil
}

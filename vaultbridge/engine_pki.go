package vaultbridge

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/wicketgate/wicketgate/internal/identity"
)

// skew is how far our clock and Vault's may be apart.
const skew = time.Minute

// issue has the PKI engine make a key and a certificate, good for as long as a call may
// take, which is its end: few servers ask a CRL. With generate_lease in Vault's role there
// is a lease too, and its end puts the certificate on the CRL. We do not revoke by serial
// number: the right to do that is the right to revoke anybody's certificate.
func (s Server) issue(ctx context.Context, r reading, path string, subject identity.Subject) (minted, map[string]string, error) {
	request, err := s.request(subject)
	if err != nil {
		return minted{}, nil, err
	}
	if request["ttl"] == nil {
		request["ttl"] = fmt.Sprintf("%ds", (s.life()+time.Second-1)/time.Second)
	}
	secret, err := r.vault.Write(ctx, r.token, path, request)
	if err != nil {
		return minted{}, nil, err
	}
	values := texts(secret.Data)
	block, _ := pem.Decode([]byte(values["certificate"]))
	if block == nil {
		return minted{}, nil, s.malformed(path, "there is no certificate in PEM: remove format from request")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return minted{}, nil, s.malformed(path, "the certificate cannot be read")
	}
	ttl := certificate.NotAfter.Sub(r.now)
	if ttl > s.life()+skew {
		return minted{}, nil, &Failure{CertificateTTL, "issue " + path, fmt.Errorf("the certificate is good for %v, and a call takes %v at most: ttl in request, or not_after of Vault's role, makes it so", ttl.Round(time.Second), s.life())}
	}
	m := minted{name: path + " serial " + values["serial_number"], ttl: ttl}
	if secret.LeaseID != "" {
		m.name, m.leaseID = secret.LeaseID, secret.LeaseID
	}
	return m, values, nil
}

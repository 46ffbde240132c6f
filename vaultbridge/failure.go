package vaultbridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/wicketgate/wicketgate/internal/vault"
)

// The reasons that are not Vault's own.
const (
	NoLease       vault.Reason = "vault_no_lease"        // the engine must answer one
	CircuitOpen   vault.Reason = "vault_circuit_open"    // Vault failed a while ago, and is left alone
	TokenTTL      vault.Reason = "vault_token_ttl"       // the login gave a token that outlives the call
	TokenBatch    vault.Reason = "vault_token_batch"     // or one that cannot be revoked
	KeyTooOld     vault.Reason = "vault_key_too_old"     // a static key
	KeyAgeUnknown vault.Reason = "vault_key_age_unknown" // one that may be too old
	VersionGone   vault.Reason = "vault_version_gone"    // the version of a KV secret was deleted or destroyed

	CertificateTTL vault.Reason = "vault_certificate_ttl"  // a certificate outlives the call
	BadTemplate    vault.Reason = "vault_bad_template"     // the injection asks for what the secret does not have
	BadSubject     vault.Reason = "vault_subject_in_path"  // a name that cannot be put in a path
	Backlog        vault.Reason = "vault_leases_not_ended" // too many could not be revoked
	Unrecorded     vault.Reason = "lease_not_recorded"     // the store failed
	Unaudited      vault.Reason = "audit_unavailable"      // the audit log failed
	Ended          vault.Reason = "credential_ended"       // revoked, frozen, or over before it was handed out
	Stopping       vault.Reason = "credential_stopping"    // Close was called
	NotForServer   vault.Reason = "credential_other_call"  // the call token names another server, or nobody
	CallerGone     vault.Reason = "credential_caller_gone" // who asked waits no longer
	unknownReason  vault.Reason = "credential_failed"
)

// Failure is why there is no credential.
type Failure struct {
	Why  vault.Reason
	What string // what was tried, for operators
	Err  error
}

// Error is for operators: it has Vault's own words, with nothing secret in them.
func (f *Failure) Error() string {
	if f.Err == nil {
		return fmt.Sprintf("%s: %s", f.What, f.Why)
	}
	return fmt.Sprintf("%s: %s: %v", f.What, f.Why, f.Err)
}

// Unwrap is for errors.Is.
func (f *Failure) Unwrap() error { return f.Err }

// Reason is the word for the audit log.
func (f *Failure) Reason() string { return string(f.Why) }

// Advice tells the caller what is wrong and who can help, and nothing of Vault that is not
// theirs.
func (f *Failure) Advice() string {
	if a, ok := advice[f.Why]; ok {
		return a
	}
	return "No credential could be obtained for this server. Ask whoever runs the gateway: the reason is in its log."
}

const (
	later = "The gateway cannot obtain credentials for this server at the moment. Try again in a minute; if it lasts, tell whoever runs the gateway that Vault "
	setUp = "This server's credentials are not set up as they must be. Tell whoever runs the gateway that "
)

// advice is one sentence or two for each reason. They are constants: nothing of a request
// or an answer is in them.
var advice = map[vault.Reason]string{
	vault.Sealed:      later + "is sealed.",
	vault.Timeout:     later + "does not answer in time.",
	vault.Unreachable: later + "cannot be reached.",
	vault.Failed:      later + "fails, or what stands behind it.",
	vault.Limited:     later + "has reached a limit of requests or leases.",
	CircuitOpen:       later + "failed several times in a row.",
	Backlog:           later + "does not end the credentials of earlier calls.",

	vault.LoggedOut: "Vault does not accept you for this server. Ask whoever runs the gateway for access: Vault refused the login.",
	vault.Denied:    "Vault does not let you have a credential for this server. Ask whoever runs the gateway for access: Vault denied permission.",
	BadSubject:      "Your name has characters that cannot be part of a path in Vault. Ask whoever runs the gateway for another way to this server.",

	vault.NotFound:  setUp + "Vault does not know the path, role or version.",
	vault.Refused:   setUp + "Vault refused the request.",
	vault.Malformed: setUp + "Vault's answer makes no sense.",
	NoLease:         setUp + "Vault answered without a lease.",
	TokenTTL:        setUp + "the Vault token of a call lives longer than the call may.",
	TokenBatch:      setUp + "the Vault token of a call cannot be revoked.",
	BadTemplate:     setUp + "Vault's answer does not have what the server takes.",
	VersionGone:     setUp + "the version of the server's key that is set was deleted or destroyed.",
	CertificateTTL:  setUp + "the certificate of a call lives longer than the call may.",
	KeyTooOld:       "The key of this server is too old. Tell whoever runs the gateway that it must be rotated.",
	KeyAgeUnknown:   "Nobody knows how old the key of this server is. Tell whoever runs the gateway that it must be rotated.",

	Unrecorded: "The gateway cannot record what it does at the moment. Try again in a minute; if it lasts, tell whoever runs it.",
	Unaudited:  "The gateway cannot record what it does at the moment. Try again in a minute; if it lasts, tell whoever runs it.",
	Ended:      "The access was revoked, or the server is frozen. Ask whoever runs the gateway.",
	Stopping:   "The gateway is stopping. Try again in a minute.",
	CallerGone: "The call ended before there was a credential for it.",
}

// failure is err with a reason, whatever it is.
func failure(what string, err error) error {
	var f *Failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &Failure{reasonOf(err), what, err}
}

// reasonOf is the word for err.
func reasonOf(err error) vault.Reason {
	var f *Failure
	var v *vault.Error
	switch {
	case errors.As(err, &f):
		return f.Why
	case errors.As(err, &v):
		return v.Why
	case errors.Is(err, context.DeadlineExceeded):
		return vault.Timeout
	}
	return unknownReason
}

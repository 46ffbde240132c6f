// Package vaultbridge obtains, for each call to a legacy server, a credential from
// HashiCorp Vault, and sees to it that nothing is left of it when the call is over.
//
// It owns leases and their end: it logs in for the call, records the accessor of the
// Vault token before anything is minted by it, mints, and revokes that token with all its
// leases when the call has ended, however it did. What a crash leaves behind the next start
// revokes.
//
// It does NOT decide who may call, and knows no MCP.
package vaultbridge

# Server ledger: users of a database. With jwt, @PERSON@ is the subject of the call, whom
# Vault itself knows from the token: alice gets users of ledger-alice and of no other role.
path "database/creds/ledger-@PERSON@" {
  capabilities = ["read"]
}

# For a person's token with which wicketgate import moves keys into Vault: it writes what is
# not there yet, and may read it again to see that it is the same.

path "secret/data/wicketgate/*" {
  capabilities = ["create", "read"]
}

# Names of their own: what Wicketgate itself has (wicketgate-call, wicketgate-keys, ...) is
# nothing that an import may replace.
path "sys/policies/acl/wicketgate-imported-*" {
  capabilities = ["create", "update"]
}

# The role of each server: with login.method jwt the first, else the second. Who may write
# roles can give them any policy: give this to nobody who may not have them all, and for no
# longer than the import takes.
path "auth/jwt/role/wicketgate-imported-*" {
  capabilities = ["create", "update"]
}
path "auth/token/roles/wicketgate-imported-*" {
  capabilities = ["create", "update"]
}

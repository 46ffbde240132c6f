# For a person's token with which wicketgate import moves keys into Vault: it writes what is
# not there yet, and may read it again to see that it is the same.

path "secret/data/wicketgate/*" {
  capabilities = ["create", "read"]
}

path "sys/policies/acl/wicketgate-*" {
  capabilities = ["create", "update"]
}

# login.method jwt: the role of each server
path "auth/jwt/role/wicketgate-*" {
  capabilities = ["create", "update"]
}

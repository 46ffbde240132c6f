# What Wicketgate needs where Vault has its keys (keys.transit, docs/operate.md). The names
# are those of the configuration: the engine at transit/, the key wicketgate. Give it to the
# role that vault.login names, beside what else that has.

# Wrap and unwrap. Neither create, so that no key is made by a slip of the pen, nor delete,
# config, export or backup.
path "transit/keys/wicketgate" {
  capabilities = ["read"]
}
path "transit/encrypt/wicketgate" {
  capabilities = ["update"]
}
path "transit/decrypt/wicketgate" {
  capabilities = ["update"]
}

# Only with sign: true: each token key is a key of its own, which is made once and signs.
# The parameters are what keeps its private half in Vault: the path is also that of
# KEY/config, where what is exportable is set.
path "transit/keys/wicketgate-token-*" {
  capabilities = ["read", "update"]
  allowed_parameters = {
    "type"                   = ["ecdsa-p256", "ed25519"]
    "exportable"             = [false]
    "allow_plaintext_backup" = [false]
  }
}
path "transit/sign/wicketgate-token-*" {
  capabilities = ["update"]
}

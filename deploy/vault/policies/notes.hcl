# Server notes: a key for each person.
path "secret/data/notes/@PERSON@" {
  capabilities = ["read"]
}

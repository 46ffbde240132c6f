# For cert, approle and kubernetes: it makes the token of each call, by a token role that
# says what that token may do.
path "auth/token/create/wicketgate-*" {
  capabilities = ["update"]
}

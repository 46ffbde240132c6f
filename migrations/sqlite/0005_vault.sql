-- Tokens of Vault that were made for calls, with what was minted by them, while either may
-- live: what a crash leaves is ended by the next start. The program also runs without
-- them, that is on the schema before: servers with credential: vault are refused then.

-- +goose Up

CREATE TABLE vault_leases (
    id         TEXT    NOT NULL PRIMARY KEY,
    holder     TEXT    NOT NULL, -- the process that has it,
    boot       TEXT    NOT NULL, -- and which run of it
    call       TEXT    NOT NULL, -- that it was made for
    server     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    client_id  TEXT    NOT NULL,
    accessor   TEXT    NOT NULL, -- of the Vault token
    lease_id   TEXT    NOT NULL,
    path       TEXT    NOT NULL,
    engine     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL, -- by then Vault has ended it itself
    held_until INTEGER NOT NULL, -- others leave it alone until then
    next_at    INTEGER,          -- when its end is tried again; NULL: it has not failed
    attempts   INTEGER NOT NULL,
    failure    TEXT    NOT NULL, -- of the last one
    ended_by   TEXT    NOT NULL  -- the operator who wants it ended
) STRICT;
CREATE INDEX vault_leases_holder ON vault_leases (holder, boot);
CREATE INDEX vault_leases_held_until ON vault_leases (held_until);
CREATE INDEX vault_leases_expires_at ON vault_leases (expires_at);

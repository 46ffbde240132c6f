-- Tokens of Vault that were made for calls, with what was minted by them, while either may
-- live: what a crash leaves is ended by the next start. The program also runs without
-- them, that is on the schema before: servers with credential: vault are refused then.

-- +goose Up

CREATE TABLE vault_leases (
    id         text    COLLATE "C" NOT NULL PRIMARY KEY,
    holder     text    COLLATE "C" NOT NULL, -- the process that has it,
    boot       text    COLLATE "C" NOT NULL, -- and which run of it
    call       text    NOT NULL, -- that it was made for
    server     text    COLLATE "C" NOT NULL,
    subject    text    COLLATE "C" NOT NULL,
    client_id  text    COLLATE "C" NOT NULL,
    accessor   text    COLLATE "C" NOT NULL, -- of the Vault token
    lease_id   text    COLLATE "C" NOT NULL,
    path       text    COLLATE "C" NOT NULL,
    engine     text    NOT NULL,
    created_at bigint  NOT NULL,
    expires_at bigint  NOT NULL, -- by then Vault has ended it itself
    held_until bigint  NOT NULL, -- others leave it alone until then
    next_at    bigint,           -- when its end is tried again; NULL: it has not failed
    attempts   integer NOT NULL,
    failure    text    NOT NULL, -- of the last one
    ended_by   text    COLLATE "C" NOT NULL -- the operator who wants it ended
);
CREATE INDEX vault_leases_holder ON vault_leases (holder, boot);
CREATE INDEX vault_leases_held_until ON vault_leases (held_until);
CREATE INDEX vault_leases_expires_at ON vault_leases (expires_at);

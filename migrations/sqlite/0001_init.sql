-- Times are microseconds since 1970 UTC, lists are JSON, hashes are SHA-256.
-- Columns that end in _at and may be NULL mark what has happened: each is set
-- once, by one conditional statement, and never cleared.

-- +goose Up
CREATE TABLE clients (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    redirect_uris TEXT    NOT NULL,
    grant_types   TEXT    NOT NULL,
    auth_method   TEXT    NOT NULL,
    scope         TEXT    NOT NULL,
    static        INTEGER NOT NULL CHECK (static IN (0, 1)),
    created_at    INTEGER NOT NULL,
    used_at       INTEGER,
    secret_hash   BLOB    NOT NULL,
    secret_created_at     INTEGER,
    old_secret_hash       BLOB    NOT NULL,
    old_secret_expires_at INTEGER,
    jwks               BLOB NOT NULL,
    jwks_uri           TEXT NOT NULL,
    signing_alg        TEXT NOT NULL,
    assertion_audience TEXT NOT NULL,
    tls_name           TEXT NOT NULL,
    dpop_bound         INTEGER NOT NULL CHECK (dpop_bound IN (0, 1)),
    certificate_bound  INTEGER NOT NULL CHECK (certificate_bound IN (0, 1)),
    registration_hash  BLOB NOT NULL
) STRICT;

-- Client ID metadata documents as they were fetched; grants name one by its digest.
CREATE TABLE client_documents (
    client_id  TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    body       BLOB    NOT NULL,
    fetched_at INTEGER NOT NULL,
    fresh_at   INTEGER NOT NULL,
    PRIMARY KEY (client_id, digest)
) STRICT;

-- The root of a family. client_id has no foreign key: a client may be known by
-- its metadata document alone.
CREATE TABLE authorizations (
    id         TEXT    NOT NULL PRIMARY KEY,
    client_id  TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    resource   TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    auth_time  INTEGER NOT NULL,
    acr        TEXT    NOT NULL,
    claims     BLOB    NOT NULL,
    document   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX authorizations_expires_at ON authorizations (expires_at);
CREATE INDEX authorizations_client_id ON authorizations (client_id, document);

CREATE TABLE codes (
    hash             BLOB    NOT NULL PRIMARY KEY,
    authorization_id TEXT    NOT NULL REFERENCES authorizations (id),
    redirect_uri     TEXT    NOT NULL,
    challenge        TEXT    NOT NULL,
    jkt              TEXT    NOT NULL, -- of the DPoP key that must be proved; '' for none
    expires_at       INTEGER NOT NULL,
    used_at          INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_authorization_id ON codes (authorization_id);
CREATE INDEX codes_expires_at ON codes (expires_at);

CREATE TABLE refresh_tokens (
    hash             BLOB    NOT NULL PRIMARY KEY,
    authorization_id TEXT    NOT NULL REFERENCES authorizations (id),
    created_at       INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    rotated_at       INTEGER,
    successor        BLOB    NOT NULL, -- sealed under the token itself
    jkt              TEXT    NOT NULL, -- of the DPoP key that must be proved; '' for none
    x5t              TEXT    NOT NULL  -- of the certificate, likewise
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_authorization_id ON refresh_tokens (authorization_id);
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);

-- What counts once and soon expires; an expired one is as none.
CREATE TABLE tickets (
    kind       TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    value      BLOB    NOT NULL,
    expires_at INTEGER NOT NULL,
    taken_at   INTEGER,
    PRIMARY KEY (hash, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE device_codes (
    hash             BLOB    NOT NULL PRIMARY KEY,
    user_hash        BLOB    NOT NULL UNIQUE,
    client_id        TEXT    NOT NULL,
    resource         TEXT    NOT NULL,
    scope            TEXT    NOT NULL,
    document         TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    polled_at        INTEGER, -- the last time: set again and again
    decided_at       INTEGER,
    authorization_id TEXT    NOT NULL, -- '' when not approved
    used_at          INTEGER
) STRICT;
CREATE INDEX device_codes_client_id ON device_codes (client_id, document);

CREATE TABLE keys (
    kid         TEXT    NOT NULL PRIMARY KEY,
    use         TEXT    NOT NULL,
    algorithm   TEXT    NOT NULL,
    wrapped     BLOB    NOT NULL,
    public      BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    activated_at INTEGER -- when it began to sign; the newest signs
) STRICT;

CREATE TABLE tool_pins (
    server     TEXT    NOT NULL,
    tool       TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    definition BLOB    NOT NULL,
    seen_at    INTEGER NOT NULL,
    approved   INTEGER NOT NULL CHECK (approved IN (0, 1)),
    PRIMARY KEY (server, tool)
) STRICT;

-- The newest head of each log; hash and signature are base64url, as in the log.
CREATE TABLE audit_heads (
    log       TEXT    NOT NULL PRIMARY KEY,
    seq       INTEGER NOT NULL,
    hash      TEXT    NOT NULL,
    time      INTEGER NOT NULL,
    kid       TEXT    NOT NULL,
    signature TEXT    NOT NULL
) STRICT;

-- What was revoked or frozen. seq is the counter's: what is committed later has a
-- higher one, and a reader that asks for more than the last one it saw misses none.
CREATE TABLE revocations (
    kind       TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    not_before INTEGER NOT NULL,
    frozen     INTEGER NOT NULL CHECK (frozen IN (0, 1)),
    lifted     INTEGER NOT NULL CHECK (lifted IN (0, 1)), -- was frozen until created_at
    reason     TEXT    NOT NULL,
    by_whom    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    seq        INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (kind, name)
) STRICT;
CREATE INDEX revocations_expires_at ON revocations (expires_at, frozen) WHERE frozen = 0;

CREATE TABLE revocation_counter (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    n  INTEGER NOT NULL
) STRICT;

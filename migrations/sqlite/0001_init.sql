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
    secret_hash   BLOB    NOT NULL,
    scope         TEXT    NOT NULL,
    static        INTEGER NOT NULL CHECK (static IN (0, 1)),
    created_at    INTEGER NOT NULL
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
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX authorizations_expires_at ON authorizations (expires_at);

CREATE TABLE codes (
    hash             BLOB    NOT NULL PRIMARY KEY,
    authorization_id TEXT    NOT NULL REFERENCES authorizations (id),
    redirect_uri     TEXT    NOT NULL,
    challenge        TEXT    NOT NULL,
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
    rotated_at       INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_authorization_id ON refresh_tokens (authorization_id);
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);

CREATE TABLE keys (
    kid         TEXT    NOT NULL PRIMARY KEY,
    use         TEXT    NOT NULL,
    algorithm   TEXT    NOT NULL,
    wrapped     BLOB    NOT NULL,
    public      BLOB    NOT NULL,
    created_at  INTEGER NOT NULL
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

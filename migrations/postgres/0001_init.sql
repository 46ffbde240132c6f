-- Times are microseconds since 1970 UTC (to_timestamp(x / 1e6) shows one): exact,
-- and read alike whatever TimeZone and DateStyle a role has. Hashes are SHA-256.
-- Columns that end in _at and may be NULL mark what has happened: each is set
-- once, by one conditional statement, and never cleared. Text is ordered by bytes.

-- +goose Up
-- Whatever else goes wrong, no migration is ever committed twice.
CREATE UNIQUE INDEX wicketgate_migrations_version_id ON wicketgate_migrations (version_id);

CREATE TABLE clients (
    id            text    COLLATE "C" NOT NULL PRIMARY KEY,
    name          text    NOT NULL,
    redirect_uris text[]  NOT NULL,
    grant_types   text[]  NOT NULL,
    auth_method   text    NOT NULL,
    secret_hash   bytea   NOT NULL,
    scope         text[]  NOT NULL,
    static        boolean NOT NULL,
    created_at    bigint  NOT NULL
);

-- The root of a family. client_id has no foreign key: a client may be known by
-- its metadata document alone.
CREATE TABLE authorizations (
    id         text   COLLATE "C" NOT NULL PRIMARY KEY,
    client_id  text   COLLATE "C" NOT NULL,
    subject    text   COLLATE "C" NOT NULL,
    resource   text   NOT NULL,
    scope      text   NOT NULL,
    auth_time  bigint NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint
);
CREATE INDEX authorizations_expires_at ON authorizations (expires_at);

CREATE TABLE codes (
    hash             bytea  NOT NULL PRIMARY KEY,
    authorization_id text   COLLATE "C" NOT NULL REFERENCES authorizations (id),
    redirect_uri     text   NOT NULL,
    challenge        text   NOT NULL,
    expires_at       bigint NOT NULL,
    used_at          bigint
);
CREATE INDEX codes_authorization_id ON codes (authorization_id);
CREATE INDEX codes_expires_at ON codes (expires_at);

CREATE TABLE refresh_tokens (
    hash             bytea  NOT NULL PRIMARY KEY,
    authorization_id text   COLLATE "C" NOT NULL REFERENCES authorizations (id),
    created_at       bigint NOT NULL,
    expires_at       bigint NOT NULL,
    rotated_at       bigint
);
CREATE INDEX refresh_tokens_authorization_id ON refresh_tokens (authorization_id);
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);

CREATE TABLE keys (
    kid         text   COLLATE "C" NOT NULL PRIMARY KEY,
    use         text   NOT NULL,
    algorithm   text   NOT NULL,
    wrapped     bytea  NOT NULL,
    public      bytea  NOT NULL,
    created_at  bigint NOT NULL
);

CREATE TABLE tool_pins (
    server     text    COLLATE "C" NOT NULL,
    tool       text    COLLATE "C" NOT NULL,
    digest     text    NOT NULL,
    definition bytea   NOT NULL,
    seen_at    bigint  NOT NULL,
    approved   boolean NOT NULL,
    PRIMARY KEY (server, tool)
);

-- The newest head of each log; hash and signature are base64url, as in the log.
CREATE TABLE audit_heads (
    log       text   COLLATE "C" NOT NULL PRIMARY KEY,
    seq       bigint NOT NULL,
    hash      text   NOT NULL,
    time      bigint NOT NULL,
    kid       text   NOT NULL,
    signature text   NOT NULL
);

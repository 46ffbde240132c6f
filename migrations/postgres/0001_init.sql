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
    scope         text[]  NOT NULL,
    static        boolean NOT NULL,
    created_at    bigint  NOT NULL,
    used_at       bigint,
    secret_hash   bytea   NOT NULL,
    secret_created_at     bigint,
    old_secret_hash       bytea  NOT NULL,
    old_secret_expires_at bigint,
    jwks               bytea NOT NULL,
    jwks_uri           text  NOT NULL,
    signing_alg        text  NOT NULL,
    assertion_audience text  NOT NULL,
    tls_name           text  NOT NULL,
    dpop_bound         boolean NOT NULL,
    certificate_bound  boolean NOT NULL,
    registration_hash  bytea NOT NULL
);

-- Client ID metadata documents as they were fetched; grants name one by its digest.
CREATE TABLE client_documents (
    client_id  text   COLLATE "C" NOT NULL,
    digest     text   COLLATE "C" NOT NULL,
    body       bytea  NOT NULL,
    fetched_at bigint NOT NULL,
    fresh_at   bigint NOT NULL,
    PRIMARY KEY (client_id, digest)
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
    acr        text   NOT NULL,
    claims     bytea  NOT NULL,
    document   text   NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint
);
CREATE INDEX authorizations_expires_at ON authorizations (expires_at);
CREATE INDEX authorizations_client_id ON authorizations (client_id, document);

CREATE TABLE codes (
    hash             bytea  NOT NULL PRIMARY KEY,
    authorization_id text   COLLATE "C" NOT NULL REFERENCES authorizations (id),
    redirect_uri     text   NOT NULL,
    challenge        text   NOT NULL,
    jkt              text   NOT NULL, -- of the DPoP key that must be proved; '' for none
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
    rotated_at       bigint,
    successor        bytea  NOT NULL, -- sealed under the token itself
    jkt              text   NOT NULL, -- of the DPoP key that must be proved; '' for none
    x5t              text   NOT NULL  -- of the certificate, likewise
);
CREATE INDEX refresh_tokens_authorization_id ON refresh_tokens (authorization_id);
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);

-- What counts once and soon expires; an expired one is as none.
CREATE TABLE tickets (
    kind       text   COLLATE "C" NOT NULL,
    hash       bytea  NOT NULL,
    value      bytea  NOT NULL,
    expires_at bigint NOT NULL,
    taken_at   bigint,
    PRIMARY KEY (hash, kind)
);

CREATE TABLE device_codes (
    hash             bytea  NOT NULL PRIMARY KEY,
    user_hash        bytea  NOT NULL UNIQUE,
    client_id        text   COLLATE "C" NOT NULL,
    resource         text   NOT NULL,
    scope            text   NOT NULL,
    document         text   NOT NULL,
    created_at       bigint NOT NULL,
    expires_at       bigint NOT NULL,
    polled_at        bigint, -- the last time: set again and again
    decided_at       bigint,
    authorization_id text   NOT NULL, -- '' when not approved
    used_at          bigint
);
CREATE INDEX device_codes_client_id ON device_codes (client_id, document);

CREATE TABLE keys (
    kid         text   COLLATE "C" NOT NULL PRIMARY KEY,
    use         text   NOT NULL,
    algorithm   text   NOT NULL,
    wrapped     bytea  NOT NULL,
    public      bytea  NOT NULL,
    created_at  bigint NOT NULL,
    activated_at bigint -- when it began to sign; the newest signs
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

-- What was revoked or frozen. seq is the counter's, whose row is locked until the
-- transaction ends: so what is committed later has a higher one, and a reader that
-- asks for more than the last one it saw misses none.
CREATE TABLE revocations (
    kind       text    COLLATE "C" NOT NULL,
    name       text    COLLATE "C" NOT NULL,
    not_before bigint  NOT NULL,
    frozen     boolean NOT NULL,
    lifted     boolean NOT NULL, -- was frozen until created_at
    reason     text    NOT NULL,
    by_whom    text    NOT NULL,
    created_at bigint  NOT NULL,
    expires_at bigint  NOT NULL,
    seq        bigint  NOT NULL UNIQUE,
    PRIMARY KEY (kind, name)
);
CREATE INDEX revocations_expires_at ON revocations (expires_at) WHERE NOT frozen;

CREATE TABLE revocation_counter (
    id integer NOT NULL PRIMARY KEY CHECK (id = 1),
    n  bigint  NOT NULL
);

-- Calls that wait for somebody's approval, and messages to those who want to know of
-- them; limits. The program also runs without them, that is on the schema before: what needs
-- an approval or has a limit is refused then.

-- +goose Up

CREATE TABLE approvals (
    id                text    COLLATE "C" NOT NULL PRIMARY KEY,
    standing          bytea   UNIQUE, -- SHA-256 of all that it is bound to; NULL once it is used, or expired and asked for anew
    subject           text    COLLATE "C" NOT NULL,
    client_id         text    COLLATE "C" NOT NULL,
    actors            text[]  NOT NULL,
    server            text    COLLATE "C" NOT NULL,
    tool              text    COLLATE "C" NOT NULL,
    arguments_digest  text    NOT NULL,
    definition_digest text    NOT NULL,
    policy_digest     text    NOT NULL,
    rule              text    NOT NULL,
    arguments         bytea   NOT NULL, -- redacted
    risk              text    NOT NULL,
    approvers         text    NOT NULL, -- JSON: roles, one of each list
    created_at        bigint  NOT NULL,
    expires_at        bigint  NOT NULL,
    decided_at        bigint,
    approved          boolean NOT NULL, -- what was decided
    decided_by        text    COLLATE "C" NOT NULL,
    comment           text    NOT NULL,
    used_at           bigint
);
CREATE INDEX approvals_created_at ON approvals (created_at, id);
CREATE INDEX approvals_expires_at ON approvals (expires_at);
CREATE INDEX approvals_waiting ON approvals (created_at, id) WHERE decided_at IS NULL;
CREATE INDEX approvals_pending ON approvals (subject, expires_at) WHERE decided_at IS NULL;

-- Messages that are not delivered. due_at is when the next process may try: whoever takes
-- one moves it on, and so has it for that long.
CREATE TABLE webhook_messages (
    id         text    COLLATE "C" NOT NULL PRIMARY KEY,
    endpoint   text    COLLATE "C" NOT NULL, -- digest of its URL, which may hold a secret
    kind       text    NOT NULL,
    body       bytea   NOT NULL,
    created_at bigint  NOT NULL,
    due_at     bigint  NOT NULL,
    attempts   integer NOT NULL
);
CREATE INDEX webhook_messages_due ON webhook_messages (endpoint, due_at);
CREATE INDEX webhook_messages_created_at ON webhook_messages (created_at);

-- Calls counted against the limits of policy, over all replicas: one row for each limit and
-- whose calls it counts together. Who counts locks it. There is none for what was never
-- counted, and none is needed for what is due.
CREATE TABLE limit_counts (
    key    text   COLLATE "C" NOT NULL PRIMARY KEY,
    due_at bigint NOT NULL -- when the next call would be due, were they made evenly; of a limit of calls at once, when the last may end
);
CREATE INDEX limit_counts_due_at ON limit_counts (due_at);

-- Calls that are open and have a place of such a limit.
CREATE TABLE limit_leases (
    id         text   COLLATE "C" NOT NULL, -- of the call
    key        text   COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (id, key)
);
CREATE INDEX limit_leases_key ON limit_leases (key, expires_at);
CREATE INDEX limit_leases_expires_at ON limit_leases (expires_at);

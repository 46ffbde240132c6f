-- Calls that wait for somebody's approval, and messages to those who want to know of
-- them. The program also runs without them, that is on the schema before: what needs an
-- approval is refused then.

-- +goose Up

CREATE TABLE approvals (
    id                TEXT    NOT NULL PRIMARY KEY,
    standing          BLOB    UNIQUE, -- SHA-256 of all that it is bound to; NULL once it is used, or expired and asked for anew
    subject           TEXT    NOT NULL,
    client_id         TEXT    NOT NULL,
    actors            TEXT    NOT NULL, -- JSON
    server            TEXT    NOT NULL,
    tool              TEXT    NOT NULL,
    arguments_digest  TEXT    NOT NULL,
    definition_digest TEXT    NOT NULL,
    policy_digest     TEXT    NOT NULL,
    rule              TEXT    NOT NULL,
    arguments         BLOB    NOT NULL, -- redacted
    risk              TEXT    NOT NULL,
    approvers         TEXT    NOT NULL, -- JSON: roles, one of each list
    created_at        INTEGER NOT NULL,
    expires_at        INTEGER NOT NULL,
    decided_at        INTEGER,
    approved          INTEGER NOT NULL, -- what was decided
    decided_by        TEXT    NOT NULL,
    comment           TEXT    NOT NULL,
    used_at           INTEGER
) STRICT;
CREATE INDEX approvals_created_at ON approvals (created_at, id);
CREATE INDEX approvals_expires_at ON approvals (expires_at);
CREATE INDEX approvals_waiting ON approvals (created_at, id) WHERE decided_at IS NULL;
CREATE INDEX approvals_pending ON approvals (subject, expires_at) WHERE decided_at IS NULL;

-- Messages that are not delivered. due_at is when the next process may try: whoever takes
-- one moves it on, and so has it for that long.
CREATE TABLE webhook_messages (
    id         TEXT    NOT NULL PRIMARY KEY,
    endpoint   TEXT    NOT NULL, -- digest of its URL, which may hold a secret
    kind       TEXT    NOT NULL,
    body       BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL
) STRICT;
CREATE INDEX webhook_messages_due ON webhook_messages (endpoint, due_at);
CREATE INDEX webhook_messages_created_at ON webhook_messages (created_at);

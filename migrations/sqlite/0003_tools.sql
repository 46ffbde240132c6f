-- What operators decided about tools, and definitions that wait for them. The program
-- also runs without them, that is on the schema before: nothing can be approved then.

-- +goose Up

-- The newest definition of a tool that is not its pinned one.
CREATE TABLE tool_candidates (
    server     TEXT    NOT NULL,
    tool       TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    definition BLOB    NOT NULL,
    seen_at    INTEGER NOT NULL,
    PRIMARY KEY (server, tool)
) STRICT;

-- The orders, all of them. seq is that of revocation_counter: what is committed later
-- has a higher one. The newest order of a tool says who approved it, or that it is in
-- quarantine.
CREATE TABLE tool_orders (
    seq         INTEGER NOT NULL PRIMARY KEY,
    server      TEXT    NOT NULL,
    tool        TEXT    NOT NULL,
    digest      TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    accepted    TEXT    NOT NULL, -- findings that the operator accepted
    by_whom     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    recorded_at INTEGER           -- when a process wrote it into its audit log
) STRICT;
CREATE INDEX tool_orders_tool ON tool_orders (server, tool, seq);
CREATE INDEX tool_orders_unrecorded ON tool_orders (seq) WHERE recorded_at IS NULL;

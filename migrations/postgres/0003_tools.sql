-- What operators decided about tools, and definitions that wait for them. The program
-- also runs without them, that is on the schema before: nothing can be approved then.

-- +goose Up

-- The newest definition of a tool that is not its pinned one.
CREATE TABLE tool_candidates (
    server     text   COLLATE "C" NOT NULL,
    tool       text   COLLATE "C" NOT NULL,
    digest     text   NOT NULL,
    definition bytea  NOT NULL,
    seen_at    bigint NOT NULL,
    PRIMARY KEY (server, tool)
);

-- The orders, all of them. seq is that of revocation_counter: what is committed later
-- has a higher one. The newest order of a tool says who approved it, or that it is in
-- quarantine.
CREATE TABLE tool_orders (
    seq         bigint NOT NULL PRIMARY KEY,
    server      text   COLLATE "C" NOT NULL,
    tool        text   COLLATE "C" NOT NULL,
    digest      text   NOT NULL,
    action      text   NOT NULL,
    accepted    text   NOT NULL, -- findings that the operator accepted
    by_whom     text   NOT NULL,
    created_at  bigint NOT NULL,
    recorded_at bigint           -- when a process wrote it into its audit log
);
CREATE INDEX tool_orders_tool ON tool_orders (server, tool, seq);
CREATE INDEX tool_orders_unrecorded ON tool_orders (seq) WHERE recorded_at IS NULL;

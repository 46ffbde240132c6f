-- Indexes by which expired rows, and what a person granted, are found. The program
-- also runs without them, that is on the schema before.

-- +goose Up
CREATE INDEX tickets_expires_at ON tickets (expires_at);
CREATE INDEX device_codes_expires_at ON device_codes (expires_at);
CREATE INDEX client_documents_fetched_at ON client_documents (fetched_at);
CREATE INDEX clients_unused ON clients (created_at) WHERE used_at IS NULL AND NOT static;
CREATE INDEX authorizations_subject ON authorizations (subject);

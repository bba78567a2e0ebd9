-- Commit records: a row for each participant of a transaction that committed
-- here in two phases.  Written by the commit itself.  Not for pg_dump: the
-- prepared transactions they speak of are not in a dump either.
CREATE TABLE vecdist.dist_transaction (
    gid text COLLATE "C" NOT NULL PRIMARY KEY,
    server oid NOT NULL
);
COMMENT ON TABLE vecdist.dist_transaction
    IS 'commit records of transactions on several servers';
COMMENT ON COLUMN vecdist.dist_transaction.gid
    IS 'identifier of the prepared transaction on the worker';
COMMENT ON COLUMN vecdist.dist_transaction.server
    IS 'the worker, an oid of pg_foreign_server';

CREATE FUNCTION vecdist.recover_prepared_transactions(
    OUT worker name, OUT gid text, OUT action text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'vecdist_recover_prepared_transactions'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION vecdist.recover_prepared_transactions() FROM PUBLIC;
COMMENT ON FUNCTION vecdist.recover_prepared_transactions()
    IS 'finishes what transactions on several servers have left prepared on workers';

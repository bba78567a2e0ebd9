-- Cluster administration: workers and distributed tables.

-- What core's catalogs cannot hold.  Placement is not here: a partition lives
-- on the server of its foreign table.
CREATE TABLE vecdist.local_worker (
    name text NOT NULL
);
CREATE UNIQUE INDEX local_worker_one_row ON vecdist.local_worker ((true));
COMMENT ON TABLE vecdist.local_worker
    IS 'name of the worker that this server is; empty on a coordinator';
COMMENT ON COLUMN vecdist.local_worker.name
    IS 'as in vecdist.workers';
SELECT pg_catalog.pg_extension_config_dump('vecdist.local_worker', '');

CREATE TABLE vecdist.distributed_table (
    relation regclass PRIMARY KEY
);
COMMENT ON TABLE vecdist.distributed_table
    IS 'tables whose definition is kept equal on all servers of the cluster';
COMMENT ON COLUMN vecdist.distributed_table.relation
    IS 'the partitioned table';
SELECT pg_catalog.pg_extension_config_dump('vecdist.distributed_table', '');
GRANT SELECT ON vecdist.local_worker, vecdist.distributed_table TO PUBLIC;

CREATE FUNCTION vecdist.is_preloaded() RETURNS boolean
    AS 'MODULE_PATHNAME', 'vecdist_is_preloaded'
    LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vecdist.is_preloaded()
    IS 'was the library loaded by shared_preload_libraries?';

-- Workers

CREATE FUNCTION vecdist.add_worker(name text, hosts text,
    dbname text DEFAULT pg_catalog.current_database(),
    "user" text DEFAULT NULL, password text DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_add_worker'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.add_worker(text, text, text, text, text)
    IS 'make a worker group known to all servers of the cluster';

CREATE FUNCTION vecdist.remove_worker(name text, force boolean DEFAULT false)
    RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_remove_worker'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.remove_worker(text, boolean)
    IS 'remove a worker group that holds no partitions; force: without asking it';

CREATE FUNCTION vecdist.run_on_workers(sql text)
    RETURNS TABLE (worker text, result text)
    AS 'MODULE_PATHNAME', 'vecdist_run_on_workers'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.run_on_workers(text)
    IS 'run statements on the primaries of all workers, in this transaction';

-- Steps of the above on one server.  Options are as in pg_foreign_server and
-- pg_user_mapping; parameters instead of statements keep passwords out of
-- messages.

CREATE FUNCTION vecdist.define_worker(name text, server_options text[],
    mapping_options text[]) RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_define_worker'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.define_worker(text, text[], text[])
    IS 'step of add_worker: server and, unless NULL, user mapping on this server';

CREATE FUNCTION vecdist.check_worker(name text, system_identifier text,
    dbname text) RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_check_worker'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.check_worker(text, text, text)
    IS 'step of add_worker: can this server reach a worker?';

CREATE FUNCTION vecdist.forget_worker(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_forget_worker'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.forget_worker(text)
    IS 'step of remove_worker: drop server and user mappings on this server';

CREATE FUNCTION vecdist.leave_cluster() RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_leave_cluster'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.leave_cluster()
    IS 'step of remove_worker: make this worker a server without cluster';

-- Distributed tables

CREATE FUNCTION vecdist.create_distributed_table(relation regclass,
    partitions integer DEFAULT NULL, workers text[] DEFAULT NULL,
    strategy text DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_create_distributed_table'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.create_distributed_table(regclass, integer, text[], text)
    IS 'make a partitioned table exist on all servers and spread partitions over workers';

CREATE FUNCTION vecdist.create_partition(relation regclass, partition text,
    bound text, worker text) RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_create_partition'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.create_partition(regclass, text, text, text)
    IS 'add a partition of a distributed table, on one worker';

CREATE FUNCTION vecdist.drop_partition(partition regclass,
    force boolean DEFAULT false) RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_drop_partition'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.drop_partition(regclass, boolean)
    IS 'drop a partition of a distributed table, with its rows, on all servers; force: without asking its worker';

REVOKE ALL ON FUNCTION
    vecdist.add_worker(text, text, text, text, text),
    vecdist.remove_worker(text, boolean),
    vecdist.run_on_workers(text),
    vecdist.define_worker(text, text[], text[]),
    vecdist.check_worker(text, text, text),
    vecdist.forget_worker(text),
    vecdist.leave_cluster(),
    vecdist.create_distributed_table(regclass, integer, text[], text),
    vecdist.create_partition(regclass, text, text, text),
    vecdist.drop_partition(regclass, boolean)
    FROM PUBLIC;

-- What there is

CREATE VIEW vecdist.workers AS
    SELECT s.srvname::text AS name,
        (SELECT o.option_value FROM pg_catalog.pg_options_to_table(s.srvoptions) o
            WHERE o.option_name = 'hosts') AS hosts,
        coalesce((SELECT o.option_value FROM pg_catalog.pg_options_to_table(s.srvoptions) o
            WHERE o.option_name = 'dbname'), pg_catalog.current_database()::text) AS dbname,
        EXISTS (SELECT FROM vecdist.local_worker l WHERE l.name = s.srvname) AS is_local,
        CASE WHEN EXISTS (SELECT FROM vecdist.local_worker l WHERE l.name = s.srvname)
            THEN (SELECT count(*) FROM vecdist.distributed_table d,
                    pg_catalog.pg_partition_tree(d.relation) t
                    JOIN pg_catalog.pg_class c ON c.oid = t.relid
                    WHERE c.relkind = 'r')
            ELSE (SELECT count(*) FROM pg_catalog.pg_foreign_table f
                    JOIN pg_catalog.pg_class c ON c.oid = f.ftrelid
                    WHERE f.ftserver = s.oid AND c.relispartition)
        END AS partitions
    FROM pg_catalog.pg_foreign_server s
    JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
    WHERE w.fdwname = 'vecdist_fdw';
COMMENT ON VIEW vecdist.workers IS 'worker groups of the cluster';
COMMENT ON COLUMN vecdist.workers.name IS 'name of the group and of its foreign server';
COMMENT ON COLUMN vecdist.workers.hosts IS 'its servers, primary and standbys in any order';
COMMENT ON COLUMN vecdist.workers.dbname IS 'database on these servers';
COMMENT ON COLUMN vecdist.workers.is_local IS 'is it this server?';
COMMENT ON COLUMN vecdist.workers.partitions IS 'partitions that live there';

CREATE VIEW vecdist.partitions AS
    WITH roots AS (
        SELECT d.relation FROM vecdist.distributed_table d
        UNION
        SELECT pg_catalog.pg_partition_root(f.ftrelid)
        FROM pg_catalog.pg_foreign_table f
        JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
        JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
        JOIN pg_catalog.pg_class c ON c.oid = f.ftrelid
        WHERE w.fdwname = 'vecdist_fdw' AND c.relispartition
    )
    SELECT r.relation,
        t.relid AS partition,
        CASE WHEN c.relkind = 'f' THEN s.srvname::text
            ELSE (SELECT l.name FROM vecdist.local_worker l) END AS worker,
        pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound,
        CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS rows,
        CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_total_relation_size(c.oid) END AS bytes
    FROM roots r
    CROSS JOIN LATERAL pg_catalog.pg_partition_tree(r.relation) t
    JOIN pg_catalog.pg_class c ON c.oid = t.relid
    LEFT JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = c.oid
    LEFT JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
    WHERE t.isleaf;
COMMENT ON VIEW vecdist.partitions IS 'partitions of distributed tables and where they live';
COMMENT ON COLUMN vecdist.partitions.relation IS 'the distributed table';
COMMENT ON COLUMN vecdist.partitions.partition IS 'the partition: a table on its worker, a foreign table elsewhere';
COMMENT ON COLUMN vecdist.partitions.worker IS 'worker it lives on; NULL: on this server, which is no worker';
COMMENT ON COLUMN vecdist.partitions.bound IS 'which rows it takes';
COMMENT ON COLUMN vecdist.partitions.rows IS 'rows as of its last ANALYZE on this server; NULL if there was none';
COMMENT ON COLUMN vecdist.partitions.bytes IS 'size with indexes and TOAST, where the partition lives on this server; else NULL';
GRANT SELECT ON vecdist.workers, vecdist.partitions TO PUBLIC;

CREATE FUNCTION vecdist.connections(
    OUT worker text,
    OUT role regrole,
    OUT primary_only boolean,
    OUT state text,
    OUT server text,
    OUT is_standby boolean,
    OUT pid integer,
    OUT in_transaction boolean,
    OUT prepared_statements integer)
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'vecdist_connections'
    LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION vecdist.connections() IS 'connections of this session to other servers';
CREATE VIEW vecdist.connections AS SELECT * FROM vecdist.connections();
COMMENT ON VIEW vecdist.connections IS 'connections of this session to other servers';
COMMENT ON COLUMN vecdist.connections.worker IS 'worker group';
COMMENT ON COLUMN vecdist.connections.role IS 'role whose user mapping is used';
COMMENT ON COLUMN vecdist.connections.primary_only IS 'false: any server of the group may answer';
COMMENT ON COLUMN vecdist.connections.state IS 'idle, busy, connecting, closed; broken: lost, with a transaction that must abort';
COMMENT ON COLUMN vecdist.connections.server IS 'host:port of the server in use';
COMMENT ON COLUMN vecdist.connections.is_standby IS 'it is a standby';
COMMENT ON COLUMN vecdist.connections.pid IS 'process there, as in its pg_stat_activity';
COMMENT ON COLUMN vecdist.connections.in_transaction IS 'a remote transaction is open';
COMMENT ON COLUMN vecdist.connections.prepared_statements IS 'statements prepared there';
GRANT SELECT ON vecdist.connections TO PUBLIC;

CREATE FUNCTION vecdist.stat_search(
    OUT relation regclass,
    OUT searches bigint,
    OUT failed bigint,
    OUT not_certified bigint,
    OUT messages bigint,
    OUT second_rounds bigint,
    OUT retries bigint,
    OUT rows_received bigint,
    OUT bytes_received bigint,
    OUT rows_returned bigint,
    OUT total_time double precision,
    OUT max_time double precision)
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'vecdist_stat_search'
    LANGUAGE C VOLATILE PARALLEL SAFE ROWS 10;
COMMENT ON FUNCTION vecdist.stat_search() IS 'what distributed searches begun on this server have done, by table';
CREATE VIEW vecdist.stat_search AS SELECT * FROM vecdist.stat_search();
COMMENT ON VIEW vecdist.stat_search IS 'what distributed searches begun on this server have done, by table';
COMMENT ON COLUMN vecdist.stat_search.relation IS 'the table in FROM';
COMMENT ON COLUMN vecdist.stat_search.searches IS 'searches by the distributed top-K scan';
COMMENT ON COLUMN vecdist.stat_search.failed IS 'of these: ended by an error';
COMMENT ON COLUMN vecdist.stat_search.not_certified IS 'of these: answer not proved complete; an error, or vecdist.probes';
COMMENT ON COLUMN vecdist.stat_search.messages IS 'messages to workers';
COMMENT ON COLUMN vecdist.stat_search.second_rounds IS 'of these: for the rest of a large K';
COMMENT ON COLUMN vecdist.stat_search.retries IS 'of these: to another server of the group, after one failed';
COMMENT ON COLUMN vecdist.stat_search.rows_received IS 'rows that workers sent';
COMMENT ON COLUMN vecdist.stat_search.bytes_received IS 'bytes of these rows and of the reports that follow them';
COMMENT ON COLUMN vecdist.stat_search.rows_returned IS 'rows of the merged answers, with those that OFFSET skips';
COMMENT ON COLUMN vecdist.stat_search.total_time IS 'from the first message to the proved answer, in milliseconds';
COMMENT ON COLUMN vecdist.stat_search.max_time IS 'longest of these times';
GRANT SELECT ON vecdist.stat_search TO PUBLIC;

CREATE FUNCTION vecdist.stat_search_reset(relation regclass DEFAULT NULL)
    RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_stat_search_reset'
    LANGUAGE C VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION vecdist.stat_search_reset(regclass)
    IS 'begin to count searches anew: of a table, or of all of this database';
REVOKE ALL ON FUNCTION vecdist.stat_search_reset(regclass) FROM PUBLIC;

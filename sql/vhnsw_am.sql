--
-- vhnsw: options, errors, plans and kinds of indexes.
--
\set VERBOSITY terse

CREATE FUNCTION random_vector(n integer, seed bigint) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg((hashint8extended(i, seed) & 65535) / 65535.0)::vector
    FROM generate_series(1, n) i
$$;

-- Ids of the nearest rows, with the index or without it.
CREATE FUNCTION nearest(query vector, how_many integer, through_index boolean)
RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
    result integer[];
BEGIN
    PERFORM set_config('enable_seqscan', (NOT through_index)::text, true);
    PERFORM set_config('enable_sort', (NOT through_index)::text, true);
    PERFORM set_config('enable_indexscan', through_index::text, true);
    SELECT array_agg(id) INTO result
    FROM (SELECT id FROM items ORDER BY v <-> query LIMIT how_many) s;
    RETURN result;
END
$$;

CREATE FUNCTION agrees() RETURNS boolean LANGUAGE sql AS $$
    SELECT bool_and(nearest(random_vector(8, i), 20, true) =
                    nearest(random_vector(8, i), 20, false))
    FROM generate_series(100001, 100005) i
$$;

SET vhnsw.ef_search = 200;

-- options
CREATE TABLE items (id integer, v vector(8));
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (m = 1);
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (m = 101);
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (ef_construction = 3);
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (ef_construction = 1001);
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (m = 16, ef_construction = 31);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (lists = 5);
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (code_bits = 5);
SET vhnsw.ef_search = 0;
SET vhnsw.ef_search = 1001;
SET vhnsw.iterative_scan = never;
SET vhnsw.no_such_setting = 1;

-- definitions
CREATE INDEX ON items USING vhnsw (v);
CREATE INDEX ON items USING vhnsw (id);
CREATE INDEX ON items USING vhnsw (v vector_l2_ops, v vector_ip_ops);
CREATE UNIQUE INDEX ON items USING vhnsw (v vector_l2_ops);
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) INCLUDE (id);
CREATE TABLE any_length (v vector);
CREATE INDEX ON any_length USING vhnsw (v vector_l2_ops);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON any_length USING vhnsw ((v::vector(8)) vector_l2_ops);
DROP TABLE any_length;
CREATE TABLE long (v vector(16000));
CREATE INDEX ON long USING vhnsw (v vector_l2_ops) WITH (m = 25);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX long_v ON long USING vhnsw (v vector_l2_ops) WITH (m = 24);
INSERT INTO long SELECT random_vector(16000, i) FROM generate_series(1, 3) i;
SELECT dimensions, bits_per_dimension, degree, elements FROM vhnsw_info('long_v');
DROP INDEX long_v;
TRUNCATE long;
ALTER TABLE long ALTER v TYPE vector(8056);
CREATE INDEX long_v ON long USING vhnsw (v vector_l2_ops);
INSERT INTO long SELECT random_vector(8056, i) FROM generate_series(1, 3) i;
SELECT dimensions, bits_per_dimension, degree, elements FROM vhnsw_info('long_v');
DROP TABLE long;

-- bits of codes: by storage, or as the option says where it makes a difference
CREATE TABLE lengths (v8 vector(8), v9 halfvec(9), v64 vector(64), v65 vector(65), v9000 vector(9000), b bit(64));
CREATE INDEX ON lengths USING vhnsw (b bit_hamming_ops) WITH (code_bits = 8);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON lengths USING vhnsw (v9000 vector_l2_ops) WITH (code_bits = 8);
CREATE FUNCTION bits(attribute text, class text, options text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    result integer;
BEGIN
    EXECUTE format('CREATE INDEX lengths_i ON lengths USING vhnsw (%I %I) WITH (%s)', attribute, class, options);
    SELECT bits_per_dimension INTO result FROM vhnsw_info('lengths_i');
    DROP INDEX lengths_i;
    RETURN result;
END
$$;
SELECT attribute, class, options, bits(attribute, class, options)
FROM (VALUES
    ('v64', 'vector_l2_ops', 'storage = compact'),
    ('v65', 'vector_l2_ops', 'storage = auto'),
    ('v65', 'vector_l2_ops', 'storage = fast'),
    ('v65', 'vector_l2_ops', 'storage = compact'),
    ('v65', 'vector_ip_ops', 'storage = compact'),
    ('v65', 'vector_cosine_ops', 'storage = tiny'),
    ('v65', 'vector_l1_ops', 'storage = tiny'),
    ('v65', 'vector_l1_ops', 'code_bits = 4'),
    ('v65', 'vector_l2_ops', 'storage = compact, code_bits = 8'),
    ('v8', 'vector_l2_ops', 'code_bits = 4'),
    ('v9', 'halfvec_l2_ops', 'code_bits = 4'),
    ('v9000', 'vector_l2_ops', 'storage = fast'),
    ('b', 'bit_hamming_ops', 'storage = compact')) t (attribute, class, options);
DROP TABLE lengths;

-- operator classes
SELECT opcname, amvalidate(c.oid)
FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod
WHERE amname = 'vhnsw' ORDER BY 1;

-- m at both ends
INSERT INTO items SELECT i, random_vector(8, i) FROM generate_series(1, 1500) i;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops) WITH (m = 2, ef_construction = 64);
SELECT agrees(), (SELECT count(*) FROM vhnsw_check('items_v')) AS problems;
DROP INDEX items_v;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops) WITH (m = 100, ef_construction = 200);
INSERT INTO items SELECT i, random_vector(8, i) FROM generate_series(1501, 1600) i;
SELECT agrees(), (SELECT count(*) FROM vhnsw_check('items_v')) AS problems;
DROP INDEX items_v;

-- more rows than fit into memory
SET maintenance_work_mem = '1MB';
INSERT INTO items SELECT i, random_vector(8, i) FROM generate_series(1601, 3000) i;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
RESET maintenance_work_mem;
SELECT agrees(), (SELECT count(*) FROM vhnsw_check('items_v')) AS problems;

-- REINDEX, CONCURRENTLY
REINDEX INDEX items_v;
SELECT agrees();
REINDEX INDEX CONCURRENTLY items_v;
SELECT agrees();
DROP INDEX CONCURRENTLY items_v;
CREATE INDEX CONCURRENTLY items_v ON items USING vhnsw (v vector_l2_ops);
SELECT agrees(), (SELECT count(*) FROM vhnsw_check('items_v')) AS problems;
DROP INDEX items_v;

-- partial and expression
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops) WHERE id % 2 = 0;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF)
SELECT id FROM items WHERE id % 2 = 0 ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 5;
EXPLAIN (COSTS OFF)
SELECT id FROM items WHERE id % 2 = 1 ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 5;
SELECT count(*) FROM (SELECT id FROM items WHERE id % 2 = 0
                      ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 5000) s;
DROP INDEX items_v;
CREATE INDEX items_v ON items USING vhnsw ((l2_normalize(v)::vector(8)) vector_ip_ops);
EXPLAIN (COSTS OFF)
SELECT id FROM items ORDER BY l2_normalize(v)::vector(8) <#> '[1,1,1,1,1,1,1,1]' LIMIT 5;
RESET enable_seqscan;
DROP INDEX items_v;

-- the planner: with 10,000 rows, with and without statistics
RESET vhnsw.ef_search;
CREATE TABLE many (id integer, v vector(8));
ALTER TABLE many SET (autovacuum_enabled = off);
INSERT INTO many SELECT i, ('[' || i % 97 || ',' || i % 89 || ',' || i % 83 || ',4,5,6,7,8]')::vector
FROM generate_series(1, 10000) i;
CREATE INDEX many_v ON many USING vhnsw (v vector_l2_ops);
UPDATE pg_class SET reltuples = -1 WHERE oid IN ('many'::regclass, 'many_v'::regclass);
EXPLAIN (COSTS OFF) SELECT id FROM many ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM many ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 100;
ANALYZE many;
EXPLAIN (COSTS OFF) SELECT id FROM many ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 1;
EXPLAIN (COSTS OFF) SELECT id FROM many ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 100;
EXPLAIN (COSTS OFF) SELECT id FROM many WHERE id < 20 ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM many ORDER BY v <-> '[1,1,1,1,1,1,1,1]';
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM many;

-- rows wanted: the answer is as long as it should be
SELECT count(*) FROM (SELECT id FROM many ORDER BY v <-> '[1,1,1,1,1,1,1,1]') s;
SELECT count(*) FROM (SELECT id FROM many ORDER BY v <-> '[1,1,1,1,1,1,1,1]' OFFSET 10) s;
SELECT count(*) FROM (SELECT id FROM many WHERE id % 1000 = 7
                      ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 100) s;
SELECT count(*) FROM (SELECT id FROM many WHERE id % 100 = 7
                      ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 50) s;
SET vhnsw.iterative_scan = relaxed_order;
SELECT count(*) FROM (SELECT id FROM many WHERE id % 1000 = 7
                      ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 100) s;
RESET vhnsw.iterative_scan;

-- a cursor read in pieces returns every row once, in order, if ef leaves none
-- to be found late
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
BEGIN;
SET LOCAL vhnsw.ef_search = 400;
CREATE TEMP TABLE fetched (n serial, id integer) ON COMMIT DROP;
DO $$
DECLARE
    pieces NO SCROLL CURSOR FOR SELECT id FROM items ORDER BY v <-> random_vector(8, 4);
    row_id integer;
BEGIN
    OPEN pieces;
    LOOP
        FETCH pieces INTO row_id;
        EXIT WHEN NOT FOUND;
        INSERT INTO fetched (id) VALUES (row_id);
    END LOOP;
END
$$;
SELECT count(*), count(DISTINCT id) FROM fetched;
SELECT count(*) AS out_of_order
FROM (SELECT d < lag(d) OVER (ORDER BY n) AS fell
      FROM (SELECT n, v <-> random_vector(8, 4) AS d FROM fetched JOIN items USING (id)) s) t
WHERE fell;
COMMIT;

-- LIMIT as a parameter, LATERAL, FOR UPDATE
SET plan_cache_mode = force_generic_plan;
PREPARE top(vector, bigint, bigint) AS
    SELECT id FROM items ORDER BY v <-> $1 LIMIT $2 OFFSET $3;
EXECUTE top(random_vector(8, 77), 2, 0);
EXECUTE top(random_vector(8, 77), 1, 1);
RESET plan_cache_mode;
SELECT q.id, near.id FROM items q,
    LATERAL (SELECT id FROM items ORDER BY v <-> q.v LIMIT 1) near
WHERE q.id IN (5, 6, 7) ORDER BY 1;
SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = 99) LIMIT 1 FOR UPDATE;
DROP TABLE many;
RESET enable_seqscan;

-- unlogged and temporary tables
CREATE UNLOGGED TABLE forgetful (id integer, v vector(3));
CREATE INDEX forgetful_v ON forgetful USING vhnsw (v vector_l2_ops);
INSERT INTO forgetful VALUES (1, '[1,2,3]'), (2, '[1,1,1]'), (3, NULL);
SELECT id FROM forgetful ORDER BY v <-> '[1,1,2]' LIMIT 5;
DROP TABLE forgetful;
CREATE TEMP TABLE passing (id integer, v vector(3));
CREATE INDEX passing_v ON passing USING vhnsw (v vector_cosine_ops);
INSERT INTO passing VALUES (1, '[1,2,3]'), (2, '[1,1,1]'), (3, NULL), (4, '[0,0,0]');
SELECT id FROM passing ORDER BY v <=> '[1,2,2]' LIMIT 5;
TRUNCATE passing;
SELECT id FROM passing ORDER BY v <=> '[1,2,2]' LIMIT 5;
DROP TABLE passing;

-- partitions: an index on the parent has one on each
CREATE TABLE parted (id integer, v vector(3)) PARTITION BY HASH (id);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON parted USING vhnsw (v vector_l2_ops);
INSERT INTO parted SELECT i, ARRAY[i, i * i % 7, 1]::vector FROM generate_series(1, 50) i;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM parted ORDER BY v <-> '[7,1,1]' LIMIT 3;
SELECT id FROM parted ORDER BY v <-> '[7,0,1]' LIMIT 3;
DROP TABLE parted;

DROP TABLE items;
DROP FUNCTION agrees, nearest, random_vector;

--
-- vhnsw: vacuum removes dead rows, repairs the graph and frees places.
--
-- After each step vhnsw_check() compares the index with its invariants and
-- with the table; it returns no row if all is well.
--
SET client_min_messages = warning;

-- n numbers between 0 and 1 that depend on the seed only
CREATE FUNCTION random_vector(n integer, seed bigint) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg((hashint8extended(i, seed) & 65535) / 65535.0)::vector
    FROM generate_series(1, n) i
$$;

-- Every vector is there three times; NULLs, zero and extreme vectors.
CREATE TABLE items (id integer PRIMARY KEY, v vector(8)) WITH (autovacuum_enabled = off);
CREATE FUNCTION fill_items(first integer, last integer) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO items
    SELECT i, CASE
        WHEN i % 100 < 3 THEN NULL
        WHEN i % 100 < 6 THEN array_fill(0, ARRAY[8])::vector
        WHEN i % 100 < 9 THEN (ARRAY[1e20 * i] || array_fill(1, ARRAY[7])::float8[])::vector
        ELSE random_vector(8, i / 3)
    END
    FROM generate_series(first, last) i
$$;
SELECT fill_items(1, 1500);
CREATE INDEX ON items USING vhnsw (v vector_cosine_ops) WITH (m = 4, ef_construction = 32);
CREATE VIEW state AS
    SELECT metric, rows, null_rows, zero_rows, extreme_rows, elements,
           tombstones, unreachable, advice
    FROM vhnsw_info('items_v_idx');
SELECT * FROM vhnsw_check('items_v_idx', true);
SELECT * FROM state;

-- Nothing to do
VACUUM items;
SELECT * FROM vhnsw_check('items_v_idx', true);

-- Some rows of elements that keep others; every kind of row
DELETE FROM items WHERE id % 3 = 1;
VACUUM (INDEX_CLEANUP ON) items;
SELECT * FROM vhnsw_check('items_v_idx', true);
SELECT * FROM state;

-- Whole elements, a fifth of them
DELETE FROM items WHERE id / 3 % 5 = 0;
VACUUM (INDEX_CLEANUP ON) items;
SELECT * FROM vhnsw_check('items_v_idx', true);
SELECT * FROM state;

-- Their places are used again before the index grows.
SELECT pages, free_slots > 0 AS free FROM vhnsw_info('items_v_idx') \gset
SELECT fill_items(3001, 3201);
SELECT pages = :pages AS same_size FROM vhnsw_info('items_v_idx');
SELECT * FROM vhnsw_check('items_v_idx', true);

-- Nearly everything; what is left is found through the graph.
DELETE FROM items WHERE id % 97 <> 3;
VACUUM (INDEX_CLEANUP ON) items;
SELECT * FROM vhnsw_check('items_v_idx', true);
SELECT * FROM state;

-- Everything, then a new beginning with the old pages
DELETE FROM items;
VACUUM (INDEX_CLEANUP ON) items;
SELECT * FROM vhnsw_check('items_v_idx', true);
SELECT * FROM state;
SELECT entries FROM vhnsw_info('items_v_idx');
SELECT fill_items(1, 1500);
SELECT pages = :pages AS same_size FROM vhnsw_info('items_v_idx');
SELECT * FROM vhnsw_check('items_v_idx', true);
SELECT * FROM state;

-- A row that changes its vector has its old place until vacuum.
UPDATE items SET v = random_vector(8, id) WHERE id % 7 = 0;
SELECT * FROM vhnsw_check('items_v_idx', true);
VACUUM (INDEX_CLEANUP ON) items;
SELECT * FROM vhnsw_check('items_v_idx', true);

-- Unlogged, temporary and empty tables
CREATE UNLOGGED TABLE unlogged_items (id integer, v vector(3));
CREATE INDEX unlogged_index ON unlogged_items USING vhnsw (v vector_l2_ops);
VACUUM unlogged_items;
INSERT INTO unlogged_items SELECT i, random_vector(3, i) FROM generate_series(1, 200) i;
DELETE FROM unlogged_items WHERE id % 2 = 0;
VACUUM (INDEX_CLEANUP ON) unlogged_items;
SELECT * FROM vhnsw_check('unlogged_index', true);
CREATE TEMPORARY TABLE temporary_items (id integer, v vector(3));
CREATE INDEX temporary_index ON temporary_items USING vhnsw (v vector_ip_ops);
INSERT INTO temporary_items SELECT i, random_vector(3, i) FROM generate_series(1, 200) i;
DELETE FROM temporary_items WHERE id % 2 = 0;
VACUUM (INDEX_CLEANUP ON) temporary_items;
SELECT * FROM vhnsw_check('temporary_index', true);
SELECT metric, rows, tombstones FROM vhnsw_info('temporary_index');

-- Entries on several pages, more of them than elements that are left
CREATE TABLE few_items (id integer, v vector(600));
INSERT INTO few_items SELECT i, random_vector(600, i) FROM generate_series(1, 100) i;
CREATE INDEX few_index ON few_items USING vhnsw (v vector_l2_ops);
DELETE FROM few_items WHERE id % 9 > 0;
VACUUM (INDEX_CLEANUP ON) few_items;
SELECT * FROM vhnsw_check('few_index', true);
SELECT rows, tombstones FROM vhnsw_info('few_index');

-- Whom the functions are for, and of what
\set VERBOSITY sqlstate
SELECT vhnsw_info('items_pkey');
SELECT vhnsw_check('items');
CREATE TABLE parted (id integer, v vector(3)) PARTITION BY HASH (id);
CREATE INDEX parted_index ON parted USING vhnsw (v vector_l2_ops);
SELECT vhnsw_check('parted_index');
CREATE ROLE regress_vhnsw_other;
SET ROLE regress_vhnsw_other;
SELECT vhnsw_info('items_v_idx');
SELECT vhnsw_check('items_v_idx');
RESET ROLE;
GRANT pg_stat_scan_tables TO regress_vhnsw_other;
SET ROLE regress_vhnsw_other;
SELECT count(*) FROM vhnsw_check('items_v_idx');
SELECT metric FROM vhnsw_info('items_v_idx');
RESET ROLE;
\set VERBOSITY default
DROP ROLE regress_vhnsw_other;
DROP TABLE items, unlogged_items, few_items, parted CASCADE;
DROP FUNCTION random_vector, fill_items;

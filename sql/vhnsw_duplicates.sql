--
-- vhnsw: many equal rows share one element, and a search does not read them all.
--
SET client_min_messages = warning;
SET enable_seqscan = off;

CREATE TABLE equal_rows (id integer, v vector(4)) WITH (autovacuum_enabled = off);
INSERT INTO equal_rows SELECT i, '[1,2,3,4]' FROM generate_series(1, 20000) i;
INSERT INTO equal_rows SELECT 20000 + i, ARRAY[i, 2, 3, 4]::vector FROM generate_series(2, 11) i;
CREATE INDEX ON equal_rows USING vhnsw (v vector_l2_ops);
VACUUM ANALYZE equal_rows;
SELECT elements, rows FROM vhnsw_info('equal_rows_v_idx');

-- ef rows are looked at, not 20,000
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
    SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3,5]' LIMIT 10;
SELECT count(DISTINCT id), count(*) FROM (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3,5]' LIMIT 500) s;

-- what is farther still comes after all of them
SELECT count(*), count(*) FILTER (WHERE id > 20000) FROM
    (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3,5]' LIMIT 20004) s;
SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3,5]' OFFSET 19999 LIMIT 4;

-- a filter that few of them pass
SELECT count(*) FROM (SELECT id FROM equal_rows WHERE id % 1000 = 7 ORDER BY v <-> '[1,2,3,5]' LIMIT 15) s;
SELECT count(*) FROM (SELECT id FROM equal_rows WHERE id % 1000 = 7 ORDER BY v <-> '[1,2,3,5]' LIMIT 30) s;

-- rows that nobody sees any more do not count
DELETE FROM equal_rows WHERE id BETWEEN 51 AND 19990;
SELECT count(*), bool_and(id NOT BETWEEN 51 AND 19990) FROM
    (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3,5]' LIMIT 55) s;
VACUUM equal_rows;
SELECT count(*) FROM (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3,5]' LIMIT 1000) s;
SELECT * FROM vhnsw_check('equal_rows_v_idx', true);

-- a cursor, which may want them all
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3,5]';
MOVE 60 FROM c;
FETCH ALL FROM c;
COMMIT;

-- without the custom scan, and in the sweep that reads everything
SET vhnsw.enable_scan = off;
SELECT count(*) FROM (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3,5]' LIMIT 1000) s;
SELECT count(*) FROM (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3,5]') s;
DROP TABLE equal_rows;

-- Comparison of sparsevecs and its btree operator class.

-- what the catalog says
SELECT oid::regoperator, oprresult::regtype, oprcode,
       oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin
FROM pg_operator
WHERE oprleft = 'sparsevec'::regtype AND oprname NOT IN ('<->', '<#>', '<=>', '<+>')
ORDER BY oprname;

-- as of vectors: by the first element that differs, then by dimensions
SELECT a, b, a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge,
       a > b AS gt, sparsevec_cmp(a, b), sparsevec_cmp(b, a) AS swapped,
       sparsevec_cmp(a, b) = vector_cmp(a::vector, b::vector) AS as_vector
FROM (VALUES ('{1:1,2:2}/2'::sparsevec, '{1:1,2:2}/2'::sparsevec), ('{1:1}/2', '{2:1}/2'), ('{1:-1}/2', '{2:1}/2'),
             ('{1:1}/2', '{1:1}/3'), ('{}/2', '{}/3'), ('{}/3', '{1:-1}/2'), ('{}/2', '{3:-1}/3'), ('{3:1}/3', '{}/1'),
             ('{3:1}/3', '{1:1}/1'), ('{2:5}/2', '{2:5,3:-1}/5'), ('{1:1}/3', '{1:1,3:-1}/3')) AS f (a, b);
SELECT sparsevec_lt('{}/1', '{1:1}/1'), sparsevec_le('{}/1', '{1:1}/1'), sparsevec_eq('{}/1', '{1:1}/1'),
       sparsevec_ne('{}/1', '{1:1}/1'), sparsevec_ge('{}/1', '{1:1}/1'), sparsevec_gt('{}/1', '{1:1}/1');
SELECT NULL::sparsevec = '{}/1' AS eq, '{}/1'::sparsevec < NULL AS lt;

-- All pairs of 40 values of different dimensions, in the order of vectors.
WITH points AS (
    SELECT array_agg((n * n * j % 5 - 2) * (j % 2))::sparsevec AS v
    FROM generate_series(1, 40) AS n, generate_series(1, n % 6 + 1) AS j GROUP BY n)
SELECT count(*), count(*) FILTER (WHERE sparsevec_cmp(a.v, b.v) <> vector_cmp(a.v::vector, b.v::vector)) AS different
FROM points AS a, points AS b;

-- sorting, grouping, distinct; also of values stored out of line
CREATE TABLE sorted (id serial, v sparsevec);
INSERT INTO sorted (v) VALUES ('{1:2}/3'), ('{1:1,3:2}/3'), ('{1:1}/3'), (NULL), ('{2:5}/2'), ('{}/3'), ('{3:2,1:1}/3');
SELECT v FROM sorted ORDER BY v;
SELECT v, count(*) FROM sorted GROUP BY v ORDER BY v DESC;
SELECT count(DISTINCT v) FROM sorted;
SELECT '{1:1}/3'::sparsevec = ANY (ARRAY['{}/3', '{1:1}/3']::sparsevec[]) AS found,
       '{1:1}/3'::sparsevec IN ('{}/3', '{2:1}/3') AS not_found;
INSERT INTO sorted (v) SELECT array_fill(n % 3, ARRAY[3000])::sparsevec FROM generate_series(1, 30) AS n;
SELECT l2_norm(v) = 0 AS zeros, count(*), vector_dims(v)
FROM sorted WHERE vector_dims(v) = 3000 GROUP BY v ORDER BY v;

-- btree index: lookup, range, order, unique
CREATE INDEX sorted_v ON sorted (v) WHERE id < 8;
SET enable_seqscan = off;
SET enable_sort = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM sorted WHERE v = '{1:1,3:2}/3' AND id < 8 ORDER BY v;
SELECT id FROM sorted WHERE v = '{1:1,3:2}/3' AND id < 8 ORDER BY v, id;
SELECT v FROM sorted WHERE v > '{}/3' AND v <= '{1:1,3:2}/3' AND id < 8 ORDER BY v;
RESET enable_seqscan;
RESET enable_sort;
RESET enable_bitmapscan;
CREATE TABLE uniquely (v sparsevec UNIQUE);
INSERT INTO uniquely VALUES ('{1:1}/2'), ('{1:1}/3'), ('{}/2');
INSERT INTO uniquely VALUES ('{1:1,2:0}/2');
\echo :LAST_ERROR_SQLSTATE

-- estimators: an equal value is rare, a range in proportion, others common
CREATE TABLE estimated AS SELECT ARRAY[n]::sparsevec AS v FROM generate_series(1, 1000) AS n;
ANALYZE estimated;
CREATE FUNCTION estimate(condition text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) SELECT FROM estimated WHERE ' || condition INTO plan;
    RETURN plan -> 0 -> 'Plan' -> 'Plan Rows';
END $$;
SELECT estimate($$v = '{1:500}/1'$$) AS eq, estimate($$v <> '{1:500}/1'$$) AS ne,
       estimate($$v < '{1:100}/1'$$) BETWEEN 90 AND 110 AS lt,
       estimate($$v > '{1:700}/1'$$) BETWEEN 290 AND 310 AS gt;

-- no arithmetic, no aggregates
SELECT '{1:1}/2'::sparsevec + '{1:1}/2'::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT avg(v) FROM sorted;
\echo :LAST_ERROR_SQLSTATE

DROP TABLE sorted, uniquely, estimated;
DROP FUNCTION estimate;

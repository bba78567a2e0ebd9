-- avg(vector) and sum(vector): values, NULLs, parallel plans, windows, the
-- functions behind them when called by hand, each error.

SELECT a.aggfnoid::regprocedure, aggtransfn, aggfinalfn, aggcombinefn,
       aggtranstype::regtype, agginitval, proparallel
FROM pg_aggregate AS a JOIN pg_proc AS p ON p.oid = a.aggfnoid
WHERE 'vector'::regtype = ANY (proargtypes) ORDER BY proname;
SELECT oid::regprocedure, prorettype::regtype, provolatile, proisstrict, proparallel
FROM pg_proc WHERE proname IN ('vector_accum', 'vector_combine', 'vector_avg') ORDER BY proname;

-- values
SELECT avg(v), sum(v), count(v) FROM (VALUES ('[1,2,3]'::vector), (NULL), ('[3,5,8]')) AS f (v);
SELECT avg(v), sum(v) FROM (VALUES ('[1.5]'::vector)) AS f (v);
SELECT avg(v), sum(v) FROM (VALUES (NULL::vector), (NULL)) AS f (v);
SELECT avg(v), sum(v) FROM (SELECT '[1]'::vector WHERE false) AS f (v);
SELECT n % 2 AS odd, avg(ARRAY[n, n * n]::vector), sum(ARRAY[n, n * n]::vector)
FROM generate_series(1, 10) AS n GROUP BY n % 2 ORDER BY 1;
SELECT avg(DISTINCT v), sum(v) FILTER (WHERE v > '[2]') FROM (VALUES ('[1]'::vector), ('[1]'), ('[3]')) AS f (v);

-- the average is right where the sum exceeds float4 or would lose digits
SELECT avg(v) FROM (VALUES ('[3e38,16777216]'::vector), ('[3e38,1]'), ('[3e38,1]')) AS f (v);

-- the state is changed in place, the rows are not
CREATE TABLE summed (id integer, g integer, v vector);
INSERT INTO summed SELECT n, n % 3, ARRAY[n, 1, -n]::vector FROM generate_series(1, 12) AS n;
SELECT id, v, sum(v) OVER (ORDER BY id), avg(v) OVER (ORDER BY id ROWS 1 PRECEDING)
FROM summed WHERE id < 6 ORDER BY id;
SELECT g, sum(v), avg(v) FROM summed GROUP BY ROLLUP (g) ORDER BY g;
SELECT sum(s) FROM (SELECT sum(v) AS s FROM summed GROUP BY g) AS f;
SELECT sum(v + v), sum(v), avg(v) FROM summed;
SELECT v FROM summed WHERE id = 1;

-- long values, stored out of line or compressed
CREATE TABLE summed_long AS
SELECT n, array_agg((sin(n * j))::real ORDER BY j)::vector AS v
FROM generate_series(1, 40) AS n, generate_series(1, 2500) AS j GROUP BY n;
SELECT count(*) FILTER (WHERE abs(a - exact) > 1e-7) AS avg, count(*) FILTER (WHERE abs(s - exact * 40) > 1e-5) AS sum, count(*)
FROM (SELECT avg(v)::real[] AS avg, sum(v)::real[] AS sum FROM summed_long) AS f,
    LATERAL unnest(avg, sum) WITH ORDINALITY AS e (a, s, j),
    LATERAL (SELECT avg((v::real[])[j]::float8) FROM summed_long) AS r (exact)
WHERE j % 100 = 1;

-- parallel: the same average, whatever worker saw which row
ALTER TABLE summed_long SET (parallel_workers = 2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM summed_long;
CREATE TABLE in_parallel AS
SELECT avg(v), sum(v), avg(subvector(v, 1, 2)) FILTER (WHERE n < 0) AS none FROM summed_long;
SET max_parallel_workers_per_gather = 0;
SELECT l2_distance(p.avg, s.avg) < 1e-6 AS avg, l2_distance(p.sum, s.sum) < 1e-3 AS sum, none
FROM in_parallel AS p, (SELECT avg(v), sum(v) FROM summed_long) AS s;
RESET max_parallel_workers_per_gather;
RESET min_parallel_table_scan_size;
RESET parallel_tuple_cost;
RESET parallel_setup_cost;

-- errors
SELECT avg(v) FROM (VALUES ('[1,2]'::vector), ('[3]')) AS f (v);
\echo :LAST_ERROR_SQLSTATE
SELECT sum(v) FROM (VALUES ('[1,2]'::vector), ('[3]')) AS f (v);
\echo :LAST_ERROR_SQLSTATE
SELECT sum(v) FROM (VALUES ('[3e38]'::vector), ('[3e38]')) AS f (v);
\echo :LAST_ERROR_SQLSTATE

-- by hand
SELECT vector_accum('{0}', '[1,2]'::vector) AS first, vector_accum('{1,2,3}', '[1,2]'::vector) AS second,
       vector_accum(NULL, '[1]'::vector) AS strict;
SELECT s, vector_accum(s, '[1,1]'::vector), s FROM (SELECT '{1,2,3}'::float8[] OFFSET 0) AS f (s);
SELECT vector_combine('{0}', '{0}') AS none, vector_combine('{0}', '{1,2}') AS left_none,
       vector_combine('{1,2}', '{0}') AS right_none, vector_combine('{1,2}', '{2,3}') AS both;
SELECT s, vector_combine(s, s), s FROM (SELECT '{1,2,3}'::float8[] OFFSET 0) AS f (s);
SELECT vector_avg('{0}') AS none, vector_avg('{2,4,-1}') AS two;
SELECT vector_accum(vector_combine(a, b), '[7]'::vector), vector_avg(vector_combine(a, b))
FROM (SELECT vector_accum('{0}', '[1]'::vector), vector_accum('{0}', '[2]'::vector)) AS f (a, b);

SELECT vector_accum('{1,2}', '[1,2]'::vector);
\echo :LAST_ERROR_SQLSTATE
SELECT vector_accum('{}', '[1]'::vector);
\echo :LAST_ERROR_SQLSTATE
SELECT vector_accum('{{1,2}}', '[1]'::vector);
\echo :LAST_ERROR_SQLSTATE
SELECT vector_accum('{1,NULL}', '[1]'::vector);
\echo :LAST_ERROR_SQLSTATE
SELECT vector_accum('{1,Infinity}', '[1]'::vector);
\echo :LAST_ERROR_SQLSTATE
SELECT vector_combine('{1,2}', '{1,2,3}');
\echo :LAST_ERROR_SQLSTATE
SELECT vector_combine('{1,2}', '{}');
\echo :LAST_ERROR_SQLSTATE
SELECT vector_combine('{1,1.7e308}', '{1,1.7e308}');
\echo :LAST_ERROR_SQLSTATE
SELECT vector_avg('{}');
\echo :LAST_ERROR_SQLSTATE
SELECT vector_avg('{1}');
\echo :LAST_ERROR_SQLSTATE
SELECT vector_avg('{1,4e38}');
\echo :LAST_ERROR_SQLSTATE
SELECT vector_avg('{1,NaN}');
\echo :LAST_ERROR_SQLSTATE
SELECT vector_avg(array_fill(1::float8, ARRAY[16002]));
\echo :LAST_ERROR_SQLSTATE

DROP TABLE summed, summed_long, in_parallel;

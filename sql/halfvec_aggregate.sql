-- avg(halfvec) and sum(halfvec): values, NULLs, parallel plans, windows, the
-- functions behind them when called by hand, each error.

SELECT a.aggfnoid::regprocedure, aggtransfn, aggfinalfn, aggcombinefn,
       aggtranstype::regtype, agginitval, proparallel
FROM pg_aggregate AS a JOIN pg_proc AS p ON p.oid = a.aggfnoid
WHERE 'halfvec'::regtype = ANY (proargtypes) ORDER BY proname;
SELECT oid::regprocedure, prorettype::regtype, provolatile, proisstrict, proparallel
FROM pg_proc WHERE proname IN ('halfvec_accum', 'halfvec_combine', 'halfvec_avg') ORDER BY proname;

-- values
SELECT avg(v), sum(v), count(v) FROM (VALUES ('[1,2,3]'::halfvec), (NULL), ('[3,5,8]')) AS f (v);
SELECT avg(v), sum(v) FROM (VALUES ('[1.5]'::halfvec)) AS f (v);
SELECT avg(v), sum(v) FROM (VALUES (NULL::halfvec), (NULL)) AS f (v);
SELECT avg(v), sum(v) FROM (SELECT '[1]'::halfvec WHERE false) AS f (v);
SELECT n % 2 AS odd, avg(ARRAY[n, n * n]::halfvec), sum(ARRAY[n, n * n]::halfvec)
FROM generate_series(1, 10) AS n GROUP BY n % 2 ORDER BY 1;
SELECT avg(DISTINCT v), sum(v) FILTER (WHERE v > '[2]') FROM (VALUES ('[1]'::halfvec), ('[1]'), ('[3]')) AS f (v);

-- the average is right where the sum exceeds a half or would lose digits;
-- sum(halfvec) is rounded to half precision with every value
SELECT avg(v) FROM (VALUES ('[60000,2048]'::halfvec), ('[60000,1]'), ('[60000,1]')) AS f (v);
SELECT sum(v ORDER BY v DESC) FROM (VALUES ('[2048]'::halfvec), ('[1]'), ('[1]')) AS f (v);

-- the state is changed in place, the rows are not
CREATE TABLE summed (id integer, g integer, v halfvec);
INSERT INTO summed SELECT n, n % 3, ARRAY[n, 1, -n]::halfvec FROM generate_series(1, 12) AS n;
SELECT id, v, sum(v) OVER (ORDER BY id), avg(v) OVER (ORDER BY id ROWS 1 PRECEDING)
FROM summed WHERE id < 6 ORDER BY id;
SELECT g, sum(v), avg(v) FROM summed GROUP BY ROLLUP (g) ORDER BY g;
SELECT sum(s) FROM (SELECT sum(v) AS s FROM summed GROUP BY g) AS f;
SELECT sum(v + v), sum(v), avg(v) FROM summed;
SELECT v FROM summed WHERE id = 1;

-- long values, stored out of line or compressed
CREATE TABLE summed_long AS
SELECT n, array_agg((sin(n * j))::real ORDER BY j)::halfvec AS v
FROM generate_series(1, 40) AS n, generate_series(1, 2500) AS j GROUP BY n;
SELECT count(*) FILTER (WHERE abs(a - exact) > 2.5e-4) AS avg, count(*) FILTER (WHERE abs(s - exact * 40) > 0.1) AS sum, count(*)
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
SELECT p.avg = s.avg AS avg, l1_distance(p.sum, s.sum) < 0.02 * vector_dims(p.sum) AS sum, none
FROM in_parallel AS p, (SELECT avg(v), sum(v) FROM summed_long) AS s;
RESET max_parallel_workers_per_gather;
RESET min_parallel_table_scan_size;
RESET parallel_tuple_cost;
RESET parallel_setup_cost;

-- errors
SELECT avg(v) FROM (VALUES ('[1,2]'::halfvec), ('[3]')) AS f (v);
\echo :LAST_ERROR_SQLSTATE
SELECT sum(v) FROM (VALUES ('[1,2]'::halfvec), ('[3]')) AS f (v);
\echo :LAST_ERROR_SQLSTATE
SELECT sum(v) FROM (VALUES ('[60000]'::halfvec), ('[60000]')) AS f (v);
\echo :LAST_ERROR_SQLSTATE

-- by hand
SELECT halfvec_accum('{0}', '[1,2]'::halfvec) AS first, halfvec_accum('{1,2,3}', '[1,2]'::halfvec) AS second,
       halfvec_accum(NULL, '[1]'::halfvec) AS strict;
SELECT s, halfvec_accum(s, '[1,1]'::halfvec), s FROM (SELECT '{1,2,3}'::float8[] OFFSET 0) AS f (s);
SELECT halfvec_combine('{0}', '{0}') AS none, halfvec_combine('{0}', '{1,2}') AS left_none,
       halfvec_combine('{1,2}', '{0}') AS right_none, halfvec_combine('{1,2}', '{2,3}') AS both;
SELECT s, halfvec_combine(s, s), s FROM (SELECT '{1,2,3}'::float8[] OFFSET 0) AS f (s);
SELECT halfvec_avg('{0}') AS none, halfvec_avg('{2,4,-1}') AS two;
SELECT halfvec_accum(halfvec_combine(a, b), '[7]'::halfvec), halfvec_avg(halfvec_combine(a, b))
FROM (SELECT halfvec_accum('{0}', '[1]'::halfvec), halfvec_accum('{0}', '[2]'::halfvec)) AS f (a, b);

SELECT halfvec_accum('{1,2}', '[1,2]'::halfvec);
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_accum('{}', '[1]'::halfvec);
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_accum('{{1,2}}', '[1]'::halfvec);
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_accum('{1,NULL}', '[1]'::halfvec);
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_accum('{1,Infinity}', '[1]'::halfvec);
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_combine('{1,2}', '{1,2,3}');
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_combine('{1,2}', '{}');
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_combine('{1,1.7e308}', '{1,1.7e308}');
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_avg('{}');
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_avg('{1}');
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_avg('{1,65520}');
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_avg('{1,NaN}');
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_avg(array_fill(1::float8, ARRAY[16002]));
\echo :LAST_ERROR_SQLSTATE

DROP TABLE summed, summed_long, in_parallel;

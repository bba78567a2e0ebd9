-- Operators and functions of type vector other than distances: comparison and
-- its btree operator class, arithmetic, parts, signs; each error.

-- what the catalog says
SELECT oid::regoperator, oprresult::regtype, oprcode,
       oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin
FROM pg_operator
WHERE oprleft = 'vector'::regtype AND oprname NOT IN ('<->', '<#>', '<=>', '<+>')
ORDER BY oprname;
SELECT oid::regprocedure, prorettype::regtype, provolatile, proisstrict, proparallel
FROM pg_proc
WHERE 'vector'::regtype = ANY (proargtypes) AND prokind = 'f'
    AND proname ~ '^(vector_(lt|le|eq|ne|ge|gt|cmp|add|sub|mul|concat|spherical_distance)|subvector|binary_quantize)$'
ORDER BY proname;
SELECT amopstrategy, amopopr::regoperator
FROM pg_amop JOIN pg_opfamily AS f ON f.oid = amopfamily
WHERE opfname = 'vector_ops' ORDER BY 1;
SELECT opcname, opcdefault, opcintype::regtype, amname
FROM pg_opclass JOIN pg_am AS a ON a.oid = opcmethod
WHERE opcname = 'vector_ops';

-- comparison: by the first element that differs, then by length; -0 equals 0
SELECT a, b, a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge,
       a > b AS gt, vector_cmp(a, b), vector_cmp(b, a) AS swapped
FROM (VALUES ('[1,2]'::vector, '[1,2]'::vector), ('[1,2]', '[1,3]'), ('[1,2]', '[1,2,-5]'),
             ('[2]', '[1,9,9]'), ('[0]', '[-0]'), ('[-1e-45]', '[0]'),
             ('[3.4e38]', '[-3.4e38]')) AS f (a, b);
SELECT vector_lt('[1]'::vector, '[2]'), vector_le('[1]'::vector, '[2]'), vector_eq('[1]'::vector, '[2]'),
       vector_ne('[1]'::vector, '[2]'), vector_ge('[1]'::vector, '[2]'), vector_gt('[1]'::vector, '[2]');
SELECT NULL::vector = '[1]' AS eq, '[1]'::vector < NULL AS lt;

-- sorting, grouping, distinct; also of values stored out of line
CREATE TABLE sorted (id serial, v vector);
INSERT INTO sorted (v) VALUES ('[2]'), ('[1,2]'), ('[1]'), (NULL), ('[-0,5]'), ('[0,4]'), ('[1,2]');
SELECT v FROM sorted ORDER BY v;
SELECT v FROM sorted ORDER BY v DESC;
SELECT v, count(*) FROM sorted GROUP BY v ORDER BY v;
SELECT count(DISTINCT v) FROM sorted;
SELECT '[1,2]'::vector = ANY (ARRAY['[1]', '[1,2]']::vector[]) AS found,
       '[1,2]'::vector IN ('[1]', '[2]') AS not_found, ROW('[1]'::vector) < ROW('[2]'::vector) AS rows;
INSERT INTO sorted (v) SELECT array_fill(n % 3, ARRAY[3000])::vector FROM generate_series(1, 30) AS n;
SELECT v::real[] = array_fill(0, ARRAY[3000])::real[] AS zeros, count(*), vector_dims(v)
FROM sorted WHERE vector_dims(v) = 3000 GROUP BY v ORDER BY v;

-- btree index: lookup, range, order, unique
CREATE INDEX sorted_v ON sorted (v) WHERE id < 8;
SET enable_seqscan = off;
SET enable_sort = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM sorted WHERE v = '[1,2]' AND id < 8 ORDER BY v;
SELECT id FROM sorted WHERE v = '[1,2]' AND id < 8 ORDER BY v, id;
SELECT v FROM sorted WHERE v > '[0,4]' AND v <= '[1,2]' AND id < 8 ORDER BY v;
RESET enable_seqscan;
RESET enable_sort;
RESET enable_bitmapscan;
CREATE TABLE uniquely (v vector UNIQUE);
INSERT INTO uniquely VALUES ('[1,2]'), ('[1]'), ('[1,3]');
INSERT INTO uniquely VALUES ('[1,2.0]');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO uniquely VALUES ('[1,2]') ON CONFLICT DO NOTHING;
SELECT * FROM uniquely ORDER BY v;

-- estimators: an equal value is rare, a range in proportion, others common
CREATE TABLE estimated AS SELECT ARRAY[n]::vector AS v FROM generate_series(1, 1000) AS n;
ANALYZE estimated;
CREATE FUNCTION estimate(condition text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) SELECT FROM estimated WHERE ' || condition INTO plan;
    RETURN plan -> 0 -> 'Plan' -> 'Plan Rows';
END $$;
SELECT estimate($$v = '[500]'$$) AS eq, estimate($$v <> '[500]'$$) AS ne,
       estimate($$v < '[100]'$$) BETWEEN 90 AND 110 AS lt,
       estimate($$v <= '[200]'$$) BETWEEN 190 AND 210 AS le,
       estimate($$v > '[700]'$$) BETWEEN 290 AND 310 AS gt,
       estimate($$v >= '[600]'$$) BETWEEN 390 AND 410 AS ge;

-- arithmetic, element by element
SELECT '[1,2,3]'::vector + '[4,5,6.5]' AS add, '[1,2,3]'::vector - '[4,5,6.5]' AS sub,
       '[1,2,3]'::vector * '[4,-5,6.5]' AS mul, '[1,2]'::vector || '[3]' AS concat;
SELECT vector_add('[1]'::vector, '[2]'::vector), vector_sub('[1]'::vector, '[2]'::vector),
       vector_mul('[3]'::vector, '[2]'::vector), vector_concat('[1]'::vector, '[2]'::vector);
SELECT '[0,1e-40]'::vector * '[1e-40,0]' AS zero_times, '[1e-40]'::vector * '[0.5]' AS subnormal,
       '[1e-45]'::vector - '[1e-45]' AS nothing, '[3.4e38]'::vector + '[-3.4e38]' AS huge;
SELECT NULL::vector + '[1]' AS add, '[1]'::vector || NULL AS concat;
SELECT n, vector_dims(v + w),
       (v + w)::real[] = (SELECT array_agg(x + y) FROM unnest(v::real[], w::real[]) AS u (x, y)) AS add,
       (v - w)::real[] = (SELECT array_agg(x - y) FROM unnest(v::real[], w::real[]) AS u (x, y)) AS sub,
       (v * w)::real[] = (SELECT array_agg(x * y) FROM unnest(v::real[], w::real[]) AS u (x, y)) AS mul,
       (v || w)::real[] = v::real[] || w::real[] AS concat
FROM unnest(ARRAY[1, 3, 4, 5, 8, 15, 100, 1001, 8000]) AS n,
    LATERAL (SELECT array_agg((sin(n + j) * 10)::real)::vector, array_agg((cos(n * j) / 3)::real)::vector
             FROM generate_series(1, n) AS j) AS f (v, w);

-- arguments are left as they were
SELECT v, v + v AS twice, v FROM (SELECT '[1,2]'::vector OFFSET 0) AS f (v);

-- ... and its errors
SELECT '[1,3e38]'::vector + '[1,3e38]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[-3e38]'::vector - '[3e38]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,1,1e20]'::vector * '[1,1,-1e20]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,1e-30]'::vector * '[1,1e-30]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1e-30,1e30]'::vector * '[1e-30,1e30]';      -- the first one
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::vector + '[1]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::vector - '[1]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::vector * '[1]';
\echo :LAST_ERROR_SQLSTATE
SELECT vector_dims(array_fill(0, ARRAY[16000])::vector || '[1]');
\echo :LAST_ERROR_SQLSTATE

-- subvector: a start below 1 counts elements that are not there
SELECT start, count, subvector('[1,2,3,4,5]'::vector, start, count)
FROM (VALUES (1, 3), (3, 2), (5, 1), (1, 5), (4, 100), (-1, 3), (0, 2), (-5, 11),
             (2, 2147483647), (-1, 2147483647)) AS f (start, count);
SELECT subvector(NULL::vector, 1, 1) AS v, subvector('[1]'::vector, NULL, 1) AS start;
SELECT subvector('[1,2,3]'::vector, 1, 0);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::vector, 1, -1);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::vector, 4, 1);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::vector, 0, 1);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::vector, 2147483647, 2147483647);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::vector, -2147483648, 2147483647);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::vector, -2147483648, -2147483648);
\echo :LAST_ERROR_SQLSTATE

-- signs
SELECT binary_quantize('[1,0,-1]'::vector) AS three, binary_quantize('[0]'::vector) AS zero,
       binary_quantize('[1,-0,1e-45,-1e-45,3,4,-5,6]'::vector) AS eight,
       binary_quantize('[1,1,1,1,1,1,1,1,1]'::vector) AS nine,
       pg_typeof(binary_quantize('[1]'::vector));
SELECT count(*) FILTER (WHERE binary_quantize(v)::text <> signs) AS wrong, count(*)
FROM generate_series(1, 70) AS n, LATERAL (
    SELECT array_agg(sin(n * 7 + j)::real)::vector,
           string_agg(CASE WHEN sin(n * 7 + j) > 0 THEN '1' ELSE '0' END, '' ORDER BY j)
    FROM generate_series(1, n) AS j) AS f (v, signs);
SELECT binary_quantize('[1,-1,1]'::vector) <~> binary_quantize('[1,1,-1]'::vector) AS hamming;

-- angle divided by pi; what is out of range counts as the end of the range
SELECT vector_spherical_distance('[1,0]'::vector, '[0,1]'::vector) AS right_angle,
       vector_spherical_distance('[1,0]'::vector, '[-1,0]'::vector) AS opposite,
       vector_spherical_distance('[1,0]'::vector, '[1,0]'::vector) AS same,
       vector_spherical_distance('[2,0]'::vector, '[2,0]'::vector) AS longer,
       vector_spherical_distance('[2,0]'::vector, '[-2,0]'::vector) AS longer_opposite,
       vector_spherical_distance('[0,0]'::vector, '[1,0]'::vector) AS zero,
       vector_spherical_distance('[3e38]'::vector, '[3e38]'::vector) AS infinite;
SELECT round(vector_spherical_distance('[0.5,0.8660254]'::vector, '[1,0]'::vector)::numeric, 6) AS third;
SELECT vector_spherical_distance('[1,0]'::vector, '[1]'::vector);
\echo :LAST_ERROR_SQLSTATE

DROP TABLE sorted, uniquely, estimated;
DROP FUNCTION estimate;

-- Operators and functions of type halfvec other than distances: comparison and
-- its btree operator class, arithmetic, parts, signs; each error.

-- what the catalog says
SELECT oid::regoperator, oprresult::regtype, oprcode,
       oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin
FROM pg_operator
WHERE oprleft = 'halfvec'::regtype AND oprname NOT IN ('<->', '<#>', '<=>', '<+>')
ORDER BY oprname;
SELECT oid::regprocedure, prorettype::regtype, provolatile, proisstrict, proparallel
FROM pg_proc
WHERE 'halfvec'::regtype = ANY (proargtypes) AND prokind = 'f'
    AND proname ~ '^(halfvec_(lt|le|eq|ne|ge|gt|cmp|add|sub|mul|concat|spherical_distance)|subvector|binary_quantize)$'
ORDER BY proname;
SELECT amopstrategy, amopopr::regoperator
FROM pg_amop JOIN pg_opfamily AS f ON f.oid = amopfamily
WHERE opfname = 'halfvec_ops' ORDER BY 1;
SELECT opcname, opcdefault, opcintype::regtype, amname
FROM pg_opclass JOIN pg_am AS a ON a.oid = opcmethod
WHERE opcname = 'halfvec_ops';

-- comparison: by the first element that differs, then by length; -0 equals 0
SELECT a, b, a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge,
       a > b AS gt, halfvec_cmp(a, b), halfvec_cmp(b, a) AS swapped
FROM (VALUES ('[1,2]'::halfvec, '[1,2]'::halfvec), ('[1,2]', '[1,3]'), ('[1,2]', '[1,2,-5]'),
             ('[2]', '[1,9,9]'), ('[0]', '[-0]'), ('[-6e-8]', '[0]'),
             ('[65504]', '[-65504]')) AS f (a, b);
SELECT halfvec_lt('[1]'::halfvec, '[2]'), halfvec_le('[1]'::halfvec, '[2]'), halfvec_eq('[1]'::halfvec, '[2]'),
       halfvec_ne('[1]'::halfvec, '[2]'), halfvec_ge('[1]'::halfvec, '[2]'), halfvec_gt('[1]'::halfvec, '[2]');
SELECT NULL::halfvec = '[1]' AS eq, '[1]'::halfvec < NULL AS lt;

-- sorting, grouping, distinct; also of values stored out of line
CREATE TABLE sorted (id serial, v halfvec);
INSERT INTO sorted (v) VALUES ('[2]'), ('[1,2]'), ('[1]'), (NULL), ('[-0,5]'), ('[0,4]'), ('[1,2]');
SELECT v FROM sorted ORDER BY v;
SELECT v FROM sorted ORDER BY v DESC;
SELECT v, count(*) FROM sorted GROUP BY v ORDER BY v;
SELECT count(DISTINCT v) FROM sorted;
SELECT '[1,2]'::halfvec = ANY (ARRAY['[1]', '[1,2]']::halfvec[]) AS found,
       '[1,2]'::halfvec IN ('[1]', '[2]') AS not_found, ROW('[1]'::halfvec) < ROW('[2]'::halfvec) AS rows;
INSERT INTO sorted (v) SELECT array_fill(n % 3, ARRAY[3000])::halfvec FROM generate_series(1, 30) AS n;
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
CREATE TABLE uniquely (v halfvec UNIQUE);
INSERT INTO uniquely VALUES ('[1,2]'), ('[1]'), ('[1,3]');
INSERT INTO uniquely VALUES ('[1,2.0]');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO uniquely VALUES ('[1,2]') ON CONFLICT DO NOTHING;
SELECT * FROM uniquely ORDER BY v;

-- estimators: an equal value is rare, a range in proportion, others common
CREATE TABLE estimated AS SELECT ARRAY[n]::halfvec AS v FROM generate_series(1, 1000) AS n;
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
SELECT '[1,2,3]'::halfvec + '[4,5,6.5]' AS add, '[1,2,3]'::halfvec - '[4,5,6.5]' AS sub,
       '[1,2,3]'::halfvec * '[4,-5,6.5]' AS mul, '[1,2]'::halfvec || '[3]' AS concat;
SELECT halfvec_add('[1]'::halfvec, '[2]'::halfvec), halfvec_sub('[1]'::halfvec, '[2]'::halfvec),
       halfvec_mul('[3]'::halfvec, '[2]'::halfvec), halfvec_concat('[1]'::halfvec, '[2]'::halfvec);
SELECT '[0,6e-8]'::halfvec * '[6e-8,0]' AS zero_times, '[6e-8,1e-5]'::halfvec * '[0.75,0.5]' AS subnormal,
       '[6e-8]'::halfvec - '[6e-8]' AS nothing, '[65504]'::halfvec + '[-65504]' AS huge;
SELECT NULL::halfvec + '[1]' AS add, '[1]'::halfvec || NULL AS concat;
SELECT n, vector_dims(v + w),
       (v + w) = (SELECT array_agg(x + y) FROM unnest(v::real[], w::real[]) AS u (x, y))::halfvec AS add,
       (v - w) = (SELECT array_agg(x - y) FROM unnest(v::real[], w::real[]) AS u (x, y))::halfvec AS sub,
       (v * w) = (SELECT array_agg(x * y) FROM unnest(v::real[], w::real[]) AS u (x, y))::halfvec AS mul,
       (v || w)::real[] = v::real[] || w::real[] AS concat
FROM unnest(ARRAY[1, 3, 4, 5, 8, 15, 100, 511, 512, 513, 1001, 8000]) AS n,
    LATERAL (SELECT array_agg((sin(n + j) * 10)::real)::halfvec, array_agg((cos(n * j) / 3)::real)::halfvec
             FROM generate_series(1, n) AS j) AS f (v, w);

-- arguments are left as they were
SELECT v, v + v AS twice, v FROM (SELECT '[1,2]'::halfvec OFFSET 0) AS f (v);

-- rounded to nearest, ties to even
SELECT '[2048,2050,65488]'::halfvec + '[1,1,15]' AS add, '[2051]'::halfvec * '[1.0009766]' AS mul;

-- ... and its errors
SELECT '[1,65504]'::halfvec + '[1,16]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[-65504]'::halfvec - '[65504]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,1,256]'::halfvec * '[1,1,-256]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,1e-4]'::halfvec * '[1,1e-4]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::halfvec + '[1]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::halfvec - '[1]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::halfvec * '[1]';
\echo :LAST_ERROR_SQLSTATE
SELECT vector_dims(array_fill(0, ARRAY[16000])::halfvec || '[1]');
\echo :LAST_ERROR_SQLSTATE

-- subvector: a start below 1 counts elements that are not there
SELECT start, count, subvector('[1,2,3,4,5]'::halfvec, start, count)
FROM (VALUES (1, 3), (3, 2), (5, 1), (1, 5), (4, 100), (-1, 3), (0, 2), (-5, 11),
             (2, 2147483647), (-1, 2147483647)) AS f (start, count);
SELECT subvector(NULL::halfvec, 1, 1) AS v, subvector('[1]'::halfvec, NULL, 1) AS start;
SELECT subvector('[1,2,3]'::halfvec, 1, 0);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::halfvec, 1, -1);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::halfvec, 4, 1);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::halfvec, 0, 1);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::halfvec, 2147483647, 2147483647);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::halfvec, -2147483648, 2147483647);
\echo :LAST_ERROR_SQLSTATE
SELECT subvector('[1,2,3]'::halfvec, -2147483648, -2147483648);
\echo :LAST_ERROR_SQLSTATE

-- signs
SELECT binary_quantize('[1,0,-1]'::halfvec) AS three, binary_quantize('[0]'::halfvec) AS zero,
       binary_quantize('[1,-0,6e-8,-6e-8,3,4,-5,6]'::halfvec) AS eight,
       binary_quantize('[1,1,1,1,1,1,1,1,1]'::halfvec) AS nine,
       pg_typeof(binary_quantize('[1]'::halfvec));
SELECT count(*) FILTER (WHERE binary_quantize(v)::text <> signs) AS wrong, count(*)
FROM generate_series(1, 70) AS n, LATERAL (
    SELECT array_agg(sin(n * 7 + j)::real)::halfvec,
           string_agg(CASE WHEN sin(n * 7 + j) > 0 THEN '1' ELSE '0' END, '' ORDER BY j)
    FROM generate_series(1, n) AS j) AS f (v, signs);
SELECT binary_quantize('[1,-1,1]'::halfvec) <~> binary_quantize('[1,1,-1]'::halfvec) AS hamming;

-- angle divided by pi; what is out of range counts as the end of the range
SELECT halfvec_spherical_distance('[1,0]'::halfvec, '[0,1]'::halfvec) AS right_angle,
       halfvec_spherical_distance('[1,0]'::halfvec, '[-1,0]'::halfvec) AS opposite,
       halfvec_spherical_distance('[1,0]'::halfvec, '[1,0]'::halfvec) AS same,
       halfvec_spherical_distance('[2,0]'::halfvec, '[2,0]'::halfvec) AS longer,
       halfvec_spherical_distance('[2,0]'::halfvec, '[-2,0]'::halfvec) AS longer_opposite,
       halfvec_spherical_distance('[0,0]'::halfvec, '[1,0]'::halfvec) AS zero,
       halfvec_spherical_distance('[65504]'::halfvec, '[65504]'::halfvec) AS largest;
SELECT round(halfvec_spherical_distance('[0.5,0.8660254]'::halfvec, '[1,0]'::halfvec)::numeric, 6) AS third;
SELECT halfvec_spherical_distance('[1,0]'::halfvec, '[1]'::halfvec);
\echo :LAST_ERROR_SQLSTATE

DROP TABLE sorted, uniquely, estimated;
DROP FUNCTION estimate;

-- Distances between vectors, norms: known values, edges, errors, and that the
-- instruction set in use does not change a bit of any result.

-- operators and their functions
SELECT '[0,0]'::vector <-> '[3,4]' AS l2, '[1,2]'::vector <#> '[3,4]' AS ip,
       '[1,0]'::vector <=> '[0,2]' AS cosine, '[0,0]'::vector <+> '[3,-4]' AS l1;
SELECT l2_distance('[0,0]'::vector, '[3,4]'), vector_l2_squared_distance('[0,0]', '[3,4]'),
       inner_product('[1,2]'::vector, '[3,4]'), vector_negative_inner_product('[1,2]', '[3,4]'),
       cosine_distance('[1,2]'::vector, '[2,4]'), l1_distance('[0,0]'::vector, '[3,-4]');
SELECT oid::regoperator, oprresult::regtype, oprcode, oprcom = oid AS commutes
FROM pg_operator
WHERE oprleft = 'vector'::regtype AND oprname IN ('<->', '<#>', '<=>', '<+>')
ORDER BY oprname;

-- any length, also beyond what one round of a kernel takes
SELECT n, a <-> b AS l2, a <#> b AS ip, a <+> b AS l1
FROM (VALUES (1), (2), (7), (8), (9), (31), (32), (33), (100), (1024), (1025), (16000)) AS s (n),
    LATERAL (SELECT array_fill(1, ARRAY[n])::vector, array_fill(3, ARRAY[n])::vector) AS v (a, b);

-- cosine distance: 0 to 2, NaN for a vector of length zero
SELECT '[1,1]'::vector <=> '[1,1]' AS same, '[1,1]'::vector <=> '[1.1,1.1]' AS parallel,
       '[1,1]'::vector <=> '[-1.1,-1.1]' AS opposite,
       '[1,2,3,4,5,6,7,8,9]'::vector <=> '[-1,-2,-3,-4,-5,-6,-7,-8,-9]' AS also_opposite;
SELECT '[1,1]'::vector <=> '[0,0]' AS zero, '[0,0]'::vector <=> '[0,0]' AS both_zero;

-- NaN sorts after every distance, NULL after it
SELECT v FROM (VALUES ('[0,0]'::vector), (NULL), ('[-1,-1]'), ('[1,1]')) AS f (v)
ORDER BY v <=> '[1,1]';

-- terms are float4: what does not fit is infinite, never an error
SELECT '[3e38]'::vector <-> '[-3e38]' AS l2, '[3e38]'::vector <#> '[3e38]' AS ip,
       '[3e38]'::vector <+> '[-3e38]' AS l1, '[3e38]'::vector <=> '[3e38]' AS cosine;

-- strict
SELECT NULL::vector <-> '[1]' AS l2, '[1]'::vector <=> NULL AS cosine;

-- different lengths
SELECT '[1,2]'::vector <-> '[3]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::vector <#> '[3]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::vector <=> '[3]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::vector <+> '[3]';
\echo :LAST_ERROR_SQLSTATE
SELECT vector_l2_squared_distance('[1,2]', '[3]');
\echo :LAST_ERROR_SQLSTATE

-- dimensions and norm; the norm never overflows
SELECT vector_dims('[1,2,3]'::vector), vector_norm('[3,4]'), vector_norm('[0]'),
       vector_norm('[-2]') AS negative, vector_norm('[3e38,3e38]') AS huge,
       vector_norm('[1e-45]') AS tiny;
SELECT l2_normalize('[3,4]'::vector), l2_normalize('[0,-0.1]'::vector),
       l2_normalize('[0,0]'::vector) AS zero, l2_normalize('[3e38,0]'::vector) AS huge,
       l2_normalize('[0,1e-45]'::vector) AS tiny;

-- Compressed, external and short values are all read: the same vectors once
-- as literals and once from tables.
CREATE TABLE stored (v vector);
INSERT INTO stored
SELECT array_agg(sin(n * j)::real)::vector
FROM unnest(ARRAY[3, 100, 1000, 5000]) AS n, generate_series(1, n) AS j GROUP BY n;
CREATE TABLE inline_only (LIKE stored);
ALTER TABLE inline_only ALTER v SET STORAGE main, ALTER v SET COMPRESSION pglz;
INSERT INTO inline_only SELECT v FROM stored WHERE vector_dims(v) < 1500;
SELECT vector_dims(s.v), s.v <-> i.v AS l2, s.v <=> i.v AS cosine,
       vector_send(s.v) = vector_send(s.v::text::vector) AS same
FROM stored AS s LEFT JOIN inline_only AS i ON vector_dims(s.v) = vector_dims(i.v)
ORDER BY 1;

-- The same bits from every instruction set.  md5 over all results would also
-- notice a difference in the last place.
CREATE TABLE pairs AS
SELECT n, a, b FROM generate_series(1, 150) AS n,
    LATERAL (SELECT array_agg((sin(n * 31 + j) * 2.0 ^ (j % 9))::real)::vector,
                    array_agg((cos(n * 17 + j * j) * 3)::real)::vector
             FROM generate_series(1, n * 7) AS j) AS v (a, b);
CREATE VIEW results AS
SELECT md5(string_agg(concat_ws(' ', a <-> b, a <#> b, a <=> b, a <+> b,
    vector_norm(a), l2_normalize(b)), ',' ORDER BY n)) AS bits FROM pairs;
SET vecdist.simd = scalar;
SHOW vecdist.simd;
SELECT bits AS scalar_bits FROM results \gset
SET vecdist.simd = auto;
SELECT bits = :'scalar_bits' AS same_bits FROM results;
\set VERBOSITY terse
SET vecdist.simd = quantum;
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
RESET vecdist.simd;

-- Against the definitions, in float8.
SELECT count(*) FILTER (WHERE abs((a <-> b) - sqrt(l2)) > 2e-6 * sqrt(l2)) AS l2,
       count(*) FILTER (WHERE abs((a <#> b) + ip) > 2.1e-6 * terms) AS ip,
       count(*) FILTER (WHERE abs((a <=> b) - (1 - ip / sqrt(aa * bb))) > 1e-5) AS cosine,
       count(*) FILTER (WHERE abs((a <+> b) - l1) > 2.1e-6 * l1) AS l1,
       count(*) FILTER (WHERE abs(vector_norm(a) - sqrt(aa)) > 1e-12 * sqrt(aa)) AS norm
FROM pairs, LATERAL (
    SELECT sum((x - y) ^ 2), sum(x * y), sum(abs(x * y)), sum(abs(x - y)), sum(x * x), sum(y * y)
    FROM unnest(a::real[]::double precision[], b::real[]::double precision[]) AS e (x, y)
) AS d (l2, ip, terms, l1, aa, bb);

DROP VIEW results;
DROP TABLE stored, inline_only, pairs;

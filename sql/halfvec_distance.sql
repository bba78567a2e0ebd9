-- Distances between halfvecs, norms: known values, edges, errors, and that
-- every distance has the bits of the one between vectors of the same values,
-- with every instruction set.

-- operators and their functions
SELECT '[0,0]'::halfvec <-> '[3,4]' AS l2, '[1,2]'::halfvec <#> '[3,4]' AS ip,
       '[1,0]'::halfvec <=> '[0,2]' AS cosine, '[0,0]'::halfvec <+> '[3,-4]' AS l1;
SELECT l2_distance('[0,0]'::halfvec, '[3,4]'), halfvec_l2_squared_distance('[0,0]', '[3,4]'),
       inner_product('[1,2]'::halfvec, '[3,4]'), halfvec_negative_inner_product('[1,2]', '[3,4]'),
       cosine_distance('[1,2]'::halfvec, '[2,4]'), l1_distance('[0,0]'::halfvec, '[3,-4]');
SELECT oid::regoperator, oprresult::regtype, oprcode, oprcom = oid AS commutes
FROM pg_operator
WHERE oprleft = 'halfvec'::regtype AND oprname IN ('<->', '<#>', '<=>', '<+>')
ORDER BY oprname;

-- cosine distance: 0 to 2, NaN for a vector of length zero
SELECT '[1,1]'::halfvec <=> '[1,1]' AS same, '[1,1]'::halfvec <=> '[1.1,1.1]' AS parallel,
       '[1,1]'::halfvec <=> '[-1.1,-1.1]' AS opposite,
       '[1,1]'::halfvec <=> '[0,0]' AS zero, '[0,0]'::halfvec <=> '[0,0]' AS both_zero;

-- NaN sorts after every distance, NULL after it
SELECT v FROM (VALUES ('[0,0]'::halfvec), (NULL), ('[-1,-1]'), ('[1,1]')) AS f (v)
ORDER BY v <=> '[1,1]';

-- extremes neither overflow nor vanish
SELECT '[65504]'::halfvec <-> '[-65504]' AS l2, '[65504]'::halfvec <#> '[65504]' AS ip,
       '[65504]'::halfvec <+> '[-65504]' AS l1, '[65504]'::halfvec <=> '[65504]' AS cosine,
       '[6e-8]'::halfvec <-> '[-6e-8]' AS tiny_l2, '[6e-8]'::halfvec <=> '[-6e-8]' AS tiny_cosine;
SELECT v <-> n AS l2, v <#> v AS ip, v <+> n AS l1, l2_norm(v) AS norm
FROM (SELECT array_fill(65504, ARRAY[16000])::halfvec, array_fill(-65504, ARRAY[16000])::halfvec) AS f (v, n);

-- strict
SELECT NULL::halfvec <-> '[1]' AS l2, '[1]'::halfvec <=> NULL AS cosine;

-- different lengths
SELECT '[1,2]'::halfvec <-> '[3]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::halfvec <#> '[3]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::halfvec <=> '[3]';
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2]'::halfvec <+> '[3]';
\echo :LAST_ERROR_SQLSTATE
SELECT halfvec_l2_squared_distance('[1,2]', '[3]');
\echo :LAST_ERROR_SQLSTATE

-- dimensions and norm
SELECT vector_dims('[1,2,3]'::halfvec), l2_norm('[3,4]'::halfvec), l2_norm('[0]'::halfvec) AS zero,
       l2_norm('[-2]'::halfvec) AS negative, l2_norm('[6e-8]'::halfvec) AS tiny;
SELECT l2_normalize('[3,4]'::halfvec), l2_normalize('[0,-0.1]'::halfvec),
       l2_normalize('[0,0]'::halfvec) AS zero, l2_normalize('[65504,0]'::halfvec) AS huge,
       l2_normalize('[0,6e-8]'::halfvec) AS tiny;

-- Compressed, external and short values are all read: the same values once
-- as literals and once from tables.
CREATE TABLE stored (v halfvec);
INSERT INTO stored
SELECT array_agg(sin(n * j)::real)::halfvec
FROM unnest(ARRAY[3, 100, 1000, 5000]) AS n, generate_series(1, n) AS j GROUP BY n;
CREATE TABLE inline_only (LIKE stored);
ALTER TABLE inline_only ALTER v SET STORAGE main, ALTER v SET COMPRESSION pglz;
INSERT INTO inline_only SELECT v FROM stored WHERE vector_dims(v) < 1500;
SELECT vector_dims(s.v), s.v <-> i.v AS l2, s.v <=> i.v AS cosine,
       halfvec_send(s.v) = halfvec_send(s.v::text::halfvec) AS same
FROM stored AS s LEFT JOIN inline_only AS i ON vector_dims(s.v) = vector_dims(i.v)
ORDER BY 1;

-- The same bits as vectors of the same values, from every instruction set.
CREATE TABLE pairs AS
SELECT n, a, b FROM generate_series(1, 150) AS n,
    LATERAL (SELECT array_agg((sin(n * 31 + j) * 2.0 ^ (j % 9))::real)::halfvec,
                    array_agg((cos(n * 17 + j * j) * 3)::real)::halfvec
             FROM generate_series(1, n * 7) AS j) AS v (a, b);
CREATE VIEW results AS
SELECT count(*) FILTER (WHERE (a <-> b) <> (a::vector <-> b::vector)) AS l2,
       count(*) FILTER (WHERE (a <#> b) <> (a::vector <#> b::vector)) AS ip,
       count(*) FILTER (WHERE (a <=> b) <> (a::vector <=> b::vector)) AS cosine,
       count(*) FILTER (WHERE (a <+> b) <> (a::vector <+> b::vector)) AS l1,
       count(*) FILTER (WHERE l2_norm(a) <> vector_norm(a::vector)) AS norm,
       count(*) FILTER (WHERE l2_normalize(b)::text
                        <> l2_normalize(b::vector)::halfvec::text) AS normalize,
       count(*) AS pairs,
       md5(string_agg(concat_ws(' ', a <-> b, a <#> b, a <=> b, a <+> b,
           l2_norm(a), l2_normalize(b)), ',' ORDER BY n)) AS bits FROM pairs;
SET vecdist.simd = scalar;
SELECT bits AS scalar_bits FROM results \gset
SELECT l2, ip, cosine, l1, norm, normalize, pairs FROM results;
SET vecdist.simd = auto;
SELECT l2, ip, cosine, l1, norm, normalize, pairs, bits = :'scalar_bits' AS same_bits FROM results;
RESET vecdist.simd;

DROP VIEW results;
DROP TABLE stored, inline_only, pairs;

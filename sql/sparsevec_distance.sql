-- Distances between sparsevecs, norms: known values, edges, errors, and that
-- they are those between vectors of the same values.

-- operators and their functions
SELECT '{}/2'::sparsevec <-> '{1:3,2:4}/2' AS l2, '{1:1,2:2}/3'::sparsevec <#> '{2:4,3:5}/3' AS ip,
       '{1:1}/2'::sparsevec <=> '{2:2}/2' AS cosine, '{}/2'::sparsevec <+> '{1:3,2:-4}/2' AS l1;
SELECT l2_distance('{}/2'::sparsevec, '{1:3,2:4}/2'), sparsevec_l2_squared_distance('{}/2', '{1:3,2:4}/2'),
       inner_product('{1:1,2:2}/3'::sparsevec, '{2:4,3:5}/3'), sparsevec_negative_inner_product('{2:1}/3', '{2:4,3:5}/3'),
       cosine_distance('{1:1,9:2}/9'::sparsevec, '{1:2,9:4}/9'), l1_distance('{2:1}/2'::sparsevec, '{1:3,2:-4}/2');
SELECT oid::regoperator, oprresult::regtype, oprcode, oprcom = oid AS commutes
FROM pg_operator
WHERE oprleft = 'sparsevec'::regtype AND oprname IN ('<->', '<#>', '<=>', '<+>')
ORDER BY oprname;

-- cosine distance: 0 to 2, NaN for a vector of length zero
SELECT '{3:1}/5'::sparsevec <=> '{3:1}/5' AS same, '{1:1,2:1}/2'::sparsevec <=> '{1:-1.1,2:-1.1}/2' AS opposite,
       '{1:1}/2'::sparsevec <=> '{}/2' AS zero, '{}/2'::sparsevec <=> '{}/2' AS both_zero;

-- NaN sorts after every distance, NULL after it
SELECT v FROM (VALUES ('{}/2'::sparsevec), (NULL), ('{1:-1}/2'), ('{1:1,2:1}/2')) AS f (v)
ORDER BY v <=> '{1:1}/2';

-- extremes neither overflow nor vanish
SELECT '{1:3.4e38}/2'::sparsevec <-> '{1:-3.4e38}/2' AS l2, '{1:3.4e38}/2'::sparsevec <#> '{1:3.4e38}/2' AS ip,
       '{1:3.4e38}/2'::sparsevec <+> '{1:-3.4e38}/2' AS l1, '{1:3.4e38}/2'::sparsevec <=> '{1:-3.4e38}/2' AS cosine,
       '{1:1e-45}/2'::sparsevec <-> '{}/2' AS tiny_l2, '{1:1e-45}/2'::sparsevec <=> '{1:1e-45}/2' AS tiny_cosine;

-- strict
SELECT NULL::sparsevec <-> '{}/1' AS l2, '{}/1'::sparsevec <=> NULL AS cosine;

-- different numbers of dimensions
SELECT '{}/2'::sparsevec <-> '{}/3';
\echo :LAST_ERROR_SQLSTATE
SELECT '{}/2'::sparsevec <#> '{}/3';
\echo :LAST_ERROR_SQLSTATE
SELECT '{}/2'::sparsevec <=> '{}/3';
\echo :LAST_ERROR_SQLSTATE
SELECT '{}/2'::sparsevec <+> '{}/3';
\echo :LAST_ERROR_SQLSTATE
SELECT sparsevec_l2_squared_distance('{}/2', '{}/3');
\echo :LAST_ERROR_SQLSTATE

-- dimensions and norm; normalizing forgets what becomes zero
SELECT vector_dims('{}/1000000000'::sparsevec), l2_norm('{1:3,9:-4}/9'::sparsevec), l2_norm('{}/5'::sparsevec) AS zero,
       l2_norm('{5:1e-45}/5'::sparsevec) AS tiny, l2_norm('{1:3.4e38,2:3.4e38}/5'::sparsevec) AS huge;
SELECT l2_normalize('{1:3,9:-4}/9'::sparsevec), l2_normalize('{}/9'::sparsevec) AS zero,
       l2_normalize('{2:1e-45}/3'::sparsevec) AS tiny, l2_normalize('{1:3e38,2:1e-20}/3'::sparsevec) AS huge;

-- Compressed, external and short values are all read.
CREATE TABLE stored (v sparsevec);
INSERT INTO stored
SELECT array_agg(CASE WHEN j % 3 = 0 THEN sin(n * j)::real ELSE 0 END)::sparsevec
FROM unnest(ARRAY[3, 100, 1000, 30000]) AS n, generate_series(1, n) AS j GROUP BY n;
CREATE TABLE inline_only (LIKE stored);
ALTER TABLE inline_only ALTER v SET STORAGE main, ALTER v SET COMPRESSION pglz;
INSERT INTO inline_only SELECT v FROM stored WHERE vector_dims(v) < 1500;
SELECT vector_dims(s.v), s.v <-> i.v AS l2, s.v <=> i.v AS cosine,
       sparsevec_send(s.v) = sparsevec_send(s.v::text::sparsevec) AS same
FROM stored AS s LEFT JOIN inline_only AS i ON vector_dims(s.v) = vector_dims(i.v)
ORDER BY 1;

-- As between vectors, but for what those round to real; the same bits with
-- every instruction set.
CREATE TABLE pairs AS
SELECT n, a, b FROM generate_series(1, 120) AS n,
    LATERAL (SELECT array_agg(CASE WHEN j * n % 4 = 0 THEN (sin(n * 31 + j) * 2.0 ^ (j % 9))::real ELSE 0 END)::sparsevec,
                    array_agg(CASE WHEN j % 3 = 0 OR j = 1 THEN (cos(n * 17 + j * j) * 3)::real ELSE 0 END)::sparsevec
             FROM generate_series(1, n * 5) AS j) AS v (a, b)
WHERE a <> ARRAY[0]::sparsevec AND l2_norm(a) > 0;
CREATE VIEW results AS
SELECT count(*) FILTER (WHERE abs((a <-> b) - (a::vector <-> b::vector)) > 2.1e-6 * (a <-> b)) AS l2,
       count(*) FILTER (WHERE abs((a <#> b) - (a::vector <#> b::vector)) > 2.1e-6 * l2_norm(a) * l2_norm(b)) AS ip,
       count(*) FILTER (WHERE abs((a <=> b) - (a::vector <=> b::vector)) > 4.2e-6) AS cosine,
       count(*) FILTER (WHERE abs((a <+> b) - (a::vector <+> b::vector)) > 2.1e-6 * (a <+> b)) AS l1,
       count(*) FILTER (WHERE abs(l2_norm(a) - vector_norm(a::vector)) > 1e-14 * l2_norm(a)) AS norm,
       count(*) FILTER (WHERE l2_normalize(b)::vector <> l2_normalize(b::vector)) AS normalize,
       count(*) FILTER (WHERE sparsevec_cmp(a, b) <> vector_cmp(a::vector, b::vector)) AS cmp,
       count(*) AS pairs,
       md5(string_agg(concat_ws(' ', a <-> b, a <#> b, a <=> b, a <+> b,
           l2_norm(a), l2_normalize(b)), ',' ORDER BY n)) AS bits FROM pairs;
SET vecdist.simd = scalar;
SELECT bits AS scalar_bits FROM results \gset
RESET vecdist.simd;
SELECT l2, ip, cosine, l1, norm, normalize, cmp, pairs, bits = :'scalar_bits' AS same_bits FROM results;

DROP VIEW results;
DROP TABLE stored, inline_only, pairs;

-- Distances between bit strings: known values, edges, errors, and that they
-- agree with a count of bits done in SQL, whatever the instruction set.

-- operators and their functions
SELECT B'101' <~> B'110' AS hamming, B'101' <%> B'110' AS jaccard,
       hamming_distance('111', '000'), jaccard_distance('1100', '1010');
SELECT oid::regoperator, oprresult::regtype, oprcode, oprcom = oid AS commutes
FROM pg_operator WHERE oprleft = 'bit'::regtype AND oprname IN ('<~>', '<%>')
ORDER BY oprname;
SELECT oid::regprocedure, provolatile, proisstrict, proparallel
FROM pg_proc WHERE proname IN ('hamming_distance', 'jaccard_distance')
ORDER BY proname;

-- bit varying and untyped literals
SELECT B'101'::varbit <~> B'110'::varbit AS hamming, B'101'::varbit <%> '110' AS jaccard,
       '101' <~> '100' AS unknown;

-- Jaccard distance is 1 where nothing is common, also without any bit set
SELECT B'11' <%> B'00' AS one_zero, B'00' <%> B'00' AS both_zero,
       B'01' <%> B'10' AS disjoint, B'1' <%> B'1' AS same;
SELECT hamming_distance('', '') AS empty_hamming, jaccard_distance('', '') AS empty_jaccard;

-- strict
SELECT NULL <~> B'1' AS hamming, B'1' <%> NULL AS jaccard;

-- nearest first
SELECT b FROM (VALUES (B'1111'), (B'0001'), (NULL), (B'0111')) AS f (b) ORDER BY b <~> B'0011', b;

-- different lengths
SELECT B'111' <~> B'00';
\echo :LAST_ERROR_SQLSTATE
SELECT B'111' <%> B'00';
\echo :LAST_ERROR_SQLSTATE
SELECT hamming_distance('', '0');
\echo :LAST_ERROR_SQLSTATE

-- Every length that ends a kernel's loops in another way, with each
-- instruction set; the reference counts with core's bit_count.  The long ones
-- are compressed in the table.
CREATE TABLE bit_pairs AS
SELECT n, a::varbit AS a, b::varbit AS b
FROM generate_series(1, 1100, 7) AS n,
    LATERAL (SELECT string_agg((hashint4(n * 7919 + i) & 1)::text, '' ORDER BY i),
                    string_agg((hashint4(n * 104729 + i) >> 3 & 1)::text, '' ORDER BY i)
             FROM generate_series(1, n) AS i) AS v (a, b);
INSERT INTO bit_pairs
SELECT n, repeat('01', n / 2)::varbit, repeat('011', n / 3)::varbit
FROM unnest(ARRAY[6000, 63996, 5000004]) AS n;
PREPARE compare AS
SELECT count(*) FILTER (WHERE a <~> b = bit_count(a # b)) AS hamming,
       count(*) FILTER (WHERE a <%> b = 1 - bit_count(a & b)::float8 / greatest(bit_count(a | b), 1)) AS jaccard,
       count(*) AS pairs, sum(a <~> b) AS sum
FROM bit_pairs;
SET vecdist.simd = scalar;
EXECUTE compare;
SET vecdist.simd = auto;
EXECUTE compare;
RESET vecdist.simd;

DROP TABLE bit_pairs;

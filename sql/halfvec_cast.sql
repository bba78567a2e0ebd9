-- Casts between halfvec, vector and arrays: values, contexts, errors.

-- arrays to halfvec, explicitly
SELECT ARRAY[1, -2, 3]::halfvec, ARRAY[0.1, 1e4]::halfvec,
       '{0.1,1e4}'::real[]::halfvec, '{0.1,1e4}'::double precision[]::halfvec;
SELECT ARRAY[1, 2, 3]::halfvec(3);
SELECT '[0:2]={1,2,3}'::integer[]::halfvec;     -- bounds do not matter

-- rounded to half precision, ties to even; what is too small becomes zero
SELECT '{2049,2051,65519}'::integer[]::halfvec, '{1e-8,-1e-8}'::real[]::halfvec,
       '{1e-300}'::double precision[]::halfvec, '{2049.0000001}'::numeric[]::halfvec;

-- from and to vector
SELECT '[1,0.1,-65504]'::vector::halfvec, '[1,0.1,-65504]'::halfvec::vector;
SELECT '[1,2,3]'::vector::halfvec(3), '[1,2,3]'::halfvec::vector(3);

-- halfvec to real[]
SELECT '[1,0.1]'::halfvec::real[], ('[1,0.1]'::halfvec::real[])[2];
SELECT count(*) AS different
FROM (SELECT array_agg((j / 8.0)::real) FROM generate_series(-1000, 1000) AS j) AS f (a)
WHERE a::halfvec::real[] <> a;

-- contexts: implicit from vector, on assignment to it and to real[]
CREATE TABLE casts (h halfvec(2), v vector(2), r real[]);
INSERT INTO casts VALUES ('[1,2]'::vector, '[1,2]'::halfvec, '[1,2]'::halfvec);
INSERT INTO casts (h) VALUES (ARRAY[1.5, 2]), ('{3,4}'::real[]),
    ('{5,6}'::double precision[]), (NULL::real[]);
SELECT * FROM casts;
SELECT '[1,2]'::vector <-> '[1,4]'::halfvec AS as_halfvec;
SELECT array_length('[1,2]'::halfvec, 1);       -- not implicit
\echo :LAST_ERROR_SQLSTATE
SELECT castsource::regtype, casttarget::regtype, castcontext,
       castfunc::regprocedure
FROM pg_cast WHERE 'halfvec'::regtype IN (castsource, casttarget)
ORDER BY castsource::regtype::text, casttarget::regtype::text;

-- An index may hold halves of a column of vectors: the cast is immutable.
CREATE INDEX ON casts (l2_norm(v::halfvec(2)));

-- the type modifier applies to every cast
INSERT INTO casts (h) VALUES ('{1,2,3}'::integer[]);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO casts (h) VALUES ('[1,2,3]'::halfvec);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO casts (h) VALUES ('[1,2,3]'::vector);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO casts (v) VALUES ('[1,2,3]'::halfvec);
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2,3]'::halfvec::halfvec(2);
\echo :LAST_ERROR_SQLSTATE

-- errors

SELECT '[1,65520]'::vector::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{-65520}'::real[]::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,100000}'::integer[]::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{}'::real[]::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{{1,2}}'::real[]::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,NULL}'::integer[]::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,NaN}'::real[]::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{-Infinity}'::double precision[]::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{4e38}'::double precision[]::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{NaN}'::numeric[]::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{4e38}'::numeric[]::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT array_fill(1, ARRAY[16001])::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1}'::bigint[]::halfvec;
\echo :LAST_ERROR_SQLSTATE

DROP TABLE casts;

-- Casts between vector and arrays: values, contexts, errors.

-- arrays to vector, explicitly
SELECT ARRAY[1, -2, 3]::vector, ARRAY[0.1, 1e10]::vector,
       '{0.1,1e10}'::real[]::vector, '{0.1,1e10}'::double precision[]::vector;
SELECT ARRAY[1, 2, 3]::vector(3);
SELECT '[0:2]={1,2,3}'::integer[]::vector;      -- bounds do not matter

-- float8 and numeric are rounded to float4
SELECT (ARRAY[0.1::double precision, 1e-46]::vector)::text,
       '{16777217}'::integer[]::vector, '{16777217.0000001}'::numeric[]::vector;

-- vector to real[]
SELECT '[1,0.1]'::vector::real[], ('[1,0.1]'::vector::real[])[2];
SELECT count(*) AS different
FROM (SELECT array_agg(sqrt(i)::real) FROM generate_series(1, 1000) AS i) AS f (a)
WHERE a::vector::real[] <> a;

-- contexts: implicit from vector, on assignment to it
CREATE TABLE casts (v vector(2), r real[]);
INSERT INTO casts VALUES (ARRAY[1, 2], '[1,2]'::vector);
INSERT INTO casts (v) VALUES (ARRAY[1.5, 2]), ('{3,4}'::real[]),
    ('{5,6}'::double precision[]), (NULL::real[]);
SELECT * FROM casts;
SELECT vector_dims(ARRAY[1, 2, 3]);             -- not implicit
\echo :LAST_ERROR_SQLSTATE
SELECT castsource::regtype, casttarget::regtype, castcontext,
       castfunc::regprocedure
FROM pg_cast WHERE 'vector'::regtype IN (castsource, casttarget)
ORDER BY castsource::regtype::text, casttarget::regtype::text;

-- the type modifier applies to every cast
INSERT INTO casts (v) VALUES ('{1,2,3}'::integer[]);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO casts (v) VALUES ('[1,2,3]'::vector);
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,2,3]'::vector::vector(2);
\echo :LAST_ERROR_SQLSTATE

-- errors

SELECT '{}'::real[]::vector;
\echo :LAST_ERROR_SQLSTATE
SELECT '{{1,2}}'::real[]::vector;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,NULL}'::integer[]::vector;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,NaN}'::real[]::vector;
\echo :LAST_ERROR_SQLSTATE
SELECT '{-Infinity}'::double precision[]::vector;
\echo :LAST_ERROR_SQLSTATE
SELECT '{4e38}'::double precision[]::vector;
\echo :LAST_ERROR_SQLSTATE
SELECT '{NaN}'::numeric[]::vector;
\echo :LAST_ERROR_SQLSTATE
SELECT '{4e38}'::numeric[]::vector;
\echo :LAST_ERROR_SQLSTATE
SELECT array_fill(1, ARRAY[16001])::vector;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1}'::bigint[]::vector;
\echo :LAST_ERROR_SQLSTATE

-- a null removed leaves the null bitmap's flag: still no nulls inside
SELECT array_remove('{1,NULL,2}'::real[], NULL)::vector;

DROP TABLE casts;

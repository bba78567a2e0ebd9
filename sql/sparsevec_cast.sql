-- Casts between sparsevec, vector, halfvec and arrays: values, contexts, errors.

-- arrays to sparsevec, explicitly; zeros are not stored
SELECT ARRAY[1, 0, -3]::sparsevec, ARRAY[0.1, 0, 1e4]::sparsevec,
       '{0,0.1,1e4}'::real[]::sparsevec, '{-0,0.1,1e-60}'::double precision[]::sparsevec;
SELECT ARRAY[0, 0]::sparsevec, ARRAY[0, 2, 0]::sparsevec(3);
SELECT '[0:2]={1,0,3}'::integer[]::sparsevec;   -- bounds do not matter
SELECT array_fill(0, ARRAY[100000])::sparsevec, (array_fill(0, ARRAY[100000]) || 7)::sparsevec;

-- from and to vector and halfvec
SELECT '[1,0,0.1]'::vector::sparsevec, '[1,0,0.1]'::halfvec::sparsevec, '[0,-0]'::vector::sparsevec;
SELECT '{1:1,3:0.1}/4'::sparsevec::vector, '{1:1,3:0.1,4:1e-9}/4'::sparsevec::halfvec, '{}/2'::sparsevec::vector;
SELECT '[1,0]'::vector::sparsevec(2), '[1,0]'::halfvec::sparsevec(2),
       '{1:1}/2'::sparsevec::vector(2), '{1:1}/2'::sparsevec::halfvec(2);
SELECT count(*) AS different
FROM generate_series(1, 300) AS n,
    LATERAL (SELECT array_agg(((n * j) % 5 * (j % 3) / 8.0)::real)::vector FROM generate_series(1, n) AS j) AS f (v)
WHERE v::sparsevec::vector <> v OR v::halfvec::sparsevec <> v::sparsevec OR v::sparsevec::halfvec <> v::halfvec;
-- all there is room for
SELECT array_fill(1, ARRAY[16000])::vector::sparsevec::vector = array_fill(1, ARRAY[16000])::vector AS same;

-- contexts: implicit from vector and halfvec, on assignment to them and from arrays
CREATE TABLE casts (s sparsevec(2), v vector(2), h halfvec(2));
INSERT INTO casts VALUES ('[1,0]'::vector, '{2:2}/2'::sparsevec, '{1:3}/2'::sparsevec);
INSERT INTO casts (s) VALUES ('[0,4]'::halfvec), (ARRAY[1.5, 0]), ('{3,4}'::real[]),
    ('{5,6}'::double precision[]), ('{7,8}'::integer[]), (NULL::real[]);
SELECT * FROM casts;
SELECT '[1,2]'::vector <-> '{2:4}/2'::sparsevec AS vector, '{2:4}/2'::sparsevec <-> '[1,2]'::halfvec AS halfvec;
SELECT vector_norm('{1:1}/2'::sparsevec);       -- not implicit
\echo :LAST_ERROR_SQLSTATE
SELECT '{1:1}/2'::sparsevec::real[];            -- there is none
\echo :LAST_ERROR_SQLSTATE
SELECT castsource::regtype, casttarget::regtype, castcontext,
       castfunc::regprocedure
FROM pg_cast WHERE 'sparsevec'::regtype IN (castsource, casttarget)
ORDER BY castsource::regtype::text, casttarget::regtype::text;

-- An index may hold sparsevecs of a column of vectors: the cast is immutable.
CREATE INDEX ON casts ((v::sparsevec(2)));

-- the type modifier applies to every cast
INSERT INTO casts (s) VALUES ('{1,2,3}'::integer[]);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO casts (s) VALUES ('{}/3'::sparsevec);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO casts (s) VALUES ('[1,2,3]'::vector);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO casts (s) VALUES ('[1,2,3]'::halfvec);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO casts (v) VALUES ('{}/3'::sparsevec);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO casts (h) VALUES ('{}/3'::sparsevec);
\echo :LAST_ERROR_SQLSTATE
SELECT '{}/3'::sparsevec::sparsevec(2);
\echo :LAST_ERROR_SQLSTATE

-- errors

SELECT '{1:1}/16001'::sparsevec::vector;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1:1}/1000000000'::sparsevec::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{2:65520}/2'::sparsevec::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{}'::real[]::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{{1,2}}'::real[]::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1,NULL}'::integer[]::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{0,NaN}'::real[]::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{-Infinity}'::double precision[]::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{4e38}'::double precision[]::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{NaN}'::numeric[]::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{4e38}'::numeric[]::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT array_fill(1, ARRAY[16001])::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1}'::bigint[]::sparsevec;
\echo :LAST_ERROR_SQLSTATE

DROP TABLE casts;

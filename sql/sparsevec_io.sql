-- Type sparsevec: text and binary form, type modifier, limits, storage.
-- Proves that what pgvector's clients write is read, what we write is read
-- back as the same value, and that each malformed value gives the documented
-- SQLSTATE and message.

-- What a statement raises, as one row.
CREATE FUNCTION error_of(statement text,
    OUT state text, OUT message text, OUT detail text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    message := 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE,
        message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
END $$;

-- text form

SELECT '{1:1,3:2}/5'::sparsevec, '{}/5'::sparsevec, '{+2:-1.5,3:+2,4:.5,5:3.}/5'::sparsevec;
SELECT E' \t{ 1 :\n1\r, \x0b3\f: 2 } / 5 '::sparsevec, '{ }/+5'::sparsevec;
-- in any order; zeros are forgotten, wherever they stand
SELECT '{3:3,1:1,2:2}/3'::sparsevec, '{1:0,2:1,3:-0}/3'::sparsevec, '{1:0,1:0,9:0}/3'::sparsevec;
SELECT '{1:1e3,2:1E-3,3:1.25e+2,4:0.1,5:0.333333333,6:1e-45,7:3.4028235e38}/1000000000'::sparsevec,
       '{1000000000:1}/1000000000'::sparsevec;

SELECT form, (error_of(format('SELECT %L::sparsevec', form))).*
FROM unnest(ARRAY['', '1:1', '{', '{ ', '{1', '{1 ', '{1:', '{1: ', '{1:1', '{1:1,', '{1:1 ,2',
    '{1:1}', '{1:1} ', '{}', '{1:1}/', '{1:1}/x', '{1:1}/-', '{1:1}/5x', '{1:1}/5 6', '{1:1}/5.0',
    '{1:1}/1e3', '{1:1}5', '{1:1}:5', '[1,2]', '{,}/5', '{1:1,}/5', '{,1:1}/5', '{1:1,,2:1}/5',
    '{1 1}/5', '{1:1 2:1}/5', '{1:1;2:1}/5', '{1}/5', '{:1}/5', '{x:1}/5', '{1.5:1}/5', '{1x:1}/5',
    '{1::1}/5', '{1:}/5', '{1:x}/5', '{1:1x}/5', '{1:--1}/5', '{{1:1}}/5',
    '{1:NaN}/5', '{1:1,2:-nan}/5', '{1:Infinity}/5', '{2:-inf}/5',
    '{1:4e38}/5', '{1:-1e400}/5', '{1:1e-46}/5', '{1:-1e-400}/5',
    '{0:1}/5', '{-1:1}/5', '{6:1}/5', '{2147483647:1}/5', '{2147483648:1}/5',
    '{99999999999999999999:1}/1000000000', '{-99999999999999999999:1}/5',
    '{1:1,1:2}/5', '{2:1,1:2,2:3}/5', '{}/0', '{1:1}/-1', '{}/1000000001', '{}/2147483648',
    '{}/99999999999999999999']) AS form;

-- with the hint, as a user sees it
SELECT '[1,2]'::sparsevec;
\echo :LAST_ERROR_SQLSTATE
SELECT '{1:1e39}/2'::sparsevec;
\echo :LAST_ERROR_SQLSTATE

-- every beginning of a good value is refused, and no character added breaks more
SELECT count(*) AS beginnings, count(*) FILTER (WHERE state = '22P02') AS refused
FROM generate_series(0, length('{1:1.5,30:-2e-1}/')) AS n,
    LATERAL error_of(format('SELECT %L::sparsevec', left('{1:1.5,30:-2e-1}/', n)));
SELECT state, message ~ '^invalid input syntax' AS syntax, count(*)
FROM generate_series(1, 18) AS n, unnest(string_to_array('{ } : , / - + . e x 7', ' ')) AS c,
    LATERAL error_of(format('SELECT %L::sparsevec', overlay('{1:1.5,30:-2e-1}/40' placing c FROM n FOR 0)))
GROUP BY 1, 2 ORDER BY 1, 2;

-- type modifier

SELECT '{1:1}/3'::sparsevec(3), '{}/1000000000'::sparsevec(1000000000);
SELECT format_type('sparsevec'::regtype, 3), format_type('sparsevec'::regtype, -1);
SELECT declaration, (error_of(format('SELECT ''{1:1}/3''::%s', declaration))).*
FROM unnest(ARRAY['sparsevec(2)', 'sparsevec(4)', 'sparsevec(0)', 'sparsevec(-1)',
    'sparsevec(1000000001)', 'sparsevec(2147483648)', 'sparsevec(3,3)', 'sparsevec(x)']) AS declaration;

CREATE TABLE typed (v sparsevec(5));
INSERT INTO typed VALUES ('{1:1,3:2}/5'), (NULL);
INSERT INTO typed VALUES ('{1:1,3:2}/6');
\echo :LAST_ERROR_SQLSTATE
SELECT attname, format_type(atttypid, atttypmod), attstorage
FROM pg_attribute WHERE attrelid = 'typed'::regclass AND attnum > 0;

-- limits: 16,000 elements, also at the far end of the largest value

CREATE FUNCTION sparse_text(n integer, first integer, dim integer) RETURNS text LANGUAGE sql AS $$
    SELECT '{' || string_agg(i || ':' || i % 7 + 1, ',' ORDER BY i) || '}/' || dim
    FROM generate_series(first, first + n - 1) AS i
$$;
CREATE TABLE widest (v sparsevec);
INSERT INTO widest SELECT sparse_text(16000, 999984001, 1000000000)::sparsevec;
SELECT vector_dims(v), l2_norm(v), v::text = sparse_text(16000, 999984001, 1000000000) AS same FROM widest;
SELECT * FROM error_of($$SELECT sparse_text(16001, 1, 16001)::sparsevec$$);
-- zeros are none of them
SELECT ('{' || repeat('1:0,', 20000) || '7:1}/9')::sparsevec;

-- stored form: 4 bytes header (1 in a short tuple), 12 bytes, 8 per element
SELECT pg_column_size('{1:1,3:2}/5'::sparsevec), pg_column_size('{}/5'::sparsevec);
SELECT pg_column_size(v) FROM typed WHERE v IS NOT NULL;
SELECT typlen, typbyval, typalign, typstorage, typcategory, typdelim,
       typtypmod, typmodout, typarray::regtype
FROM pg_type WHERE oid = 'sparsevec'::regtype;

-- arrays of sparsevecs
SELECT unnest('{"{1:1}/2","{}/3"}'::sparsevec[]), ARRAY['{2:1}/3'::sparsevec];
SELECT '{"{1:1}/2","{}/3"}'::sparsevec(2)[];
\echo :LAST_ERROR_SQLSTATE

-- binary form

SELECT sparsevec_send('{1:1,3:-2}/5'), sparsevec_send('{}/1000000000');

\getenv abs_builddir PG_ABS_BUILDDIR
\set file :abs_builddir '/results/sparsevec_io.copy'
CREATE TABLE written (id integer, v sparsevec);
INSERT INTO written
SELECT i, CASE WHEN i % 7 > 0 THEN
    (SELECT array_agg(CASE WHEN i * j % 3 = 0 THEN (i * j * 0.37 - 11) * 10.0 ^ (j % 5 - 4) ELSE 0 END)
     FROM generate_series(1, i) AS j)::real[]::sparsevec END
FROM generate_series(1, 80) AS i;
INSERT INTO written SELECT 0, v FROM widest;
CREATE TABLE read (LIKE written);
COPY written TO STDOUT (FORMAT binary) \g :file
\set copy_in '\\copy read FROM ' :'file' ' (FORMAT binary)'
:copy_in
SELECT count(*), count(*) FILTER (WHERE w.v IS NULL) AS nulls,
       count(*) FILTER (WHERE sparsevec_send(w.v) IS DISTINCT FROM sparsevec_send(r.v)) AS different,
       count(*) FILTER (WHERE sparsevec_send(w.v) IS DISTINCT FROM sparsevec_send(r.v::text::sparsevec)) AS text_differs
FROM written AS w FULL JOIN read AS r USING (id);

-- Malformed binary values: COPY reads one field of these bytes.
CREATE FUNCTION copy_field(field bytea) RETURNS text LANGUAGE sql AS $$
    SELECT format('COPY typed FROM PROGRAM %L (FORMAT binary)',
        'printf ''' || string_agg('\' || (get_byte(file, i) >> 6)
            || (get_byte(file, i) >> 3 & 7) || (get_byte(file, i) & 7), '' ORDER BY i)
        || '''')
    FROM (SELECT '\x5047434f50590aff0d0a00'::bytea || '\x0000000000000000'
              || '\x0001' || int4send(length(field)) || field || '\xffff') AS f (file),
        generate_series(0, length(file) - 1) AS i
$$;
CREATE FUNCTION sparse_bytes(dim integer, nnz integer, unused integer,
    indices integer[], elements real[]) RETURNS bytea LANGUAGE sql AS $$
    SELECT int4send(dim) || int4send(nnz) || int4send(unused)
        || (SELECT string_agg(int4send(i), '' ORDER BY n) FROM unnest(indices) WITH ORDINALITY AS u (i, n))
        || (SELECT string_agg(float4send(x), '' ORDER BY n) FROM unnest(elements) WITH ORDINALITY AS u (x, n))
$$;
SELECT meaning, e.state, e.message, e.detail
FROM (VALUES
    (1, 'good', sparse_bytes(5, 2, 0, '{0,2}', '{1,2}')),
    (2, 'other length', sparse_bytes(6, 2, 0, '{0,2}', '{1,2}')),
    (3, 'no dimension', sparse_bytes(0, 2, 0, '{0,2}', '{1,2}')),
    (4, 'negative dimensions', sparse_bytes(-5, 2, 0, '{0,2}', '{1,2}')),
    (5, 'too many dimensions', sparse_bytes(1000000001, 2, 0, '{0,2}', '{1,2}')),
    (6, 'negative count', sparse_bytes(5, -1, 0, '{0,2}', '{1,2}')),
    (7, 'too many elements', sparse_bytes(1000000, 16001, 0, '{0,2}', '{1,2}')),
    (8, 'largest count', sparse_bytes(1000000, 2147483647, 0, '{0,2}', '{1,2}')),
    (9, 'more than dimensions', sparse_bytes(1, 2, 0, '{0,2}', '{1,2}')),
    (10, 'reserved field', sparse_bytes(5, 2, -7, '{0,2}', '{1,2}')),
    (11, 'count too large', sparse_bytes(5, 3, 0, '{0,2}', '{1,2}')),
    (12, 'count too small', sparse_bytes(5, 1, 0, '{0,2}', '{1,2}')),
    (13, 'unsorted', sparse_bytes(5, 2, 0, '{2,0}', '{1,2}')),
    (14, 'doubled', sparse_bytes(5, 2, 0, '{2,2}', '{1,2}')),
    (15, 'negative index', sparse_bytes(5, 2, 0, '{-1,2}', '{1,2}')),
    (16, 'index too large', sparse_bytes(5, 2, 0, '{0,5}', '{1,2}')),
    (17, 'largest index', sparse_bytes(5, 2, 0, '{0,2147483647}', '{1,2}')),
    (18, 'zero', sparse_bytes(5, 2, 0, '{0,2}', '{1,0}')),
    (19, 'minus zero', sparse_bytes(5, 2, 0, '{0,2}', '{-0,1}')),
    (20, 'NaN', sparse_bytes(5, 2, 0, '{0,2}', '{1,NaN}')),
    (21, 'infinity', sparse_bytes(5, 2, 0, '{0,2}', '{-Infinity,1}'))) AS f (number, meaning, field),
    LATERAL error_of(copy_field(field)) AS e
ORDER BY number;
-- cut short after every byte
SELECT e.state, e.message, count(*)
FROM generate_series(0, 27) AS n,
    LATERAL error_of(copy_field(substring(sparse_bytes(5, 2, 0, '{0,2}', '{1,2}') FOR n))) AS e
GROUP BY 1, 2;
SELECT v FROM typed ORDER BY v::text;

DROP TABLE typed, widest, written, read;
DROP FUNCTION error_of, sparse_text, copy_field, sparse_bytes;

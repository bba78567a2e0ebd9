-- Type halfvec: text and binary form, type modifier, limits, storage.
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

SELECT '[1,2,3]'::halfvec, '[-1.5,+2,.5,3.]'::halfvec, '[0]'::halfvec;
SELECT E' \t[ 1 ,\n2\r,\x0b3\f] '::halfvec;
SELECT '[1e3,1E-3,1.25e+2,-0,-0.0]'::halfvec;

-- limits of half precision; ties go to the even neighbor, what is too small
-- becomes zero
SELECT '[65504,-65504,65519,6.104e-5,6e-8]'::halfvec;
SELECT '[1,2049,2051,2.98023224e-8,2.98023259e-8,1e-46,-1e-400]'::halfvec;

-- output has the shortest digits that read back as the same float4
SELECT '[0.1,0.333333333,12345,1e4,0.001]'::halfvec;

SELECT form, (error_of(format('SELECT %L::halfvec', form))).*
FROM (VALUES
    (1, ''), (2, '1,2'), (3, '['), (4, '[ '), (5, '[1'), (6, '[1,'),
    (7, '[1,2'), (8, '[]'), (9, '[ ]'), (10, '[,]'), (11, '[1,]'),
    (12, '[1,,2]'), (13, '[1 2]'), (14, '[1;2]'), (15, '[a]'), (16, '[1a]'),
    (17, '[1e]'), (18, '[--1]'), (19, '[.]'), (20, '[1]]'), (21, '[1] 2'),
    (22, '{1,2}'), (23, '[[1]]'), (24, '[NaN]'), (25, '[1,-nan]'),
    (26, '[Infinity]'), (27, '[0,-inf]'), (28, '[65520]'), (29, '[0,-65520]'),
    (30, '[1e38]'), (31, '[4e38]'), (32, '[1e400]'),
    (33, ' [ 1 , +65520.0 , 3]'), (34, '[1,2,7.0e4]')) AS f (number, form)
ORDER BY number;

-- with the hint, as a user sees it
SELECT '(1,2)'::halfvec;
\echo :LAST_ERROR_SQLSTATE
SELECT '[1,70000]'::halfvec;
\echo :LAST_ERROR_SQLSTATE

-- Every finite half is written in digits that read back as the same half:
-- all 63,488 of them, in vectors of 512 made from their binary form.
CREATE TABLE halves (id integer, v halfvec);
\getenv abs_builddir PG_ABS_BUILDDIR
\set file :abs_builddir '/results/halfvec_io.copy'
CREATE TABLE bytes AS
SELECT i AS id, int2send(512::smallint) || int2send(0::smallint)
    || string_agg(decode(lpad(to_hex(i * 512 + j), 4, '0'), 'hex'), '' ORDER BY j) AS b
FROM generate_series(0, 127) AS i, generate_series(0, 511) AS j
WHERE (i * 512) & 31744 <> 31744 GROUP BY i;
-- bytea and halfvec have the same frame in a binary COPY
COPY bytes TO STDOUT (FORMAT binary) \g :file
\set copy_in '\\copy halves FROM ' :'file' ' (FORMAT binary)'
:copy_in
SELECT count(*) AS vectors, sum(vector_dims(v)) AS halves,
       count(*) FILTER (WHERE halfvec_send(v) <> b) AS sent_otherwise,
       count(*) FILTER (WHERE halfvec_send(v::text::halfvec) <> b) AS not_read_back,
       count(*) FILTER (WHERE v::vector::text <> v::text) AS text_differs,
       count(*) FILTER (WHERE halfvec_send(v::vector::halfvec) <> b) AS by_vector
FROM halves JOIN bytes USING (id);
DROP TABLE halves, bytes;

-- type modifier

SELECT '[1,2,3]'::halfvec(3);
SELECT format_type('halfvec'::regtype, 3), format_type('halfvec'::regtype, -1);
SELECT declaration, (error_of(format('SELECT ''[1,2,3]''::%s', declaration))).*
FROM unnest(ARRAY['halfvec(2)', 'halfvec(4)', 'halfvec(0)', 'halfvec(-1)',
    'halfvec(16001)', 'halfvec(3,3)', 'halfvec(x)']) AS declaration;

CREATE TABLE typed (v halfvec(2));
INSERT INTO typed VALUES ('[1,2]'), (NULL);
INSERT INTO typed VALUES ('[1,2,3]');
\echo :LAST_ERROR_SQLSTATE
SELECT attname, format_type(atttypid, atttypmod), attstorage
FROM pg_attribute WHERE attrelid = 'typed'::regclass AND attnum > 0;

-- limits

SELECT vector_dims(('[' || repeat('1,', 15999) || '1]')::halfvec);
SELECT state, message, detail
FROM error_of($$SELECT ('[' || repeat('1,', 16002) || '1]')::halfvec$$);
CREATE TABLE widest (v halfvec(16000));
INSERT INTO widest SELECT ('[' || repeat('0.25,', 15999) || '1]')::halfvec;
SELECT vector_dims(v), l2_norm(v), v::text = '[' || repeat('0.25,', 15999) || '1]' AS same
FROM widest;

-- stored form: 4 bytes header (1 in a short tuple), 4 bytes, 2 per element
SELECT pg_column_size('[1,2,3]'::halfvec);
SELECT pg_column_size(v) FROM typed WHERE v IS NOT NULL;
SELECT typlen, typbyval, typalign, typstorage, typcategory, typdelim,
       typtypmod, typmodout, typarray::regtype
FROM pg_type WHERE oid = 'halfvec'::regtype;

-- arrays of halfvecs
SELECT unnest('{"[1,2]","[3]"}'::halfvec[]);
SELECT '{"[1,2]","[3]"}'::halfvec(2)[];
\echo :LAST_ERROR_SQLSTATE

-- binary form

SELECT halfvec_send('[1,-2,0.5,65504,6e-8]');

CREATE TABLE written (id integer, v halfvec);
INSERT INTO written
SELECT i, CASE WHEN i % 7 > 0 THEN
    (SELECT array_agg((i * j * 0.37 - 11) * 10.0 ^ (j % 5 - 4))
     FROM generate_series(1, i) AS j)::real[]::halfvec END
FROM generate_series(1, 80) AS i;
INSERT INTO written VALUES (0, '[-0,6e-8,65504]');
CREATE TABLE read (LIKE written);
COPY written TO STDOUT (FORMAT binary) \g :file
\set copy_in '\\copy read FROM ' :'file' ' (FORMAT binary)'
:copy_in
SELECT count(*), count(*) FILTER (WHERE w.v IS NULL) AS nulls,
       count(*) FILTER (WHERE halfvec_send(w.v) IS DISTINCT FROM halfvec_send(r.v)) AS different
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
SELECT meaning, e.state, e.message, e.detail
FROM (VALUES
    (1, 'good', '\x000200003c004000'::bytea),
    (2, 'other length', '\x000300003c003c003c00'),
    (3, 'no element', '\x00000000'),
    (4, 'negative length', '\xffff0000'),
    (5, 'too long', '\x40000000'),
    (6, 'reserved field', '\x000200013c004000'),
    (7, 'NaN', '\x000200003c007e00'),
    (8, 'infinity', '\x00020000fc004000'),
    (9, 'too much', '\x000200003c00400000')) AS f (number, meaning, field),
    LATERAL error_of(copy_field(field)) AS e
ORDER BY number;
-- cut short after every byte
SELECT n, e.state, e.message
FROM generate_series(0, 7) AS n,
    LATERAL error_of(copy_field(substring('\x000200003c004000'::bytea FOR n))) AS e;
SELECT v FROM typed ORDER BY v::text;

DROP TABLE typed, widest, written, read;
DROP FUNCTION error_of, copy_field;

-- Type vector: text and binary form, type modifier, limits, storage.
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

SELECT '[1,2,3]'::vector, '[-1.5,+2,.5,3.]'::vector, '[0]'::vector;
SELECT E' \t[ 1 ,\n2\r,\x0b3\f] '::vector;
SELECT '[1e3,1E-3,1.25e+2,-0,-0.0]'::vector;

-- limits of float4; what is too small becomes zero
SELECT '[3.4028235e38,-3.4028235e38,1.1754944e-38,1e-45]'::vector;
SELECT '[1e-46,-1e-46,1e-400]'::vector;

-- output has the shortest digits that read back as the same float4
SELECT '[0.1,0.333333333,16777217,1e10,123456789]'::vector;

SELECT form, (error_of(format('SELECT %L::vector', form))).*
FROM (VALUES
    (1, ''), (2, '1,2'), (3, '['), (4, '[ '), (5, '[1'), (6, '[1,'),
    (7, '[1,2'), (8, '[]'), (9, '[ ]'), (10, '[,]'), (11, '[1,]'),
    (12, '[1,,2]'), (13, '[1 2]'), (14, '[1;2]'), (15, '[a]'), (16, '[1a]'),
    (17, '[1e]'), (18, '[--1]'), (19, '[.]'), (20, '[1]]'), (21, '[1] 2'),
    (22, '{1,2}'), (23, '[[1]]'), (24, '[NaN]'), (25, '[1,-nan]'),
    (26, '[Infinity]'), (27, '[0,-inf]'), (28, '[4e38]'), (29, '[-4e38]'),
    (30, '[1e400]')) AS f (number, form)
ORDER BY number;

-- with the hint, as a user sees it
SELECT '(1,2)'::vector;
\echo :LAST_ERROR_SQLSTATE

-- Numbers on the short and on the long way of the parser.  Each must be the
-- float4 that the server's own input function makes of the same digits.
CREATE TABLE digits AS
    SELECT s FROM (VALUES
        ('16777217'), ('16777219'), ('33554434'), ('9007199791611905'),
        ('9007199254740993'), ('999999999999999999'), ('1234567890123456789'),
        ('0.000000000000000000000000000001'), ('1.17549428e-38'),
        ('1.17549435e-38'), ('1.1754943508222875e-38'), ('3.40282346e38'),
        ('3.4028235677973362e38'), ('7.0064923216240854e-46'),
        ('1.401298464324817e-45'), ('0.1e23'), ('1e22'), ('1e23'), ('123e-22'),
        ('123e-23'), ('00000000000000000000000001'), ('1.00000000000000000000'),
        ('5e-324')) AS f (s)
    UNION ALL
    -- the middle of two neighboring floats, a little less, a little more
    SELECT t FROM generate_series(1, 200) AS i,
        LATERAL (VALUES (16777216::numeric + i * 2 + 1)) AS m (v),
        LATERAL (VALUES (m.v::text), ((m.v - 1e-9)::text), ((m.v + 1e-9)::text),
                        ((m.v / 1024)::text), ((m.v / 1024 - 1e-15)::text)) AS f (t)
    UNION ALL
    -- digits and exponents of all sizes, from a fixed sequence
    SELECT format('%s.%se%s', i * 7919 % 100003,
                  (i::bigint * 15485863 * 32452843) % 1000000007, i % 60 - 30)
    FROM generate_series(1, 3000) AS i;
SELECT count(*) AS numbers,
       count(*) FILTER (WHERE float4send((('[' || s || ']')::vector::real[])[1])
                        IS DISTINCT FROM CASE
                            WHEN s::numeric <= 7.0064923216240853e-46 THEN float4send(0)
                            ELSE float4send(s::real) END) AS read_otherwise
FROM digits;
SELECT count(*) AS not_read_back
FROM digits, LATERAL (SELECT ('[-' || s || ']')::vector) AS f (v)
WHERE vector_send(v) <> vector_send(v::text::vector);
DROP TABLE digits;

-- type modifier

SELECT '[1,2,3]'::vector(3);
SELECT format_type('vector'::regtype, 3), format_type('vector'::regtype, -1);
SELECT declaration, (error_of(format('SELECT ''[1,2,3]''::%s', declaration))).*
FROM unnest(ARRAY['vector(2)', 'vector(4)', 'vector(0)', 'vector(-1)',
    'vector(16001)', 'vector(3,3)', 'vector(x)']) AS declaration;

CREATE TABLE typed (v vector(2));
INSERT INTO typed VALUES ('[1,2]'), (NULL);
INSERT INTO typed VALUES ('[1,2,3]');
\echo :LAST_ERROR_SQLSTATE
SELECT attname, format_type(atttypid, atttypmod), attstorage
FROM pg_attribute WHERE attrelid = 'typed'::regclass AND attnum > 0;

-- limits

SELECT vector_dims(('[' || repeat('1,', 15999) || '1]')::vector);
SELECT state, message, detail
FROM error_of($$SELECT ('[' || repeat('1,', 16002) || '1]')::vector$$);
CREATE TABLE widest (v vector(16000));
INSERT INTO widest SELECT ('[' || repeat('0.25,', 15999) || '1]')::vector;
SELECT vector_dims(v), vector_norm(v), v::text = '[' || repeat('0.25,', 15999) || '1]' AS same
FROM widest;

-- stored form: 4 bytes header (1 in a short tuple), 4 bytes, 4 per element
SELECT pg_column_size('[1,2,3]'::vector);
SELECT pg_column_size(v) FROM typed WHERE v IS NOT NULL;
SELECT typlen, typbyval, typalign, typstorage, typcategory, typdelim,
       typtypmod, typmodout, typarray::regtype
FROM pg_type WHERE oid = 'vector'::regtype;

-- arrays of vectors
SELECT unnest('{"[1,2]","[3]"}'::vector[]);
SELECT '{"[1,2]","[3]"}'::vector(2)[];
\echo :LAST_ERROR_SQLSTATE

-- binary form

SELECT vector_send('[1,-2,0.5]');

\getenv abs_builddir PG_ABS_BUILDDIR
\set file :abs_builddir '/results/vector_io.copy'
CREATE TABLE written (id integer, v vector);
INSERT INTO written
SELECT i, CASE WHEN i % 7 > 0 THEN
    (SELECT array_agg((i * j * 0.37 - 11) * 10.0 ^ (j % 30 - 15))
     FROM generate_series(1, i) AS j)::real[]::vector END
FROM generate_series(1, 80) AS i;
INSERT INTO written VALUES (0, '[-0,1e-45,3.4028235e38]');
CREATE TABLE read (LIKE written);
COPY written TO STDOUT (FORMAT binary) \g :file
\set copy_in '\\copy read FROM ' :'file' ' (FORMAT binary)'
:copy_in
SELECT count(*), count(*) FILTER (WHERE w.v IS NULL) AS nulls,
       count(*) FILTER (WHERE vector_send(w.v) IS DISTINCT FROM vector_send(r.v)) AS different
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
    (1, 'good', '\x000200003f80000040000000'::bytea),
    (2, 'other length', '\x000300003f8000003f8000003f800000'),
    (3, 'no element', '\x00000000'),
    (4, 'negative length', '\xffff0000'),
    (5, 'too long', '\x40000000'),
    (6, 'reserved field', '\x000200013f80000040000000'),
    (7, 'NaN', '\x000200003f8000007fc00000'),
    (8, 'infinity', '\x00020000ff80000040000000'),
    (9, 'cut short', '\x000200003f800000'),
    (10, 'cut in header', '\x0002'),
    (11, 'too much', '\x000200003f8000004000000000')) AS f (number, meaning, field),
    LATERAL error_of(copy_field(field)) AS e
ORDER BY number;
SELECT v FROM typed ORDER BY v::text;

DROP TABLE typed, widest, written, read;
DROP FUNCTION error_of, copy_field;

--
-- vhnsw: one life of an index for every operator class.
--
-- The table "classes" has a column of each type and an index of each class.
-- Rows are NULL, zero, equal and random; they are built and inserted, deleted,
-- vacuumed and their places used again.  After each step everything comes back
-- through the index in the order of an exact scan, and vhnsw_check() is clean.
--
SET client_min_messages = warning;
\set VERBOSITY terse

CREATE TABLE classes (class text, type text, operator text);
INSERT INTO classes VALUES
    ('vector_l2_ops', 'vector(24)', '<->'),
    ('vector_ip_ops', 'vector(24)', '<#>'),
    ('vector_cosine_ops', 'vector(24)', '<=>'),
    ('vector_l1_ops', 'vector(24)', '<+>'),
    ('halfvec_l2_ops', 'halfvec(24)', '<->'),
    ('halfvec_ip_ops', 'halfvec(24)', '<#>'),
    ('halfvec_cosine_ops', 'halfvec(24)', '<=>'),
    ('halfvec_l1_ops', 'halfvec(24)', '<+>'),
    ('bit_hamming_ops', 'bit(24)', '<~>'),
    ('bit_jaccard_ops', 'bit(24)', '<%>'),
    ('sparsevec_l2_ops', 'sparsevec(24)', '<->'),
    ('sparsevec_ip_ops', 'sparsevec(24)', '<#>'),
    ('sparsevec_cosine_ops', 'sparsevec(24)', '<=>'),
    ('sparsevec_l1_ops', 'sparsevec(24)', '<+>');

-- every class that there is
SELECT opcname FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod
WHERE amname = 'vhnsw' EXCEPT SELECT class FROM classes;

-- Run a statement for each class; %1$s is its name, %2$s the type.
CREATE FUNCTION run(statement text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT * FROM classes LOOP
        EXECUTE format(statement, c.class, c.type);
    END LOOP;
END
$$;
CREATE FUNCTION vacuum_all() RETURNS text LANGUAGE sql AS $$
    SELECT 'VACUUM (INDEX_CLEANUP ON) ' || string_agg('items_' || class, ', ') FROM classes
$$;

-- Row number n as an array: NULL, zero, or one of 400 random ones.
CREATE FUNCTION elements(n integer) RETURNS real[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN n % 50 = 0 THEN NULL
        WHEN n % 50 = 1 THEN array_fill(0, ARRAY[24])
        ELSE (SELECT array_agg(greatest(0, (hashint8extended(i, n % 400) & 65535) / 65535.0 - 0.4))
              FROM generate_series(1, 24) i)
    END
$$;

-- ... in the form of each type
CREATE FUNCTION literal(type text, elements real[]) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE type
        WHEN 'bit' THEN binary_quantize(elements::vector)::text
        WHEN 'sparsevec' THEN elements::vector::sparsevec::text
        ELSE elements::vector::text
    END
$$;

CREATE FUNCTION fill(first integer, last integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT * FROM classes LOOP
        EXECUTE format('INSERT INTO %I SELECT n, literal($1, elements(n))::%s
                        FROM generate_series($2, $3) n', 'items_' || c.class, c.type)
            USING split_part(c.type, '(', 1), first, last;
    END LOOP;
END
$$;

-- What is wrong with any of the indexes?
CREATE FUNCTION problems() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    c record;
    query text;
    statement text;
    distances float8[];
    exact float8[];
    counted bigint;
    total bigint;
BEGIN
    FOR c IN SELECT *, 'items_' || class AS items FROM classes LOOP
        EXECUTE format('SELECT count(*) FROM %I', c.items) INTO total;
        FOR n IN 1000..1003 LOOP
            query := coalesce(literal(split_part(c.type, '(', 1), elements(n)), NULL);
            statement := format('SELECT array_agg(d), count(*) FROM
                (SELECT v %s %L::%s AS d FROM %I ORDER BY 1) s', c.operator, query, c.type, c.items);
            SET LOCAL enable_seqscan = off;
            SET LOCAL enable_sort = off;
            SET LOCAL enable_indexscan = on;
            EXECUTE statement INTO distances, counted;
            SET LOCAL enable_seqscan = on;
            SET LOCAL enable_sort = on;
            SET LOCAL enable_indexscan = off;
            EXECUTE statement INTO exact;
            IF distances IS DISTINCT FROM exact THEN
                RETURN NEXT format('%s: query %s is not answered exactly', c.class, n);
            END IF;
            IF counted <> total THEN
                RETURN NEXT format('%s: query %s has %s of %s rows', c.class, n, counted, total);
            END IF;
        END LOOP;
        RETURN QUERY EXECUTE format('SELECT format(''%s: %%s'', p) FROM vhnsw_check(%L, true) p',
                                    c.class, c.items || '_v_idx');
    END LOOP;
END
$$;

SELECT run('CREATE TABLE items_%1$s (id integer PRIMARY KEY, v %2$s) WITH (autovacuum_enabled = off)');
SELECT fill(1, 300);
SELECT run('CREATE INDEX items_%1$s_v_idx ON items_%1$s USING vhnsw (v %1$s)');
SELECT problems();
SELECT fill(301, 700);
SELECT problems();

-- a third leaves, and comes back
SELECT run('DELETE FROM items_%1$s WHERE id %% 3 = 0');
SELECT problems();
SELECT vacuum_all() \gexec
SELECT problems();
SELECT fill(1001, 1200);
SELECT problems();

-- on an empty table
SELECT run('DELETE FROM items_%1$s');
SELECT vacuum_all() \gexec
SELECT fill(1, 300);
SELECT problems();
SELECT run('TRUNCATE items_%1$s');
SELECT fill(1, 300);
SELECT problems();

-- what they are
SELECT class, i.metric, i.dimensions, i.rows, i.null_rows, i.zero_rows, i.extreme_rows
FROM classes, vhnsw_info(('items_' || class || '_v_idx')::regclass) i ORDER BY 1;
SELECT class, amvalidate(o.oid)
FROM classes JOIN pg_opclass o ON opcname = class JOIN pg_am a ON a.oid = opcmethod
WHERE amname = 'vhnsw' AND NOT amvalidate(o.oid);

-- columns without dimensions
CREATE TABLE any_length (h halfvec);
CREATE INDEX ON any_length USING vhnsw (h halfvec_l2_ops);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON any_length USING vhnsw ((h::halfvec(3)) halfvec_l2_ops);
INSERT INTO any_length VALUES ('[1,2,3]');
INSERT INTO any_length VALUES ('[1,2]');
\echo :LAST_ERROR_SQLSTATE
DROP TABLE any_length;
CREATE TABLE any_length (b varbit);
CREATE INDEX ON any_length USING vhnsw (b bit_hamming_ops);
CREATE INDEX ON any_length USING vhnsw ((b::bit(3)) bit_hamming_ops);
DROP TABLE any_length;
CREATE TABLE any_length (b varbit(3));
CREATE INDEX ON any_length USING vhnsw (b bit_hamming_ops);
INSERT INTO any_length VALUES ('101');
INSERT INTO any_length VALUES ('10');
\echo :LAST_ERROR_SQLSTATE
SET enable_seqscan = off;
SELECT b FROM any_length ORDER BY b <~> B'11';
\echo :LAST_ERROR_SQLSTATE
SELECT b FROM any_length ORDER BY b <~> B'110';
RESET enable_seqscan;
DROP TABLE any_length;

-- the longest: lists get shorter, and then it is refused
CREATE TABLE long (id integer, b bit(64000));
CREATE INDEX long_b ON long USING vhnsw (b bit_hamming_ops);
INSERT INTO long SELECT i, (repeat('0', i) || repeat('1', 64000 - i))::bit(64000)
FROM generate_series(1, 40) i;
REINDEX INDEX long_b;
INSERT INTO long SELECT i, (repeat('0', i) || repeat('1', 64000 - i))::bit(64000)
FROM generate_series(41, 50) i;
SET enable_seqscan = off;
SELECT id, b <~> repeat('1', 64000)::bit(64000) AS distance
FROM long ORDER BY 2 LIMIT 3;
RESET enable_seqscan;
SELECT dimensions, bits_per_dimension, degree, elements_per_page FROM vhnsw_info('long_b');
SELECT * FROM vhnsw_check('long_b', true);
DROP INDEX long_b;
CREATE INDEX long_b ON long USING vhnsw (b bit_hamming_ops) WITH (m = 40);
\echo :LAST_ERROR_SQLSTATE
DROP TABLE long;
CREATE TABLE long (b bit(64001));
CREATE INDEX ON long USING vhnsw (b bit_hamming_ops);
DROP TABLE long;

-- sparse vectors of a thousand million dimensions, and longer than a page
CREATE TABLE long (id integer, s sparsevec(1000000000));
CREATE FUNCTION long_vector(n integer, count integer) RETURNS sparsevec
LANGUAGE sql IMMUTABLE AS $$
    SELECT ('{' || string_agg(format('%s:%s', i * 331000 + n % 7 + 1,
                              exp((hashint8extended(i, n) & 65535) / 13000.0)::real), ',' ORDER BY i)
            || '}/1000000000')::sparsevec
    FROM generate_series(1, count) i
$$;
INSERT INTO long SELECT n, long_vector(n, 2000) FROM generate_series(1, 40) n;
CREATE INDEX long_s ON long USING vhnsw (s sparsevec_l2_ops);
INSERT INTO long SELECT n, long_vector(n, n % 50) FROM generate_series(41, 80) n;
SELECT dimensions, bits_per_dimension, elements_per_page FROM vhnsw_info('long_s');
SELECT * FROM vhnsw_check('long_s', true);
SET enable_seqscan = off;
SELECT bool_and(id = (SELECT id FROM long ORDER BY s <-> queries.s LIMIT 1)) AS found_themselves
FROM long AS queries WHERE id % 50 > 0;
RESET enable_seqscan;

-- Codes that were made for short vectors are too short; REINDEX helps.
TRUNCATE long;
INSERT INTO long SELECT n, long_vector(n, 5) FROM generate_series(1, 1500) n;
REINDEX INDEX long_s;
SELECT elements_per_page, advice FROM vhnsw_info('long_s');
INSERT INTO long SELECT n, long_vector(n, 60) FROM generate_series(1501, 1800) n;
SELECT elements_per_page, advice FROM vhnsw_info('long_s');
SELECT * FROM vhnsw_check('long_s', true);
REINDEX INDEX long_s;
SELECT elements_per_page, advice FROM vhnsw_info('long_s');
SELECT * FROM vhnsw_check('long_s', true);

-- the planner's costs do not go by the number of dimensions
DROP INDEX long_s;
TRUNCATE long;
INSERT INTO long SELECT n, long_vector(n, 30) FROM generate_series(1, 6000) n;
CREATE INDEX long_s ON long USING vhnsw (s sparsevec_l2_ops);
ANALYZE long;
EXPLAIN (COSTS OFF) SELECT id FROM long ORDER BY s <-> '{1:1}/1000000000' LIMIT 5;
DROP TABLE long;
DROP FUNCTION long_vector;
CREATE TABLE any_length (s sparsevec);
CREATE INDEX ON any_length USING vhnsw (s sparsevec_l2_ops);
CREATE INDEX ON any_length USING vhnsw ((s::sparsevec(3)) sparsevec_l2_ops);
INSERT INTO any_length VALUES ('{1:1}/2');
DROP TABLE any_length;

-- expressions as users write them: the planner chooses their indexes
CREATE TABLE documents (id integer PRIMARY KEY, embedding vector(64));
INSERT INTO documents
SELECT n, (SELECT array_agg(((hashint8extended(i, n) & 65535) - 32768) / 32768.0
                            + ((hashint8extended(i, n % 40) & 65535) - 32768) / 16384.0)
           FROM generate_series(1, 64) i)
FROM generate_series(1, 3000) n;
ANALYZE documents;
CREATE INDEX documents_halfvec ON documents
    USING vhnsw ((embedding::halfvec(64)) halfvec_cosine_ops);
EXPLAIN (COSTS OFF) SELECT id FROM documents
ORDER BY embedding::halfvec(64) <=> (SELECT embedding::halfvec(64) FROM documents WHERE id = 17) LIMIT 5;
SELECT id FROM documents
ORDER BY embedding::halfvec(64) <=> (SELECT embedding::halfvec(64) FROM documents WHERE id = 17) LIMIT 1;
CREATE INDEX documents_bit ON documents
    USING vhnsw ((binary_quantize(embedding)::bit(64)) bit_hamming_ops);
EXPLAIN (COSTS OFF)
SELECT id FROM (
    SELECT id, embedding FROM documents
    ORDER BY binary_quantize(embedding)::bit(64) <~>
        binary_quantize((SELECT embedding FROM documents WHERE id = 17)) LIMIT 40) s
ORDER BY embedding <=> (SELECT embedding FROM documents WHERE id = 17) LIMIT 5;
SELECT id FROM (
    SELECT id, embedding FROM documents
    ORDER BY binary_quantize(embedding)::bit(64) <~>
        binary_quantize((SELECT embedding FROM documents WHERE id = 17)) LIMIT 40) s
ORDER BY embedding <=> (SELECT embedding FROM documents WHERE id = 17) LIMIT 1;
CREATE INDEX documents_partial ON documents
    USING vhnsw ((embedding::halfvec(64)) halfvec_l1_ops) WHERE id > 1000;
EXPLAIN (COSTS OFF) SELECT id FROM documents WHERE id > 1000
ORDER BY embedding::halfvec(64) <+> (SELECT embedding::halfvec(64) FROM documents WHERE id = 17) LIMIT 5;
DROP TABLE documents;

SELECT run('DROP TABLE items_%1$s');
DROP TABLE classes;
DROP FUNCTION problems, run, vacuum_all, fill, literal, elements;

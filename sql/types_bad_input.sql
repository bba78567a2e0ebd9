-- Input functions of vector, halfvec and sparsevec under systematic damage: a
-- good text form with every character left out, and with each of some
-- characters put in at every place; a good binary form cut after every byte,
-- and with every byte set to other values.
--
-- Proves that each gives either a value, which then survives a round trip, or
-- one of the documented SQLSTATEs, and that nothing else happens.  Malformed
-- values one by one, with their messages, are in the *_io tests.

-- "value" if the text form is read, and written so that it reads back as the
-- same; "changed" if it reads back as another; or the SQLSTATE.
CREATE FUNCTION outcome(type regtype, literal text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE same boolean;
BEGIN
    EXECUTE format('SELECT v::text::%1$s::text = v::text FROM (SELECT %2$L::%1$s) AS f (v)', type, literal) INTO same;
    RETURN CASE WHEN same THEN 'value' ELSE 'changed' END;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

CREATE TABLE good (type regtype, literal text);
INSERT INTO good VALUES ('vector', ' [ 1, -2.5e-3 ,0.125 ] '), ('halfvec', ' [ 1, -2.5e-3 ,0.125 ] '),
    ('sparsevec', ' { 1 : 1, 30:-2.5e-3 } / 40 ');
SELECT type, outcome(type, literal) FROM good ORDER BY 1;

-- one character less; cut off at both ends
SELECT type, outcome, count(*)
FROM good, generate_series(1, length(literal)) AS n,
    LATERAL (VALUES (overlay(literal placing '' FROM n FOR 1)), (left(literal, n - 1)), (right(literal, n - 1))) AS v (damaged),
    outcome(type, damaged) GROUP BY 1, 2 ORDER BY 1, 2;

-- one character more, or another
SELECT type, outcome, count(*)
FROM good, generate_series(1, length(literal) + 1) AS n, generate_series(0, 1) AS replaced,
    regexp_split_to_table(E'[]{}():;,/+-.eExXnN019 \t\n"''\\', '') AS c,
    outcome(type, overlay(literal placing c FROM n FOR replaced)) GROUP BY 1, 2 ORDER BY 1, 2;

-- characters beyond ASCII; control characters
SELECT type, outcome, count(*)
FROM good, generate_series(1, length(literal) + 1) AS n,
    unnest(ARRAY[U&'\00a0', U&'\2003', U&'\0661', U&'\2212', E'\x01', E'\x7f', E'\x1f']) AS c,
    outcome(type, overlay(literal placing c FROM n FOR 0)) GROUP BY 1, 2 ORDER BY 1, 2;

-- long ones: nothing but one token
SELECT type, outcome, count(*)
FROM good, unnest(ARRAY['[', '{', '1', ',', '-', '[1,', '{1:', '1:1,', ' ', '{1:1,', '}/', '/']) AS token,
    outcome(type, repeat(token, 50000)) GROUP BY 1, 2 ORDER BY 1, 2;

-- Binary: COPY reads one field of these bytes.  Returns as outcome() does.
CREATE FUNCTION binary_outcome(type regtype, field bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    file bytea := '\x5047434f50590aff0d0a00'::bytea || '\x0000000000000000' || '\x0001'
        || int4send(length(field)) || field || '\xffff';
    printed text;
    same boolean;
BEGIN
    SELECT string_agg(format('\%s%s%s', get_byte(file, i) >> 6, get_byte(file, i) >> 3 & 7, get_byte(file, i) & 7), '' ORDER BY i)
        INTO printed FROM generate_series(0, length(file) - 1) AS i;
    EXECUTE format('TRUNCATE read_%s', type);
    EXECUTE format('COPY read_%s FROM PROGRAM %L (FORMAT binary)', type, 'printf ''' || printed || '''');
    EXECUTE format('SELECT %1$s_send(v) = %2$L::bytea AND %1$s_send(v::text::%1$s) = %2$L::bytea FROM read_%1$s', type, field) INTO same;
    RETURN CASE WHEN same THEN 'value' ELSE 'changed' END;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE TEMP TABLE read_vector (v vector);
CREATE TEMP TABLE read_halfvec (v halfvec);
CREATE TEMP TABLE read_sparsevec (v sparsevec);
CREATE TABLE good_bytes AS
VALUES ('vector'::regtype, vector_send('[1,-2.5]')), ('halfvec', halfvec_send('[1,-2.5]')),
    ('sparsevec', sparsevec_send('{1:1,30:-2.5}/40'));
ALTER TABLE good_bytes RENAME column1 TO type;
ALTER TABLE good_bytes RENAME column2 TO field;
SELECT type, binary_outcome(type, field) FROM good_bytes ORDER BY 1;

-- cut short after every byte; one byte more
SELECT type, outcome, count(*)
FROM good_bytes, generate_series(0, length(field) - 1) AS n,
    binary_outcome(type, substring(field FOR n)) AS outcome GROUP BY 1, 2 ORDER BY 1, 2;
SELECT type, binary_outcome(type, field || '\x00') FROM good_bytes ORDER BY 1;

-- every byte set to other values
SELECT type, outcome, count(*)
FROM good_bytes, generate_series(0, length(field) - 1) AS n, unnest(ARRAY[0, 1, 127, 128, 255]) AS b,
    binary_outcome(type, set_byte(field, n, b)) AS outcome GROUP BY 1, 2 ORDER BY 1, 2;

-- type modifiers, of a type name and of a column
CREATE FUNCTION modifier_outcome(type regtype, modifier text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TEMP TABLE modified (v %s%s) ON COMMIT DROP', type, modifier);
    DROP TABLE modified;
    RETURN 'table';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SELECT modifier, modifier_outcome('vector', modifier) AS vector, modifier_outcome('halfvec', modifier) AS halfvec,
       modifier_outcome('sparsevec', modifier) AS sparsevec
FROM unnest(ARRAY['', '()', '(0)', '(-1)', '(-2147483648)', '(1)', '(16000)', '(16001)', '(1000000000)', '(1000000001)',
    '(2147483647)', '(2147483648)', '(1.5)', '(x)', '(NULL)', '(1, 1)']) AS modifier;

-- arrays: nulls, dimensions, no elements, what no type can hold
CREATE FUNCTION array_outcome(elements text, type text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT %s::%s', elements, type);
    RETURN 'value';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
SELECT format('%L::%s[]', elements, element) AS "array", array_outcome(format('%L::%s[]', elements, element), 'vector') AS vector,
       array_outcome(format('%L::%s[]', elements, element), 'halfvec') AS halfvec,
       array_outcome(format('%L::%s[]', elements, element), 'sparsevec') AS sparsevec
FROM unnest(ARRAY['integer', 'real', 'double precision', 'numeric']) AS element,
    unnest(ARRAY['{1,2}', '{}', '{{1,2},{3,4}}', '{{1}}', '{NULL}', '{1,NULL}', '{NaN}', '{Infinity}', '{0,-Infinity}', '{1e39}', '{70000}']) AS elements
WHERE element <> 'integer' OR elements !~ '[NIe]' OR elements ~ 'NULL'
ORDER BY element, elements COLLATE "C";

-- none of it leaves memory behind, of the session or of the statement: what
-- 5,500 errors leave, beyond what the first have
CREATE FUNCTION left_by_errors(times integer) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    bad text;
    held numeric;
    before numeric;
BEGIN
    FOR i IN 1 .. times LOOP
        FOREACH bad IN ARRAY ARRAY['''[1,2''::vector', '''[1,nan]''::halfvec', '''{2:1,1:2,2:3}/5''::sparsevec',
            '''[1,2]''::vector(3)', '''{1,NULL}''::real[]::vector', '''{1e9}''::numeric[]::halfvec', '''[1]''::vector <-> ''[1,2]''',
            '''[3e38]''::vector + ''[3e38]''', 'vector_avg(''{1}'')', 'B''1'' <~> B''10''',
            'length((repeat(''['', 20000) || ''1'')::vector::text)'] LOOP
            BEGIN
                EXECUTE 'SELECT ' || bad;
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
        END LOOP;
        IF i % 100 = 0 THEN
            SELECT sum(used_bytes) INTO held FROM pg_backend_memory_contexts;
            before := coalesce(before, held);
        END IF;
    END LOOP;
    RETURN held - before;
END $$;
SELECT left_by_errors(600) < 20000 AS nothing;
DROP FUNCTION left_by_errors;

DROP TABLE good, good_bytes;
DROP FUNCTION outcome, binary_outcome, modifier_outcome, array_outcome;

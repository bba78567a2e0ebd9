--
-- vhnsw: answers through the index equal those of an exact scan.
--
-- same() runs a query with a Vhnsw Scan, with an index scan and without the
-- index and compares all distances, in order.  Tables are small enough, or ef is large enough, that
-- approximation plays no part.
--
SET client_min_messages = warning;

-- n numbers between 0 and 1 that depend on the seed only
CREATE FUNCTION random_vector(n integer, seed bigint) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg((hashint8extended(i, seed) & 65535) / 65535.0)::vector
    FROM generate_series(1, n) i
$$;

CREATE FUNCTION same(operator text, query vector, how_many integer,
                     condition text DEFAULT 'true') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    through_scan text;
    through_index text;
    exact text;
BEGIN
    statement := format(
        'SELECT string_agg(coalesce(d::text, ''null''), '','') || '' '' || count(*)'
        ' FROM (SELECT v %1$s $1 AS d FROM items WHERE %2$s ORDER BY v %1$s $1 LIMIT %3$s) s',
        operator, condition, how_many);
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_sort = off;
    SET LOCAL enable_indexscan = on;
    SET LOCAL vhnsw.enable_scan = on;
    EXECUTE statement INTO through_scan USING query;
    SET LOCAL vhnsw.enable_scan = off;
    EXECUTE statement INTO through_index USING query;
    SET LOCAL enable_seqscan = on;
    SET LOCAL enable_sort = on;
    SET LOCAL enable_indexscan = off;
    EXECUTE statement INTO exact USING query;
    SET LOCAL vhnsw.enable_scan = on;
    IF through_index IS NOT DISTINCT FROM exact
       AND through_scan IS NOT DISTINCT FROM exact THEN
        RETURN 'same';
    END IF;
    RETURN 'scan: ' || left(through_scan, 300) || ' index: ' || left(through_index, 300)
        || ' exact: ' || left(exact, 300);
END
$$;

-- duplicates, NULLs, zero vectors and vectors beyond any bound
CREATE TABLE items (id integer PRIMARY KEY, v vector(24));
CREATE FUNCTION fill_items(first integer, last integer) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO items
    SELECT i, CASE
        WHEN i % 100 = 0 THEN NULL
        WHEN i % 101 = 0 THEN array_fill(0, ARRAY[24])::vector
        WHEN i % 103 = 0 THEN (ARRAY[1e20 * i] || array_fill(1, ARRAY[23])::float8[])::vector
        ELSE random_vector(24, i / 3)
    END
    FROM generate_series(first, last) i
$$;
SELECT fill_items(1, 3000);
SET vhnsw.ef_search = 200;

-- L2
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
EXPLAIN (COSTS OFF)
SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = 7) LIMIT 10;
SELECT same('<->', random_vector(24, 7777777), 10);
SELECT same('<->', random_vector(24, 50), 700);
SELECT same('<->', random_vector(24, 50), 5000);
SELECT same('<->', random_vector(24, 50), 50, 'id % 100 = 3');
SELECT same('<->', NULL, 5000);
SELECT same('<->', (ARRAY[-1e25] || array_fill(1, ARRAY[23])::float8[])::vector, 5000);

-- the same rows after inserts, deletes and vacuum
SELECT fill_items(3001, 4000);
SELECT same('<->', random_vector(24, 1100), 5000);
DELETE FROM items WHERE id % 3 <> 0;
SELECT same('<->', random_vector(24, 1100), 5000);
VACUUM items;
SELECT same('<->', random_vector(24, 1100), 5000);
SELECT same('<->', random_vector(24, 1100), 20);
DROP INDEX items_v;

-- inner product
CREATE INDEX items_v ON items USING vhnsw (v vector_ip_ops);
SELECT same('<#>', random_vector(24, 7777777), 10);
SELECT same('<#>', random_vector(24, 50), 700);
SELECT same('<#>', random_vector(24, 50), 5000);
SELECT same('<#>', random_vector(24, 50), 50, 'id % 100 = 3');
SELECT same('<#>', NULL, 5000);
SELECT fill_items(4001, 5000);
SELECT same('<#>', random_vector(24, 1100), 5000);
DROP INDEX items_v;

-- cosine; zero vectors have no distance from anything
CREATE INDEX items_v ON items USING vhnsw (v vector_cosine_ops);
SELECT same('<=>', random_vector(24, 7777777), 10);
SELECT same('<=>', random_vector(24, 50), 700);
SELECT same('<=>', random_vector(24, 50), 5000);
SELECT same('<=>', random_vector(24, 50), 50, 'id % 100 = 3');
SELECT same('<=>', array_fill(0, ARRAY[24])::vector, 5000);
SELECT fill_items(5001, 6000);
SELECT same('<=>', random_vector(24, 1100), 5000);

-- built by inserts from the first row on
DROP INDEX items_v;
TRUNCATE items;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
SELECT same('<->', random_vector(24, 50), 10);
SELECT fill_items(1, 1500);
SELECT same('<->', random_vector(24, 50), 10);
SELECT same('<->', random_vector(24, 50), 5000);

-- a query of the wrong length
\set VERBOSITY terse
SET enable_seqscan = off;
SELECT id FROM items ORDER BY v <-> '[1,2,3]' LIMIT 1;
\echo :LAST_ERROR_SQLSTATE

DROP TABLE items;
DROP FUNCTION fill_items, same, random_vector;

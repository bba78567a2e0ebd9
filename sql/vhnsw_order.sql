--
-- vhnsw: rows come in the exact order of the operator, whatever the vectors.
--
-- The executor raises an error if a bound is above the true distance.  So every
-- kind of vector that could break a bound is put into one table, every row is
-- a query (of an index scan or, one in three, of a Vhnsw Scan), and the distances that come out through the index must rise; for
-- the whole table they must also be those of an exact scan.
--
SET client_min_messages = warning;

-- element i of vector number n of some kind
CREATE FUNCTION element(kind integer, n integer, i integer) RETURNS float4
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind
        WHEN 0 THEN r                                   -- plain
        WHEN 1 THEN r * 1e14                            -- large
        WHEN 2 THEN r * 1e17                            -- beyond any bound
        WHEN 3 THEN r * 1e-16
        WHEN 4 THEN r * 1e-33                           -- squares vanish
        WHEN 5 THEN round(r * 1000) * 1e-44                         -- below normal numbers
        WHEN 6 THEN 0
        WHEN 7 THEN 1                                   -- constant
        WHEN 8 THEN (i % 2) * 2 - 1                     -- alternating
        WHEN 9 THEN (i = n % 4 + 1)::integer            -- one-hot
        WHEN 10 THEN CASE WHEN i = 1 THEN 1e9 ELSE r END    -- one rules
        WHEN 11 THEN 1000 + r * 1e-3                    -- a tight cluster far away
        WHEN 12 THEN -1000 + r * 1e-3
        WHEN 13 THEN exp(14 * r)                        -- long tails
        WHEN 14 THEN CASE WHEN i = 1 THEN 1e-30 ELSE 1 END
        ELSE round(r * 4) / 2                           -- many equal ones
    END::float4
    FROM (SELECT (hashint8extended(n * 100 + i, 5) & 65535) / 32767.5 - 1) AS s (r)
$$;

-- what the type can hold of it
CREATE FUNCTION fitting(type text, x float4) RETURNS float4
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE type WHEN 'halfvec' THEN greatest(-65504, least(65504, x)) ELSE x END
$$;

CREATE FUNCTION make_items(type text, dims integer, rows integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS items, all_items;
    EXECUTE format('CREATE TABLE items (id integer PRIMARY KEY, v %s(%s))', type, dims);
    CREATE TABLE all_items AS
        SELECT n AS id, (SELECT array_agg(fitting(type, element(n % 16, n, i)) ORDER BY i)
                         FROM generate_series(1, dims) i) AS v
        FROM generate_series(1, rows) n;
    EXECUTE format('ALTER TABLE all_items ALTER v TYPE %s USING v::vector::%1$s', type);
END
$$;

-- Runs all rows from first on, in steps, as queries; returns what went wrong.
CREATE FUNCTION wrong_orders(type text, operator text, step integer, how_many integer,
                             compare boolean) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    query record;
    distances float8[];
    exact float8[];
    statement text := format(
        'SELECT array_agg(d) FROM (SELECT v %1$s $1::%3$s AS d FROM items ORDER BY v %1$s $1::%3$s LIMIT %2$s) s',
        operator, how_many, type);
BEGIN
    FOR query IN SELECT id, v::text AS v FROM items WHERE id % step = 0 LOOP
        SET LOCAL enable_seqscan = off;
        SET LOCAL enable_sort = off;
        SET LOCAL enable_indexscan = on;
        PERFORM set_config('vhnsw.enable_scan', (query.id % 3 = 0)::text, true);
        EXECUTE statement INTO distances USING query.v;
        IF distances IS DISTINCT FROM (SELECT array_agg(d ORDER BY d) FROM unnest(distances) d) THEN
            RETURN NEXT format('query %s: not in order', query.id);
        END IF;
        IF compare THEN
            SET LOCAL enable_seqscan = on;
            SET LOCAL enable_sort = on;
            SET LOCAL enable_indexscan = off;
            EXECUTE statement INTO exact USING query.v;
            IF exact IS DISTINCT FROM distances THEN
                RETURN NEXT format('query %s: not the nearest', query.id);
            END IF;
        END IF;
    END LOOP;
END
$$;

-- For all metrics: built by CREATE INDEX, then half of it by inserts.
CREATE FUNCTION test_orders(type text, dims integer, rows integer, step integer,
                            how_many integer, compare boolean) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    class text;
    built integer;
BEGIN
    PERFORM make_items(type, dims, rows);
    FOREACH class IN ARRAY ARRAY['l2 <->', 'ip <#>', 'cosine <=>', 'l1 <+>'] LOOP
        FOREACH built IN ARRAY ARRAY[rows, rows / 2] LOOP
            TRUNCATE items;
            INSERT INTO items SELECT * FROM all_items WHERE id <= built;
            EXECUTE format('CREATE INDEX items_v ON items USING vhnsw (v %s_%s_ops)',
                           type, split_part(class, ' ', 1));
            INSERT INTO items SELECT * FROM all_items WHERE id > built;
            RETURN QUERY SELECT format('%s %s, %s built, %s', type, class, built, w)
                FROM wrong_orders(type, split_part(class, ' ', 2), step, how_many, compare) w;
            RETURN QUERY SELECT format('%s %s, %s built, check: %s', type, class, built, c)
                FROM vhnsw_check('items_v', true) c;
            DROP INDEX items_v;
        END LOOP;
    END LOOP;
END
$$;

-- the whole table, which ends in a pass over all pages
SELECT test_orders('vector', 1, 160, 1, 1000, true);
SELECT test_orders('vector', 2, 160, 1, 1000, true);
SELECT test_orders('vector', 3, 320, 3, 1000, true);
SELECT test_orders('vector', 17, 320, 3, 1000, true);
SELECT test_orders('vector', 130, 160, 3, 1000, true);
SELECT test_orders('halfvec', 17, 320, 3, 1000, true);
SELECT test_orders('sparsevec', 3, 320, 3, 1000, true);
SELECT test_orders('sparsevec', 130, 160, 3, 1000, true);

-- the graph
SET vhnsw.ef_search = 20;
SELECT scans AS scans_before, expanded AS expanded_before FROM vhnsw_session_stats() \gset
SELECT test_orders('vector', 3, 1200, 11, 15, false);
SELECT test_orders('vector', 33, 1200, 11, 15, false);
SELECT test_orders('sparsevec', 33, 1200, 11, 15, false);
SELECT expanded - :expanded_before > 10 * (scans - :scans_before) AS used_the_graph
    FROM vhnsw_session_stats();

DROP TABLE items, all_items;
DROP FUNCTION test_orders, wrong_orders, make_items, fitting, element;

--
-- vhnsw: vectors that are stored out of line.
--
-- "Vhnsw Scan" reads them by itself where they are not compressed, and leaves
-- the others to core.  agrees() compares its answer, distances included, with
-- one without the index; ef covers the table.  That it does read by itself
-- shows in the lock that it keeps on the TOAST table.
--
SET client_min_messages = warning;
SET vhnsw.ef_search = 1000;

-- two thirds of the values are random, so compressed it is still out of line
CREATE FUNCTION long_vector(n integer, seed bigint) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(CASE WHEN i % 3 = 0 THEN 0 ELSE (hashint8extended(i, seed) & 65535) / 65536.0 END
                     ORDER BY i)::vector
    FROM generate_series(1, n) i
$$;
CREATE FUNCTION answer(query text, through_index text, without text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    plan json;
    result text;
BEGIN
    PERFORM set_config('enable_indexscan', through_index, true),
        set_config('enable_seqscan', without, true), set_config('enable_sort', without, true);
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    IF (plan::text LIKE '%Vhnsw Scan%') <> through_index::boolean THEN
        RAISE EXCEPTION 'another plan';
    END IF;
    EXECUTE 'SELECT string_agg(s::text, '' '') FROM (' || query || ') s' INTO result;
    RETURN result;
END
$$;
CREATE FUNCTION agrees(query text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN a IS NOT DISTINCT FROM b THEN 'agrees' ELSE format('scan: %s exact: %s', left(a, 300), left(b, 300)) END
    FROM CAST(answer(query, 'on', 'off') AS text) a, CAST(answer(query, 'off', 'on') AS text) b
$$;
CREATE FUNCTION toast_table(name regclass) RETURNS regclass LANGUAGE sql AS
    'SELECT reltoastrelid::regclass FROM pg_class WHERE oid = name';
-- none if all values are in the table itself
CREATE FUNCTION chunks(name regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE 'SELECT count(*) FROM ' || toast_table(name) INTO result;
    RETURN result;
END
$$;
CREATE FUNCTION locks_toast(name regclass) RETURNS boolean LANGUAGE sql AS $$
    SELECT count(*) > 0 FROM pg_locks
    WHERE pid = pg_backend_pid() AND mode = 'AccessShareLock' AND relation = toast_table(name)
$$;

-- every storage of every type, with NULLs between
CREATE TABLE stored (id integer, v vector(900), h halfvec(2100), s sparsevec(1000), e vector(500));
CREATE FUNCTION try_storages() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    storage text;
    col text;
BEGIN
    FOREACH storage IN ARRAY ARRAY['PLAIN', 'EXTERNAL', 'EXTENDED', 'MAIN'] LOOP
        FOREACH col IN ARRAY ARRAY['v', 'h', 's', 'e'] LOOP
            TRUNCATE stored;
            EXECUTE format('ALTER TABLE stored ALTER %I SET STORAGE %s', col, storage);
            EXECUTE format('INSERT INTO stored (id, %1$I) SELECT i, CASE WHEN i %% 9 > 0 THEN '
                           'long_vector(%2$s, i)%3$s END FROM generate_series(1, 40) i', col,
                           CASE col WHEN 'v' THEN 900 WHEN 'h' THEN 2100 WHEN 's' THEN 1000 ELSE 500 END,
                           CASE col WHEN 'h' THEN '::halfvec' WHEN 's' THEN '::sparsevec' ELSE '' END);
            EXECUTE format('CREATE INDEX stored_i ON stored USING vhnsw (%I %s)', col,
                           CASE col WHEN 'h' THEN 'halfvec_l2_ops' WHEN 's' THEN 'sparsevec_l2_ops'
                                    ELSE 'vector_l2_ops' END);
            RETURN NEXT format('%s %s: %s, in the table: %s, %s', col, storage,
                               (SELECT count(*) FROM stored), chunks('stored') = 0,
                               agrees(format('SELECT id, %1$I <-> (SELECT %1$I FROM stored WHERE id = 7) AS d '
                                             'FROM stored ORDER BY d LIMIT 25', col)));
            DROP INDEX stored_i;
        END LOOP;
    END LOOP;
END
$$;
SELECT try_storages();

CREATE TABLE items (id integer PRIMARY KEY, v vector(600), note text DEFAULT 'x');
INSERT INTO items SELECT i, long_vector(600, i) FROM generate_series(1, 120) i;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
ANALYZE items;
SELECT chunks('items');

-- what is known is not computed again, and is right wherever it stands
SELECT agrees('SELECT id, v <-> long_vector(600, 500) AS d, 1 + (v <-> long_vector(600, 500)) AS e, v FROM items ORDER BY d LIMIT 20');
SELECT agrees('SELECT id FROM items WHERE v <-> long_vector(600, 500) > 0.1 AND id % 3 = 1 ORDER BY v <-> long_vector(600, 500), id LIMIT 20');
SELECT agrees('SELECT id, (SELECT max(x) FROM generate_series(1, id % 5) x WHERE x < (v <-> long_vector(600, 500))) FROM items ORDER BY v <-> long_vector(600, 500) LIMIT 20');
-- the other vector out of line, for each outer row another, or NULL
SELECT agrees('SELECT a.id, s.id, s.d FROM items a, LATERAL (SELECT b.id, b.v <-> a.v AS d FROM items b ORDER BY d LIMIT 3) s WHERE a.id < 30');
SELECT agrees('SELECT a.id, s.id, s.d FROM items a, LATERAL (SELECT b.id, a.v <-> b.v AS d FROM items b WHERE b.id <> a.id ORDER BY d LIMIT 3) s WHERE a.id < 30');
SELECT agrees('SELECT a, s.id, s.d FROM generate_series(-1, 3) a, LATERAL (SELECT b.id, b.v <-> (SELECT v FROM items WHERE id = a) AS d FROM items b ORDER BY d, id LIMIT 3) s');
CREATE INDEX items_half ON items USING vhnsw ((v::halfvec(600)) halfvec_cosine_ops);
SELECT agrees('SELECT id, v::halfvec(600) <=> long_vector(600, 9)::halfvec(600) AS d FROM items ORDER BY d LIMIT 20');

-- the lock is kept by this scan, and only by it
SET enable_seqscan = off;
SET enable_sort = off;
BEGIN;
SELECT count(*) FROM (SELECT v <-> long_vector(600, 4) FROM items WHERE id < 9) s;
SELECT locks_toast('items');
SELECT id FROM items ORDER BY v <-> long_vector(600, 4) LIMIT 1;
SELECT locks_toast('items');
COMMIT;
SELECT locks_toast('items');

-- cursors: between subtransactions, and kept after the end
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> long_vector(600, 4);
SAVEPOINT s;
FETCH 1 FROM c;
ROLLBACK TO s;
FETCH 2 FROM c;
SAVEPOINT s;
DELETE FROM items WHERE id % 2 = 0;
UPDATE items SET v = long_vector(600, id + 1000);
FETCH 2 FROM c;
SELECT agrees('SELECT id, v <-> long_vector(600, 4) AS d FROM items ORDER BY d LIMIT 20');
ROLLBACK TO s;
FETCH 2 FROM c;
SELECT agrees('SELECT id, v <-> long_vector(600, 4) AS d FROM items ORDER BY d LIMIT 20');
COMMIT;
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY v <-> long_vector(600, 4) LIMIT 12;
FETCH 1 FROM h;
COMMIT;
FETCH 2 FROM h;
CLOSE h;

-- a scan that fails in the middle, caught
CREATE FUNCTION fails_at(which integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    row record;
    n integer := 0;
BEGIN
    FOR row IN SELECT id FROM items ORDER BY v <-> long_vector(600, 4) LIMIT 30 LOOP
        n := n + 1 / (CASE WHEN n >= which THEN 0 ELSE 1 END);
    END LOOP;
    RETURN n;
EXCEPTION WHEN division_by_zero THEN
    RETURN -n;
END
$$;
SELECT fails_at(5), fails_at(100), fails_at(0);

-- values are found again without the index of the TOAST table, a page or two
-- for each less; in the places of others, which were deleted, by it
CREATE FUNCTION buffers(query text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan;
    RETURN (plan #>> '{0,Plan,Shared Hit Blocks}')::integer + (plan #>> '{0,Plan,Shared Read Blocks}')::integer;
END
$$;
CREATE TABLE again (id integer, v vector(900));
ALTER TABLE again ALTER v SET STORAGE external;
INSERT INTO again SELECT i, long_vector(900, i) FROM generate_series(1, 100) i;
CREATE INDEX ON again USING vhnsw (v vector_l2_ops);
ANALYZE again;
SELECT buffers(query) - 30 > buffers(query) AS fewer
FROM CAST('SELECT id, v <-> long_vector(900, 101) AS d FROM again ORDER BY d LIMIT 60' AS text) query;
SELECT agrees('SELECT id, v <-> long_vector(900, 101) AS d FROM again ORDER BY d LIMIT 60');
DELETE FROM again WHERE id % 3 = 0;
VACUUM again;
INSERT INTO again SELECT i, long_vector(900, i) FROM generate_series(200, 230) i;
SELECT agrees('SELECT id, v <-> long_vector(900, 101) AS d FROM again ORDER BY d LIMIT 60');
SELECT agrees('SELECT id, v <-> long_vector(900, 101) AS d FROM again ORDER BY d LIMIT 60');
VACUUM FULL again;
SELECT agrees('SELECT id, v <-> long_vector(900, 101) AS d FROM again ORDER BY d LIMIT 60');
SELECT agrees('SELECT id, v <-> long_vector(900, 101) AS d FROM again ORDER BY d LIMIT 60');
DROP TABLE again;
DROP FUNCTION buffers;

-- rewritten tables, and a column that was dropped before it
ALTER TABLE items DROP COLUMN note;
VACUUM FULL items;
SELECT agrees('SELECT id, v <-> long_vector(600, 4) AS d FROM items ORDER BY d LIMIT 20');
DROP TABLE items, stored;
DROP FUNCTION long_vector, answer, agrees, toast_table, chunks, locks_toast, try_storages, fails_at;

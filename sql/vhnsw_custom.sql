--
-- vhnsw: the custom scan "Vhnsw Scan" in all places where core may put a scan,
-- and every way to find the rows that pass a filter.
--
-- agrees() runs a query with the scan and without the index, and compares the
-- rows, in order.  ef covers the table, so approximation plays no part; where
-- the answers could differ by ties there are none.
--
SET client_min_messages = warning;

CREATE FUNCTION random_vector(n integer, seed bigint) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg((hashint8extended(i, seed) & 65535) / 65535.0)::vector
    FROM generate_series(1, n) i
$$;

CREATE TABLE items (id integer PRIMARY KEY, category integer, label text, v vector(8),
                    twice integer GENERATED ALWAYS AS (category * 2) STORED);
INSERT INTO items
SELECT i, i % 20, 'label ' || i % 7,
       CASE WHEN i % 50 <> 0 THEN random_vector(8, i) END
FROM generate_series(1, 2000) i;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
CREATE INDEX items_category ON items (category);
ANALYZE items;
SET vhnsw.ef_search = 1000;

CREATE FUNCTION agrees(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    through_scan text;
    exact text;
    plan text;
    uses_scan boolean := false;
BEGIN
    query := 'SELECT string_agg(s::text, '' '') FROM (' || query || ') s';
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_sort = off;
    SET LOCAL enable_bitmapscan = on;
    SET LOCAL enable_indexscan = on;
    FOR plan IN EXECUTE 'EXPLAIN ' || query LOOP
        uses_scan := uses_scan OR plan LIKE '%Custom Scan (Vhnsw Scan)%';
    END LOOP;
    EXECUTE query INTO through_scan;
    SET LOCAL enable_seqscan = on;
    SET LOCAL enable_sort = on;
    SET LOCAL enable_indexscan = off;
    EXECUTE query INTO exact;
    SET LOCAL enable_indexscan = on;
    IF NOT uses_scan THEN
        RETURN 'another plan';
    ELSIF through_scan IS NOT DISTINCT FROM exact THEN
        RETURN 'agrees';
    END IF;
    RETURN 'scan: ' || left(through_scan, 300) || ' exact: ' || left(exact, 300);
END
$$;

-- what it shows
CREATE FUNCTION explain_analyze(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
        RETURN NEXT regexp_replace(line, '(Visited|Scored|Fetches|Filtered|by Filter): \d+', '\1: N');
    END LOOP;
END
$$;
SET vhnsw.ef_search = 40;
SET enable_seqscan = off;
SET vhnsw.filter_strategy = search;
SELECT explain_analyze('SELECT id FROM items WHERE id % 2 = 0 ORDER BY v <-> ''[1,1,1,1,1,1,1,1]'' LIMIT 5');
SELECT explain_analyze('SELECT id FROM items ORDER BY v <-> ''[1,1,1,1,1,1,1,1]'', id LIMIT 5');
EXPLAIN (COSTS OFF, VERBOSE) SELECT id FROM items ORDER BY '[1,1,1,1,1,1,1,1]' <-> v LIMIT 5;
RESET vhnsw.filter_strategy;
SET vhnsw.enable_scan = off;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 5;
RESET enable_seqscan;
RESET vhnsw.enable_scan;
SET enable_indexscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 5;
RESET enable_indexscan;
SET vhnsw.ef_search = 1000;

-- columns of all kinds, rows of all kinds
SELECT agrees('SELECT id, v, twice, ctid, tableoid::regclass, xmin, items FROM items ORDER BY v <-> random_vector(8, 5) LIMIT 20');
SELECT agrees('SELECT id, v <-> random_vector(8, 5) AS d FROM items ORDER BY d LIMIT 20 OFFSET 7');
SELECT agrees('SELECT v <-> random_vector(8, 5) AS d FROM items ORDER BY d');
SELECT agrees('SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> (SELECT NULL::vector) LIMIT 5000) s');
SELECT agrees('SELECT id FROM items ORDER BY v <-> random_vector(8, 5), id LIMIT 20');
SELECT agrees('SELECT id FROM items ORDER BY v <-> random_vector(8, 5) LIMIT 0');
-- more ties than ef, and no row of them is left out where all are wanted
CREATE TABLE tied AS
SELECT i AS id, random_vector(8, least(i, 10))::vector(8) AS v FROM generate_series(1, 300) i;
CREATE INDEX tied_v ON tied USING vhnsw (v vector_l2_ops);
ANALYZE tied;
SET vhnsw.ef_search = 10;
SELECT agrees('SELECT v <-> random_vector(8, 11) FROM tied ORDER BY v <-> random_vector(8, 11) FETCH FIRST 12 ROWS WITH TIES');
SET vhnsw.filter_strategy = search;
SELECT agrees('SELECT v <-> random_vector(8, 11) FROM tied ORDER BY v <-> random_vector(8, 11) FETCH FIRST 12 ROWS WITH TIES');
SELECT agrees('SELECT id FROM tied ORDER BY v <-> random_vector(8, 11), id LIMIT 12');
SELECT agrees('SELECT id FROM tied ORDER BY v <-> random_vector(8, 11), id DESC LIMIT 12');
RESET vhnsw.filter_strategy;
DROP TABLE tied;

-- conditions, in each way to find what passes, for many filters and queries
SET vhnsw.ef_search = 1000;
CREATE FUNCTION agrees_with(strategy text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    condition text;
BEGIN
    PERFORM set_config('vhnsw.filter_strategy', strategy, true);
    FOREACH condition IN ARRAY ARRAY['category = 3', 'category < 10', 'category = 3 AND id % 40 = 3',
        'category IN (1, 2) OR category = 17', 'category = 99', 'v <-> random_vector(8, 77) < 0.9',
        'v IS NULL', 'label = ''label 3''', 'id = 7', 'category = (SELECT min(category) FROM items)']
    LOOP
        RETURN QUERY
        SELECT format('%s, %s: %s', strategy, condition, a)
        FROM generate_series(1, 4) AS seed,
            LATERAL agrees(format('SELECT id, v <-> random_vector(8, %s) AS d FROM items WHERE %s ORDER BY d, id LIMIT %s',
                                  10000 + seed, condition, seed * seed * 3)) a
        WHERE a <> 'agrees';
    END LOOP;
    PERFORM set_config('vhnsw.filter_strategy', 'auto', true);
END
$$;
SELECT agrees_with('search');
SELECT agrees_with('bitmap');
SELECT agrees_with('matches');
SELECT agrees_with('exact');
SELECT agrees_with('auto');
-- they do what their name says
SET enable_seqscan = off;
SET enable_sort = off;
SET vhnsw.filter_strategy = bitmap;
SELECT explain_analyze('SELECT id FROM items WHERE category = 3 ORDER BY v <-> ''[1,1,1,1,1,1,1,1]'' LIMIT 5');
SET vhnsw.filter_strategy = matches;
SELECT explain_analyze('SELECT id FROM items WHERE category = 3 ORDER BY v <-> ''[1,1,1,1,1,1,1,1]'' LIMIT 5');
SET vhnsw.filter_strategy = exact;
SELECT explain_analyze('SELECT id FROM items WHERE category = 3 ORDER BY v <-> ''[1,1,1,1,1,1,1,1]'' LIMIT 5');
RESET vhnsw.filter_strategy;
-- a bitmap that has forgotten single rows
SET work_mem = 64;
SET vhnsw.filter_strategy = matches;
SELECT agrees('SELECT id FROM items WHERE id > 50 AND v IS NOT NULL ORDER BY v <-> random_vector(8, 5) LIMIT 30');
SET vhnsw.filter_strategy = bitmap;
SELECT agrees('SELECT id FROM items WHERE id > 50 AND v IS NOT NULL ORDER BY v <-> random_vector(8, 5) LIMIT 30');
RESET vhnsw.filter_strategy;
RESET work_mem;

-- repeated with other parameters: LATERAL, subqueries, prepared statements
SELECT agrees('SELECT q, s.id FROM generate_series(1, 30) q, LATERAL (SELECT id FROM items ORDER BY v <-> random_vector(8, q) LIMIT 3) s');
SELECT agrees('SELECT q, s.id FROM generate_series(1, 30) q, LATERAL (SELECT id FROM items WHERE category = q ORDER BY v <-> random_vector(8, q) LIMIT 3) s');
SELECT agrees('SELECT q, (SELECT id FROM items ORDER BY v <-> random_vector(8, q) LIMIT 1) FROM generate_series(1, 30) q');
SELECT agrees('SELECT a.id, s.id FROM items a, LATERAL (SELECT b.id FROM items b WHERE b.id <> a.id ORDER BY b.v <-> a.v LIMIT 2) s WHERE a.id < 40');
SELECT agrees('SELECT s.id, c FROM (SELECT id, category FROM items ORDER BY v <-> random_vector(8, 3) LIMIT 30) s JOIN generate_series(1, 5) c ON c = s.category');
SET plan_cache_mode = force_generic_plan;
PREPARE nearest (vector, integer, integer) AS
    SELECT id FROM items WHERE category = $2 ORDER BY v <-> $1 LIMIT $3;
CREATE FUNCTION prepared(query vector, category integer, how_many integer) RETURNS integer[]
LANGUAGE plpgsql AS $$
DECLARE
    ids integer[];
BEGIN
    SELECT array_agg(id) INTO ids
    FROM (SELECT id FROM items i WHERE i.category = prepared.category ORDER BY v <-> query LIMIT how_many) s;
    RETURN ids;
END
$$;
SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) EXECUTE nearest(random_vector(8, 1), 3, 5);
SELECT jsonb_agg(prepared(random_vector(8, i), i, i) ORDER BY i) =
       jsonb_agg((SELECT array_agg(id) FROM (SELECT id FROM items WHERE category = i
                                             ORDER BY (v <-> random_vector(8, i)) + 0 LIMIT i) s) ORDER BY i)
FROM generate_series(1, 10) i;
RESET plan_cache_mode;

-- cursors
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM items WHERE category < 5 ORDER BY v <-> random_vector(8, 9);
CREATE TABLE fetched (n serial, id integer);
CREATE FUNCTION fetch_all(c refcursor, step integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    row record;
BEGIN
    LOOP
        FETCH c INTO row;
        EXIT WHEN NOT FOUND;
        INSERT INTO fetched (id) VALUES (row.id);
    END LOOP;
END
$$;
FETCH 3 FROM c;
MOVE BACKWARD ALL FROM c;
FETCH 4 FROM c;
FETCH BACKWARD 2 FROM c;
MOVE BACKWARD ALL FROM c;
SELECT fetch_all('c', 1);
SELECT array_agg(f.id ORDER BY n) = (SELECT array_agg(id ORDER BY (v <-> random_vector(8, 9)) + 0)
                                      FROM items WHERE category < 5 AND v IS NOT NULL)
FROM fetched f JOIN items USING (id) WHERE v IS NOT NULL;
SELECT count(*), count(DISTINCT id) FROM fetched;
CLOSE c;
-- when a search has cost more than reading the table, that takes over, also in
-- the middle of equally near rows: each row comes once, but those that are late
CREATE TABLE fours WITH (fillfactor = 40) AS
SELECT i AS id, 0 AS note, (CASE WHEN i % 100 <> 0 THEN random_vector(8, i % 1000) END)::vector(8) AS v
FROM generate_series(1, 4000) i;
CREATE INDEX fours_v ON fours USING vhnsw (v vector_l2_ops);
ANALYZE fours;
CREATE FUNCTION read_on(query vector, OUT in_order boolean, OUT complete boolean, OUT by_exact bigint)
LANGUAGE plpgsql AS $$
DECLARE
    c CURSOR FOR SELECT id FROM fours ORDER BY v <-> query;
BEGIN
    PERFORM vhnsw_stats_reset('fours_v');
    TRUNCATE fetched RESTART IDENTITY;
    OPEN c;
    PERFORM fetch_all(c, 1);
    CLOSE c;
    SELECT bool_and(d >= previous OR d IS NULL OR previous IS NULL) INTO in_order
    FROM (SELECT d, lag(d) OVER (ORDER BY n) AS previous
          FROM (SELECT n, v <-> query AS d FROM fetched JOIN fours USING (id)) s) t;
    SELECT count(*) = count(DISTINCT id) AND count(*) = 4000 - late_rows AND late_rows < 40, exact_searches
    INTO complete, by_exact
    FROM fetched, vhnsw_stats('fours_v') GROUP BY late_rows, exact_searches;
END $$;
SET vhnsw.ef_search = 40;
SELECT bool_and(in_order), bool_and(complete), sum(by_exact)
FROM generate_series(1, 8) i, read_on(random_vector(8, 5000 + i));
-- the same with rows that were updated in place
UPDATE fours SET note = 1;
SELECT bool_and(in_order), bool_and(complete), sum(by_exact)
FROM generate_series(1, 8) i, read_on(random_vector(8, 5000 + i));
SET vhnsw.iterative_scan = relaxed_order;
SELECT complete, by_exact FROM read_on(random_vector(8, 5001));
RESET vhnsw.iterative_scan;
-- of bit strings bounds are distances, so that rows are returned before all that
-- are as near have been read: none of these is left out, and none comes twice.
-- There are seven at every distance from zero, which are as many elements.
CREATE TABLE sevens AS
SELECT i AS id, rpad(lpad(repeat('1', i / 7), i / 7 + 200 * (i % 7), '0'), 2000, '0')::bit(2000) AS b
FROM generate_series(7, 3506) i;
CREATE INDEX sevens_b ON sevens USING vhnsw (b bit_hamming_ops);
ANALYZE sevens;
CREATE FUNCTION read_sevens(OUT in_order boolean, OUT returned bigint, OUT different bigint, OUT late bigint,
                            OUT by_exact bigint)
LANGUAGE plpgsql AS $$
DECLARE
    c CURSOR FOR SELECT id FROM sevens ORDER BY b <~> 0::bit(2000);
BEGIN
    PERFORM vhnsw_stats_reset('sevens_b');
    TRUNCATE fetched RESTART IDENTITY;
    OPEN c;
    PERFORM fetch_all(c, 1);
    CLOSE c;
    SELECT bool_and(id / 7 >= previous), count(*), count(DISTINCT id) INTO in_order, returned, different
    FROM (SELECT id, lag(id / 7) OVER (ORDER BY n) AS previous FROM fetched) s;
    SELECT late_rows, exact_searches INTO late, by_exact FROM vhnsw_stats('sevens_b');
END $$;
SELECT ef, r.*
FROM unnest('{10,160}'::integer[]) ef, set_config('vhnsw.ef_search', ef::text, false), read_sevens() r;
SET vhnsw.ef_search = 1000;
-- without LIMIT the first rows come before all is read
DECLARE c NO SCROLL CURSOR FOR SELECT id FROM items ORDER BY v <-> random_vector(8, 9);
FETCH 2 FROM c;
FETCH 1 FROM c;
ROLLBACK;

-- locking
BEGIN;
SELECT id FROM items WHERE category = 3 ORDER BY v <-> random_vector(8, 9) LIMIT 2 FOR UPDATE;
UPDATE items SET label = 'near' WHERE id IN (SELECT id FROM items ORDER BY v <-> random_vector(8, 9) LIMIT 2);
SELECT id, label FROM items ORDER BY v <-> random_vector(8, 9) LIMIT 3;
DELETE FROM items WHERE id IN (SELECT id FROM items ORDER BY v <-> random_vector(8, 9) LIMIT 2);
SELECT agrees('SELECT id, label FROM items ORDER BY v <-> random_vector(8, 9) LIMIT 30');
SELECT agrees('SELECT id, label FROM items WHERE category < 3 ORDER BY v <-> random_vector(8, 9) LIMIT 30');
ROLLBACK;

-- a condition that leaks sees no row that the barrier hides
CREATE FUNCTION leak(integer) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN
    IF $1 % 20 <> 3 THEN
        RAISE WARNING 'leaked %', $1;
    END IF;
    RETURN true;
END
$$;
CREATE VIEW threes WITH (security_barrier) AS SELECT * FROM items WHERE category = 3;
SELECT id FROM threes WHERE leak(id) ORDER BY v <-> random_vector(8, 5) LIMIT 3;
CREATE ROLE vhnsw_reader;
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
CREATE POLICY threes ON items USING (category = 3);
GRANT SELECT ON items TO vhnsw_reader;
SET ROLE vhnsw_reader;
EXPLAIN (COSTS OFF) SELECT id, category FROM items WHERE leak(id) ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 3;
SELECT id, category FROM items WHERE leak(id) ORDER BY v <-> random_vector(8, 5) LIMIT 3;
RESET ROLE;
ALTER TABLE items DISABLE ROW LEVEL SECURITY;
DROP POLICY threes ON items;
DROP OWNED BY vhnsw_reader;
DROP ROLE vhnsw_reader;
DROP VIEW threes;
-- an operator that fails is not called for rows that do not pass
SELECT id FROM items WHERE category = 3 AND 1 / (category - 4) < 0 ORDER BY v <-> random_vector(8, 5) LIMIT 1;

-- a partial index and one on an expression
DROP INDEX items_v;
CREATE INDEX items_some ON items USING vhnsw (v vector_l2_ops) WHERE category < 5;
CREATE INDEX items_part ON items USING vhnsw ((subvector(v, 1, 4)::vector(4)) vector_cosine_ops);
SELECT agrees('SELECT id FROM items WHERE category < 5 ORDER BY v <-> random_vector(8, 5) LIMIT 10');
SELECT agrees('SELECT id FROM items WHERE category = 3 ORDER BY v <-> random_vector(8, 5) LIMIT 10');
SELECT agrees('SELECT id FROM items WHERE category < 6 ORDER BY v <-> random_vector(8, 5) LIMIT 10');
SET vhnsw.filter_strategy = exact;
SELECT agrees('SELECT id FROM items WHERE category < 5 ORDER BY v <-> random_vector(8, 5) LIMIT 10');
RESET vhnsw.filter_strategy;
SELECT agrees('SELECT id FROM items ORDER BY subvector(v, 1, 4)::vector(4) <=> ''[1,2,3,4]'' LIMIT 10');

-- inheritance and partitions
CREATE TABLE parted (id integer, category integer, v vector(8)) PARTITION BY LIST (category);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES IN (0, 1);
CREATE TABLE parted_1 (category integer, dropped text, v vector(8), id integer);
ALTER TABLE parted_1 DROP COLUMN dropped;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES IN (2, 3);
INSERT INTO parted SELECT i, i % 4, random_vector(8, i) FROM generate_series(1, 1000) i;
CREATE INDEX ON parted USING vhnsw (v vector_l2_ops);
ANALYZE parted;
SELECT agrees('SELECT id, category, tableoid::regclass FROM parted ORDER BY v <-> random_vector(8, 5) LIMIT 30');
SELECT agrees('SELECT id FROM parted WHERE category IN (1, 2) ORDER BY v <-> random_vector(8, 5), id LIMIT 30');
SELECT agrees('SELECT id FROM parted WHERE category = 2 ORDER BY v <-> random_vector(8, 5) LIMIT 30');
EXPLAIN (COSTS OFF) SELECT id FROM parted WHERE category IN (1, 2) ORDER BY v <-> '[1,1,1,1,1,1,1,1]', id LIMIT 3;
DROP TABLE parted;

-- more rows than the memory has room for
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
SET work_mem = 64;
SELECT agrees('SELECT id FROM items WHERE v IS NOT NULL ORDER BY v <-> random_vector(8, 5) LIMIT 1900');
SELECT agrees('SELECT id FROM items WHERE v IS NOT NULL ORDER BY v <-> ''[1e30,1,1,1,1,1,1,1]'', id LIMIT 1900');
RESET work_mem;

-- rows that were updated in place: the index knows the first version only
CREATE TABLE hot (id integer, label integer, v vector(8)) WITH (fillfactor = 40);
INSERT INTO hot SELECT i, 0, random_vector(8, i) FROM generate_series(1, 500) i;
CREATE INDEX ON hot USING vhnsw (v vector_l2_ops);
UPDATE hot SET label = 1 WHERE id % 2 = 0;
UPDATE hot SET label = 2 WHERE id % 4 = 0;
ANALYZE hot;
SET vhnsw.filter_strategy = search;
SELECT agrees('SELECT ctid, * FROM hot ORDER BY v <-> random_vector(8, 5) LIMIT 200');
SELECT agrees('SELECT ctid, * FROM hot WHERE label = 2 ORDER BY v <-> random_vector(8, 5) LIMIT 100');
SET vhnsw.filter_strategy = exact;
SELECT agrees('SELECT ctid, * FROM hot WHERE label > 0 ORDER BY v <-> random_vector(8, 5) LIMIT 200');
RESET vhnsw.filter_strategy;
DROP TABLE hot;

-- iterative_scan: off ends after ef elements, the others go on
SET vhnsw.ef_search = 10;
SET vhnsw.filter_strategy = search;
SET vhnsw.iterative_scan = off;
SELECT count(*) BETWEEN 1 AND 19 AS few
FROM (SELECT id FROM items WHERE category >= 15 ORDER BY v <-> random_vector(8, 9) LIMIT 20) s;
-- then ef need not be more than what is wanted
CREATE FUNCTION ef(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
        IF line ~ ' Ef: |Limit ' THEN
            RETURN NEXT regexp_replace(trim(line), ' *loops=1', '');
        END IF;
    END LOOP;
END $$;
SELECT ef('SELECT id FROM items ORDER BY v <-> random_vector(8, 9) LIMIT 10');
SELECT ef('SELECT id FROM items ORDER BY v <-> random_vector(8, 9) LIMIT 16');
SET vhnsw.iterative_scan = strict_order;
SELECT ef('SELECT id FROM items ORDER BY v <-> random_vector(8, 9) LIMIT 16');
-- it shows what was set where that ends the search, though more are found
SELECT ef('SELECT id FROM items ORDER BY v <-> random_vector(8, 9) LIMIT 5');
SELECT ef('SELECT id FROM items WHERE category < 10 ORDER BY v <-> random_vector(8, 9) LIMIT 5');
DROP FUNCTION ef;
SET vhnsw.iterative_scan = relaxed_order;
SELECT count(*) FROM (SELECT id FROM items WHERE category >= 15 ORDER BY v <-> random_vector(8, 9) LIMIT 20) s;
SET vhnsw.iterative_scan = strict_order;
SELECT count(*), array_agg(d) = array_agg(d ORDER BY d) AS in_order
FROM (SELECT v <-> random_vector(8, 9) AS d FROM items WHERE category >= 15 ORDER BY d LIMIT 20) s;
RESET vhnsw.iterative_scan;

-- max_scan_tuples ends a search that has found ef, and shows it
CREATE FUNCTION cut(condition text, wanted integer, OUT searches_cut bigint, OUT few boolean, OUT visited_few boolean)
LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    PERFORM vhnsw_stats_reset('items_v');
    EXECUTE format('SELECT count(*) FROM (SELECT id FROM items WHERE %s ORDER BY v <-> random_vector(8, 9) LIMIT %s) s',
                   condition, wanted) INTO found;
    SELECT cut_searches, found < wanted, expanded + evaluated BETWEEN 10 AND 400
    INTO searches_cut, few, visited_few FROM vhnsw_stats('items_v');
END $$;
SELECT * FROM cut('category >= 15', 100);
SET vhnsw.max_scan_tuples = 150;
SELECT * FROM cut('category >= 15', 20);
SELECT * FROM cut('true', 5);
SET vhnsw.max_scan_tuples = 1;
SELECT * FROM cut('true', 5);
SELECT * FROM cut('category >= 15', 20);
SELECT explain_analyze('SELECT id FROM items WHERE category >= 15 ORDER BY v <-> ''[1,1,1,1,1,1,1,1]'' LIMIT 20');
BEGIN;
SET LOCAL vhnsw.enable_scan = off;
SET LOCAL enable_sort = off;
SELECT * FROM cut('category >= 15', 20);
ROLLBACK;
SET vhnsw.max_scan_tuples = 1000000;
SELECT * FROM cut('category >= 15', 100);
SET vhnsw.max_scan_tuples = 150;
SET vhnsw.filter_strategy = matches;
SELECT searches_cut, few FROM cut('category >= 15', 20);
RESET vhnsw.max_scan_tuples;
SET vhnsw.iterative_scan = off;
SET vhnsw.filter_strategy = search;
SELECT * FROM cut('category >= 15', 20);
RESET vhnsw.iterative_scan;
DROP FUNCTION cut;
RESET vhnsw.filter_strategy;
SET vhnsw.ef_search = 1000;

-- what does not match
SET enable_seqscan = on;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <-> '[1,1,1,1,1,1,1,1]' DESC LIMIT 1;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <=> '[1,1,1,1,1,1,1,1]' LIMIT 1;
EXPLAIN (COSTS OFF) SELECT id FROM items TABLESAMPLE system (50) ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 1;

-- settings
SET vhnsw.filter_strategy = nonsense;
SHOW vhnsw.filter_strategy;
SELECT name, setting, short_desc FROM pg_settings WHERE name IN ('vhnsw.enable_scan', 'vhnsw.filter_strategy', 'vhnsw.max_scan_tuples', 'vhnsw.scan_mem_multiplier') ORDER BY 1;

-- counters
SELECT vhnsw_stats_reset('items_v');
SELECT searches, expanded, heap_fetches FROM vhnsw_stats('items_v');
SET enable_seqscan = off;
SET enable_sort = off;
SET vhnsw.ef_search = 40;
SET vhnsw.filter_strategy = search;
SELECT count(*) FROM (SELECT id FROM items WHERE category < 10 ORDER BY v <-> random_vector(8, 9) LIMIT 10) s;
SELECT searches, expanded > 0 AS expanded, evaluated + scored > 0 AS scored, heap_fetches > 10 AS fetched, filtered_rows > 0 AS filtered,
       invisible_rows, late_rows FROM vhnsw_stats('items_v');
SET vhnsw.enable_scan = off;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> random_vector(8, 9) LIMIT 10) s;
SELECT searches, filtered_rows > 0 AS filtered FROM vhnsw_stats('items_v');
RESET vhnsw.enable_scan;
SET vhnsw.filter_strategy = exact;
SELECT count(*) FROM (SELECT id FROM items WHERE category = 3 ORDER BY v <-> random_vector(8, 9) LIMIT 10) s;
SET vhnsw.filter_strategy = bitmap;
SELECT count(*) FROM (SELECT id FROM items WHERE category = 3 ORDER BY v <-> random_vector(8, 9) LIMIT 10) s;
SET vhnsw.filter_strategy = matches;
SELECT count(*) FROM (SELECT id FROM items WHERE category = 3 ORDER BY v <-> random_vector(8, 9) LIMIT 10) s;
SELECT count(*) FROM (SELECT id FROM items WHERE category = 3 ORDER BY v <-> random_vector(8, 9) LIMIT 10) s;
SELECT searches, bitmap_searches, matches_searches, exact_searches FROM vhnsw_stats('items_v');
RESET vhnsw.filter_strategy;
SELECT vhnsw_stats('items_category');

DROP TABLE items;
DROP FUNCTION agrees, agrees_with, explain_analyze, prepared, leak, random_vector;

-- a small table whose vectors are stored out of line is no place for reading
-- them all; one of short vectors is
CREATE TABLE long_vectors AS
SELECT i AS id, array_agg(sin(i * j))::vector(800) AS v
FROM generate_series(1, 500) i, generate_series(1, 800) j GROUP BY i;
CREATE TABLE short_vectors AS SELECT id, subvector(v, 1, 8)::vector(8) AS v FROM long_vectors WHERE id <= 100;
CREATE INDEX ON long_vectors USING vhnsw (v vector_l2_ops);
CREATE INDEX ON short_vectors USING vhnsw (v vector_l2_ops);
ANALYZE long_vectors, short_vectors;
RESET enable_seqscan;
RESET enable_sort;
PREPARE of_long (vector) AS SELECT id FROM long_vectors ORDER BY v <-> $1 LIMIT 5;
PREPARE of_short (vector) AS SELECT id FROM short_vectors ORDER BY v <-> $1 LIMIT 5;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE of_long (NULL);
EXPLAIN (COSTS OFF) EXECUTE of_short (NULL);
DROP TABLE long_vectors, short_vectors;

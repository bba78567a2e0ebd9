-- vhnsw: a scan that is asked for a few rows more than ef walks on in the
-- graph; it does not read the whole index.  The executor asks for more than
-- LIMIT rows, to be sure of their order, so this is every LIMIT >= ef_search.
CREATE TABLE items AS
SELECT i AS id, array_agg(sin(i * 12.9898 + j * 78.233 * (i % 89)))::vector(4) AS v
FROM generate_series(1, 20000) AS i, generate_series(1, 4) AS j GROUP BY i;
CREATE INDEX ON items USING vhnsw (v vector_l2_ops);
ANALYZE items;

CREATE FUNCTION search(how_many integer) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM generate_series(1, 20) AS i,
        LATERAL (SELECT id FROM items
                 ORDER BY v <-> ARRAY[sin(i), cos(i), sin(2 * i), 0]::vector
                 LIMIT how_many) AS s
$$;
SET enable_seqscan = off;
SET enable_sort = off;
SET vhnsw.ef_search = 10;
SELECT sweeps AS sweeps_before FROM vhnsw_session_stats() \gset
SELECT search(10), search(20);
SET vhnsw.enable_scan = off;
SELECT search(10), search(20);
RESET vhnsw.enable_scan;
SELECT scans > 0 AS used, sweeps - :sweeps_before AS sweeps FROM vhnsw_session_stats();

DROP FUNCTION search;
DROP TABLE items;

-- A walk that comes out of a local minimum need not visit everything nearer
-- than that minimum: queries between clusters, where it did, by thousands.
CREATE TABLE clusters AS
SELECT i AS id, array_agg((hashint8extended(i % 200, j) & 1023) / 10.0
                          + (hashint8extended(i, j) & 1023) / 170.0)::vector(16) AS v
FROM generate_series(1, 20000) AS i, generate_series(1, 16) AS j GROUP BY i;
CREATE INDEX ON clusters USING vhnsw (v vector_l2_ops);
ANALYZE clusters;
SET vhnsw.ef_search = 40;
CREATE FUNCTION most_expanded() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    query vector;
    before bigint;
    after bigint;
    most bigint := 0;
BEGIN
    FOR i IN 1..100 LOOP
        SELECT array_agg((hashint8extended(i, j + 100) & 1023) / 10.0) INTO query
        FROM generate_series(1, 16) AS j;
        SELECT expanded INTO before FROM vhnsw_session_stats();
        PERFORM id FROM clusters ORDER BY v <-> query LIMIT 10;
        SELECT expanded INTO after FROM vhnsw_session_stats();
        most := greatest(most, after - before);
    END LOOP;
    RETURN most;
END $$;
SELECT most_expanded() BETWEEN 40 AND 10 * 40 AS about_ef;

-- ef_search below its default is kept to, if it is not less than the LIMIT;
-- the rest of the proof takes what was met on the way.
CREATE FUNCTION expanded(ef integer, wanted integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    query vector;
    before bigint;
    after bigint;
    distances double precision[];
BEGIN
    PERFORM set_config('vhnsw.ef_search', ef::text, true);
    SELECT expanded INTO before FROM vhnsw_session_stats();
    FOR i IN 1..100 LOOP
        SELECT array_agg((hashint8extended(i, j + 100) & 1023) / 10.0) INTO query
        FROM generate_series(1, 16) AS j;
        SELECT array_agg(d) INTO distances
        FROM (SELECT v <-> query AS d FROM clusters ORDER BY v <-> query LIMIT wanted) s;
        IF distances <> (SELECT array_agg(d ORDER BY d) FROM unnest(distances) d)
           OR cardinality(distances) <> wanted THEN
            RAISE 'not % rows in order: %', wanted, distances;
        END IF;
    END LOOP;
    SELECT expanded INTO after FROM vhnsw_session_stats();
    RETURN after - before;
END $$;
SELECT expanded(10, 10) < 0.9 * expanded(20, 10) AS ef_10, expanded(9, 10) = expanded(20, 10) AS ef_9,
       expanded(40, 35) > 1.1 * expanded(39, 35) AS ef_39;

-- a page is counted once for each visit
CREATE FUNCTION buffers(OUT visited integer, OUT fetched integer, OUT hits integer) LANGUAGE plpgsql AS $$
DECLARE
    plan json;
    scan json;
BEGIN
    FOR i IN 1..3 LOOP
        EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT id FROM clusters'
                ' ORDER BY v <-> ''[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]'' LIMIT 10' INTO plan;
    END LOOP;
    scan := plan #> '{0,Plan,Plans,0}';
    visited := scan ->> 'Elements Visited';
    fetched := scan ->> 'Heap Fetches';
    hits := scan ->> 'Shared Hit Blocks';
END $$;
SELECT hits BETWEEN visited AND visited + 2 * fetched + 10 AS once FROM buffers();

DROP FUNCTION expanded, most_expanded, buffers;
DROP TABLE clusters;

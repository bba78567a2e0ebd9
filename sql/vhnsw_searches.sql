--
-- vhnsw: searches for an index's own elements at the end of a build.
--
SET client_min_messages = notice;

-- One element, five rows of it, none: nothing to miss, and nothing is said.
CREATE TABLE items (id integer, v vector(3));
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
SELECT elements, searches_found, weak_searches_found FROM vhnsw_info('items_v');
INSERT INTO items VALUES (1, '[1,2,3]');
REINDEX INDEX items_v;
SELECT elements, searches_found, weak_searches_found FROM vhnsw_info('items_v');
INSERT INTO items SELECT i, '[1,2,3]' FROM generate_series(2, 5) i;
REINDEX INDEX items_v;
SELECT rows, elements, searches_found, weak_searches_found FROM vhnsw_info('items_v');
SET vhnsw.build_method = blocked;
REINDEX INDEX items_v;
SELECT rows, elements, searches_found, weak_searches_found FROM vhnsw_info('items_v');
RESET vhnsw.build_method;
DROP INDEX items_v;
CREATE INDEX items_v ON items USING vhnsw (v vector_ip_ops);
SELECT rows, elements, searches_found, weak_searches_found FROM vhnsw_info('items_v');
DROP TABLE items;

-- Few links in many directions: some are missed.  Up to 512 elements are all
-- searched for, once each; of more, every second, and others near those.
CREATE TABLE items (id integer, v vector(48));
INSERT INTO items
SELECT n, (SELECT array_agg((hashint8extended(n * 100 + i, 3) & 65535) / 65536.0::float4 ORDER BY i)::vector
           FROM generate_series(1, 48) i)
FROM generate_series(1, 500) n;
SET client_min_messages = warning;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops) WITH (m = 2, ef_construction = 4);
SELECT elements, searches_found < 1 AS misses, abs(searches_found * 500 - round(searches_found * 500)) < 0.001 AS of_all,
    weak_searches_found FROM vhnsw_info('items_v');
INSERT INTO items
SELECT n, (SELECT array_agg((hashint8extended(n * 100 + i, 3) & 65535) / 65536.0::float4 ORDER BY i)::vector
           FROM generate_series(1, 48) i)
FROM generate_series(501, 900) n;
REINDEX INDEX items_v;
SELECT elements, searches_found < 1 AS misses, abs(searches_found * 450 - round(searches_found * 450)) < 0.001 AS of_half,
    weak_searches_found BETWEEN 0 AND 1 AS others FROM vhnsw_info('items_v');

-- More links: inserts use the old m until REINDEX.
ALTER INDEX items_v SET (m = 32, ef_construction = 128);
INSERT INTO items SELECT id + 1000, v + v FROM items WHERE id <= 20;
SELECT m, degree, elements FROM vhnsw_info('items_v');
SELECT count(*) AS problems FROM vhnsw_check('items_v', true);
REINDEX INDEX items_v;
SELECT m, ef_construction, degree, elements, searches_found > 0.97 AS finds FROM vhnsw_info('items_v');
SELECT count(*) AS problems FROM vhnsw_check('items_v', true);
DROP TABLE items;

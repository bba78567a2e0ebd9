-- What vhnsw says it can do, its operator classes, and what it refuses: the
-- properties are those of pgvector's hnsw, so that tools and the planner take
-- it for the same kind of index.
CREATE TABLE items (id integer, v vector(3), h halfvec(3));
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
INSERT INTO items SELECT i, ARRAY[i, i % 7, 1]::vector, ARRAY[i, i % 5, 1]::halfvec FROM generate_series(1, 1000) AS i;
ANALYZE items;

SELECT name, pg_indexam_has_property(oid, name) AS of_method
FROM pg_am, unnest(ARRAY['can_order', 'can_unique', 'can_multi_col', 'can_exclude', 'can_include']) AS name
WHERE amname = 'vhnsw';
SELECT name, pg_index_has_property('items_v'::regclass, name) AS of_index
FROM unnest(ARRAY['clusterable', 'index_scan', 'bitmap_scan', 'backward_scan']) AS name;
SELECT name, pg_index_column_has_property('items_v'::regclass, 1, name) AS of_column
FROM unnest(ARRAY['asc', 'desc', 'nulls_first', 'nulls_last', 'orderable', 'distance_orderable', 'returnable',
                  'search_array', 'search_nulls']) AS name;

-- operator classes: none is the default, each has its distance and no more
SELECT opcname AS class, opcintype::regtype AS type, opcdefault AS "default", amopopr::regoperator AS operator,
       amopstrategy AS strategy, amoppurpose AS purpose, opfname AS sorts_by,
       (SELECT string_agg(amprocnum || ' ' || amproc, ', ' ORDER BY amprocnum) FROM pg_amproc WHERE amprocfamily = opcfamily) AS functions
FROM pg_opclass AS c JOIN pg_am AS a ON a.oid = opcmethod LEFT JOIN pg_amop AS o ON amopfamily = opcfamily
    LEFT JOIN pg_opfamily AS f ON f.oid = amopsortfamily
WHERE amname = 'vhnsw' ORDER BY opcintype::regtype::text, 1;

-- not for conditions, other orders, or reading the column from the index
SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT v FROM items ORDER BY v <-> '[1,2,3]' LIMIT 3;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <-> '[1,2,3]' DESC LIMIT 3;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <=> '[1,2,3]' LIMIT 3;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE v <-> '[1,2,3]' < 2;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE v = '[1,2,3]';
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v;
EXPLAIN (COSTS OFF) SELECT count(*) FROM items WHERE v IS NULL;
RESET enable_seqscan;
RESET enable_sort;

-- refused, each with its SQLSTATE
CREATE FUNCTION sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT statement, sqlstate_of(statement)
FROM unnest(ARRAY[
    'CREATE INDEX ON items USING vhnsw (v)',
    'CREATE INDEX ON items USING vhnsw (id)',
    'CREATE INDEX ON items USING vhnsw (id vector_l2_ops)',
    'CREATE INDEX ON items USING vhnsw (h vector_l2_ops)',
    'CREATE INDEX ON items USING vhnsw (v bit_hamming_ops)',
    'CREATE INDEX ON items USING vhnsw (v vector_l2_ops DESC)',
    'CREATE INDEX ON items USING vhnsw (v vector_l2_ops NULLS FIRST)',
    'CREATE INDEX ON items USING vhnsw (v vector_l2_ops, h halfvec_l2_ops)',
    'CREATE UNIQUE INDEX ON items USING vhnsw (v vector_l2_ops)',
    'CREATE INDEX ON items USING vhnsw (v vector_l2_ops) INCLUDE (id)',
    'CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (fillfactor = 50)',
    'CREATE INDEX ON items USING vhnsw ((v::vector) vector_l2_ops)',
    'ALTER TABLE items ADD EXCLUDE USING vhnsw (v vector_l2_ops WITH =)',
    'CLUSTER items USING items_v',
    'CREATE INDEX ON items USING hash (v)',
    'CREATE INDEX ON items USING gist (v)',
    'SELECT (v)[1] FROM items']) AS statement;

-- comparison in a B-tree: a long vector does not fit an entry
CREATE TABLE longer (v vector, h halfvec, s sparsevec);
CREATE INDEX ON longer (v);
CREATE INDEX ON longer (h);
CREATE INDEX ON longer (s);
SELECT type, n, sqlstate_of(format('INSERT INTO longer (%s) VALUES (array_fill(1, ARRAY[%s])::%s)', left(type, 1), n, type))
FROM (VALUES ('vector', 670), ('vector', 680), ('halfvec', 1340), ('halfvec', 1360), ('sparsevec', 330), ('sparsevec', 340)) AS v (type, n);

DROP TABLE items, longer;
DROP FUNCTION sqlstate_of;

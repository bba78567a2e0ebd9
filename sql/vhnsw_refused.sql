-- What CREATE INDEX and ALTER INDEX refuse, and what they say to do.
SET client_min_messages = warning;
CREATE TABLE items (id integer, v vector(3), any_v vector, v16000 vector(16000), h16000 halfvec(16000),
    b bit(8), any_b bit varying, b65000 bit(65000), s sparsevec(8)) PARTITION BY HASH (id);

-- On a table without partitions, too, and for each of its indexes
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (m = 65);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (m = 65, ef_construction = 130);
CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (ef_construction = 31);
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops) WITH (ef_construction = 40);
DROP TABLE items;

-- Options of an index that is there
CREATE TABLE items (id integer, v vector(3), any_v vector, v16000 vector(16000), h16000 halfvec(16000),
    b bit(8), any_b bit varying, b65000 bit(65000), s sparsevec(8));
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops) WITH (m = 40, ef_construction = 80);
ALTER INDEX items_v SET (m = 41);
\echo :LAST_ERROR_SQLSTATE
ALTER INDEX items_v SET (ef_construction = 79);
ALTER INDEX items_v SET (m = 100, ef_construction = 200);
ALTER INDEX items_v RESET (ef_construction);
ALTER INDEX items_v RESET (m, ef_construction);
SELECT reloptions FROM pg_class WHERE relname = 'items_v';

-- Dimensions
CREATE INDEX ON items USING vhnsw (any_v vector_l2_ops);
CREATE INDEX ON items USING vhnsw ((any_v::halfvec) halfvec_l2_ops);
CREATE INDEX ON items USING vhnsw (any_b bit_hamming_ops);
CREATE INDEX ON items USING vhnsw (v16000 vector_l2_ops) WITH (code_bits = 8);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON items USING vhnsw (v16000 vector_l2_ops) WITH (m = 32);
CREATE INDEX ON items USING vhnsw (h16000 halfvec_l2_ops) WITH (m = 100, ef_construction = 200, code_bits = 4);
CREATE INDEX ON items USING vhnsw (b65000 bit_jaccard_ops);
CREATE INDEX ON items USING vhnsw (b65000 bit_jaccard_ops) WITH (m = 100, ef_construction = 200);
CREATE INDEX ON items USING vhnsw (b65000 bit_jaccard_ops) WITH (code_bits = 8);

-- What is not for the type
CREATE INDEX ON items USING vhnsw (b bit_hamming_ops) WITH (code_bits = 4);
\echo :LAST_ERROR_SQLSTATE
CREATE INDEX ON items USING vhnsw (s sparsevec_l2_ops) WITH (code_bits = 8);
CREATE INDEX ON items USING vhnsw (v halfvec_l2_ops);
CREATE INDEX ON items USING vhnsw (id vector_l2_ops);
DROP TABLE items;

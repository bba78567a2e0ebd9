-- access method vhnsw

CREATE FUNCTION vhnswhandler(internal) RETURNS index_am_handler
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnswhandler(internal) IS 'vhnsw index access method handler';

CREATE ACCESS METHOD vhnsw TYPE INDEX HANDLER vhnswhandler;
COMMENT ON ACCESS METHOD vhnsw IS 'graph index for nearest neighbor search of vectors';

CREATE FUNCTION vhnsw_l2_metric() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_l2_metric() IS 'vhnsw support';

CREATE FUNCTION vhnsw_inner_product_metric() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_inner_product_metric() IS 'vhnsw support';

CREATE FUNCTION vhnsw_cosine_metric() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_cosine_metric() IS 'vhnsw support';

CREATE OPERATOR CLASS vector_l2_ops
    FOR TYPE vector USING vhnsw AS
    OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 (vector, vector) vhnsw_l2_metric();
COMMENT ON OPERATOR CLASS vector_l2_ops USING vhnsw IS 'Euclidean distance of vectors';

CREATE OPERATOR CLASS vector_ip_ops
    FOR TYPE vector USING vhnsw AS
    OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 (vector, vector) vhnsw_inner_product_metric();
COMMENT ON OPERATOR CLASS vector_ip_ops USING vhnsw IS 'negative inner product of vectors';

CREATE OPERATOR CLASS vector_cosine_ops
    FOR TYPE vector USING vhnsw AS
    OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 (vector, vector) vhnsw_cosine_metric();
COMMENT ON OPERATOR CLASS vector_cosine_ops USING vhnsw IS 'cosine distance of vectors';

CREATE FUNCTION vhnsw_session_stats(
    OUT scans bigint, OUT expanded bigint, OUT evaluated bigint,
    OUT sweeps bigint, OUT late_rows bigint) RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION vhnsw_session_stats() IS 'what the vhnsw scans of this session have done';

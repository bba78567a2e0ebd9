-- access method vhnsw

CREATE FUNCTION vhnswhandler(internal) RETURNS index_am_handler
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnswhandler(internal) IS 'vhnsw index access method handler';

CREATE ACCESS METHOD vhnsw TYPE INDEX HANDLER vhnswhandler;
COMMENT ON ACCESS METHOD vhnsw IS 'graph index for nearest neighbor search of vectors';

CREATE FUNCTION vhnsw_session_stats(
    OUT scans bigint, OUT expanded bigint, OUT evaluated bigint,
    OUT sweeps bigint, OUT late_rows bigint) RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION vhnsw_session_stats() IS 'what the vhnsw scans of this session have done';

CREATE FUNCTION vhnsw_stats(
    index regclass, OUT scope text, OUT searches bigint, OUT expanded bigint,
    OUT evaluated bigint, OUT scored bigint, OUT sweeps bigint, OUT heap_fetches bigint,
    OUT invisible_rows bigint, OUT filtered_rows bigint,
    OUT skipped_rows bigint, OUT late_rows bigint, OUT cut_searches bigint,
    OUT bitmap_searches bigint, OUT matches_searches bigint, OUT exact_searches bigint) RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION vhnsw_stats(regclass) IS 'what the searches of a vhnsw index have done';

CREATE FUNCTION vhnsw_stats_reset(index regclass) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION vhnsw_stats_reset(regclass) IS 'count the searches of a vhnsw index anew';

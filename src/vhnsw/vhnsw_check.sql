-- looking into vhnsw indexes

CREATE FUNCTION vhnsw_check(
    index regclass, heap boolean DEFAULT false,
    OUT severity text, OUT invariant text, OUT block bigint, OUT item integer,
    OUT message text) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION vhnsw_check(regclass, boolean) IS 'violated invariants of a vhnsw index, if any; with heap, compared with its table';

CREATE FUNCTION vhnsw_info(
    index regclass,
    OUT metric text, OUT dimensions integer, OUT m integer,
    OUT ef_construction integer, OUT degree integer,
    OUT format_version integer, OUT bits_per_dimension integer,
    OUT storage text, OUT sketch_dimensions integer, OUT sketch_bits integer,
    OUT sketch_energy double precision, OUT bytes_per_element integer, OUT elements_per_page integer,
    OUT pages bigint, OUT rows bigint, OUT null_rows bigint,
    OUT zero_rows bigint, OUT extreme_rows bigint, OUT elements bigint,
    OUT tombstones bigint, OUT free_slots bigint, OUT unreachable bigint,
    OUT entries integer, OUT links_per_element double precision,
    OUT list_recall double precision,
    OUT searches_found double precision, OUT weak_searches_found double precision,
    OUT build_method text, OUT build_workers integer, OUT build_memory_kb bigint,
    OUT build_inserted bigint, OUT build_seconds double precision,
    OUT bytes_per_row double precision, OUT advice text) RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION vhnsw_info(regclass) IS 'parameters, counts and advice about a vhnsw index';

\echo Use "CREATE EXTENSION vector" to load this file. \quit

-- Types, functions and operators are vecdist's, wherever it is.  A dump names
-- them by the schema of the extension vector, so the two must be the same.
DO LANGUAGE plpgsql $$
DECLARE
    types name := (SELECT nspname FROM pg_catalog.pg_extension e
                   JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
                   WHERE extname = 'vecdist');
BEGIN
    IF quote_ident(types) <> '@extschema@' THEN
        RAISE 'extension "vector" must be in the schema of extension "vecdist"'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = format('The type vector is in schema %I.', types),
                  HINT = format('Add WITH SCHEMA %I, or create vecdist in the other schema.', types);
    END IF;
END $$;

CREATE ACCESS METHOD hnsw TYPE INDEX HANDLER vhnswhandler;
COMMENT ON ACCESS METHOD hnsw IS 'another name of vhnsw';

CREATE FUNCTION ivfflathandler(internal) RETURNS index_am_handler
    AS '$libdir/vecdist', 'vhnsw_refuse_ivfflat' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION ivfflathandler(internal) IS 'says that ivfflat is not supported';

CREATE ACCESS METHOD ivfflat TYPE INDEX HANDLER ivfflathandler;
COMMENT ON ACCESS METHOD ivfflat IS 'not supported; use hnsw or vhnsw';

-- The operator classes of vhnsw follow, under the same names for hnsw.

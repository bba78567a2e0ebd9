-- The schema of administration, and the foreign data wrapper.  Whoever may use
-- a distributed table needs USAGE on the schema; each administration function
-- is revoked from PUBLIC where it is created.
CREATE SCHEMA vecdist;
GRANT USAGE ON SCHEMA vecdist TO PUBLIC;
COMMENT ON SCHEMA vecdist IS 'vecdist: workers, placement and administration';

CREATE FUNCTION vecdist.vecdist_fdw_validator(text[], oid) RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_fdw_validator'
    LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vecdist.vecdist_fdw_validator(text[], oid)
    IS 'checks options of servers, user mappings and foreign tables of vecdist_fdw';

CREATE FUNCTION vecdist.vecdist_fdw_handler() RETURNS fdw_handler
    AS 'MODULE_PATHNAME', 'vecdist_fdw_handler'
    LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vecdist.vecdist_fdw_handler()
    IS 'foreign data wrapper for partitions on worker servers';

CREATE FOREIGN DATA WRAPPER vecdist_fdw
    HANDLER vecdist.vecdist_fdw_handler
    VALIDATOR vecdist.vecdist_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER vecdist_fdw
    IS 'partitions of distributed tables that live on worker servers';

-- The worker's side of a distributed search.  PUBLIC may call it: the texts it
-- is given run as a SELECT of the caller, with the caller's privileges and row
-- security, so it allows nothing that the caller could not ask for directly.
CREATE FUNCTION vecdist.search(
    partitions text[],
    columns text,
    filter text,
    distance text,
    ties text,
    k bigint,
    first bigint,
    settings text[],
    VARIADIC parameters "any")
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'vecdist_search'
    LANGUAGE C STABLE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION vecdist.search(text[], text, text, text, text, bigint, bigint, text[], "any")
    IS 'searches partitions held by this server; called by other servers of the cluster';

-- Resumes only what the same role began in the same transaction.
CREATE FUNCTION vecdist.search_rest(bound double precision)
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'vecdist_search_rest'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION vecdist.search_rest(double precision)
    IS 'rest of a search whose first rows were returned; called by other servers of the cluster';

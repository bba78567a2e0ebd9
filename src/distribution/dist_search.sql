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

-- The same where nobody knows how many rows will be wanted.
CREATE FUNCTION vecdist.search_stream(
    stream bigint,
    partitions text[],
    columns text,
    filter text,
    distance text,
    first bigint,
    settings text[],
    VARIADIC parameters "any")
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'vecdist_search_stream'
    LANGUAGE C STABLE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION vecdist.search_stream(bigint, text[], text, text, text, bigint, text[], "any")
    IS 'begins to read partitions held by this server in order of distance; called by other servers of the cluster';

CREATE FUNCTION vecdist.search_next(stream bigint, next bigint)
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'vecdist_search_next'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION vecdist.search_next(bigint, bigint)
    IS 'next rows of what vecdist.search_stream() began; called by other servers of the cluster';

-- Resumes only what the same role began in the same transaction.
CREATE FUNCTION vecdist.search_rest(bound double precision)
RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'vecdist_search_rest'
    LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION vecdist.search_rest(double precision)
    IS 'rest of a search whose first rows were returned; called by other servers of the cluster';

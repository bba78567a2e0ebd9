-- Sets of centroids: where rows of tables placed by centroid belong.
--
-- A row never changes and its id never comes back, so nearest_centroid() is
-- immutable.  The trigger sees to that for everybody, in replication too.
CREATE SEQUENCE vecdist.centroid_set_id_seq AS integer;
COMMENT ON SEQUENCE vecdist.centroid_set_id_seq IS 'ids of sets of centroids; none comes back';
CREATE TABLE vecdist.centroid_set (
    id integer PRIMARY KEY,
    name text NOT NULL,
    version integer NOT NULL,
    metric text NOT NULL,
    centroids vector[] NOT NULL,
    sampled bigint[],
    UNIQUE (name, version)
);
ALTER TABLE vecdist.centroid_set ALTER COLUMN centroids SET STORAGE EXTERNAL;
COMMENT ON TABLE vecdist.centroid_set
    IS 'frozen sets of centroids, the same on all servers';
COMMENT ON COLUMN vecdist.centroid_set.id
    IS 'second argument of vecdist.nearest_centroid()';
COMMENT ON COLUMN vecdist.centroid_set.name IS 'name, shared by its versions';
COMMENT ON COLUMN vecdist.centroid_set.version IS 'counts from 1 within a name';
COMMENT ON COLUMN vecdist.centroid_set.metric IS 'l2 or cosine: what nearest means';
COMMENT ON COLUMN vecdist.centroid_set.centroids IS 'the centroids, numbered from 0';
COMMENT ON COLUMN vecdist.centroid_set.sampled
    IS 'rows of the training sample nearest to each; NULL: the set was given';
SELECT pg_catalog.pg_extension_config_dump('vecdist.centroid_set', '');
SELECT pg_catalog.pg_extension_config_dump('vecdist.centroid_set_id_seq', '');

CREATE FUNCTION vecdist.guard_centroid_set() RETURNS trigger
    AS 'MODULE_PATHNAME', 'vecdist_guard_centroid_set'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.guard_centroid_set()
    IS 'checks new sets of centroids and keeps existing ones as they are';
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON vecdist.centroid_set
    FOR EACH ROW EXECUTE FUNCTION vecdist.guard_centroid_set();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON vecdist.centroid_set
    FOR EACH STATEMENT EXECUTE FUNCTION vecdist.guard_centroid_set();
ALTER TABLE vecdist.centroid_set ENABLE ALWAYS TRIGGER guard;
ALTER TABLE vecdist.centroid_set ENABLE ALWAYS TRIGGER guard_truncate;

CREATE VIEW vecdist.centroid_sets AS
    SELECT id, name, version, metric,
        pg_catalog.cardinality(centroids) AS centroids,
        vector_dims(centroids[1]) AS dimensions
    FROM vecdist.centroid_set;
COMMENT ON VIEW vecdist.centroid_sets IS 'sets of centroids for placing rows';
COMMENT ON COLUMN vecdist.centroid_sets.id
    IS 'second argument of vecdist.nearest_centroid()';
COMMENT ON COLUMN vecdist.centroid_sets.name IS 'name, shared by its versions';
COMMENT ON COLUMN vecdist.centroid_sets.version IS 'counts from 1 within a name';
COMMENT ON COLUMN vecdist.centroid_sets.metric IS 'l2 or cosine: what nearest means';
COMMENT ON COLUMN vecdist.centroid_sets.centroids IS 'how many there are';
COMMENT ON COLUMN vecdist.centroid_sets.dimensions IS 'of each of them';
GRANT SELECT ON vecdist.centroid_sets TO PUBLIC;

CREATE FUNCTION vecdist.nearest_centroid(vector, set integer) RETURNS integer
    AS 'MODULE_PATHNAME', 'vecdist_nearest_centroid'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 50;
COMMENT ON FUNCTION vecdist.nearest_centroid(vector, integer)
    IS 'number of the centroid that is nearest, the first of equally near ones';

CREATE FUNCTION vecdist.create_centroids(name text, centroids vector[],
    metric text DEFAULT 'l2') RETURNS integer
    AS 'MODULE_PATHNAME', 'vecdist_create_centroids'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.create_centroids(text, vector[], text)
    IS 'make a set of given centroids on all servers; returns its id';

CREATE FUNCTION vecdist.train_centroids(name text, query text,
    centroids integer, metric text DEFAULT 'l2') RETURNS integer
    AS 'MODULE_PATHNAME', 'vecdist_train_centroids'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.train_centroids(text, text, integer, text)
    IS 'make a set of centroids by k-means over vectors that a query returns; returns its id';

CREATE FUNCTION vecdist.drop_centroids(set integer) RETURNS void
    AS 'MODULE_PATHNAME', 'vecdist_drop_centroids'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION vecdist.drop_centroids(integer)
    IS 'drop a set of centroids by which no table places rows, on all servers';

REVOKE ALL ON FUNCTION
    vecdist.create_centroids(text, vector[], text),
    vecdist.train_centroids(text, text, integer, text),
    vecdist.drop_centroids(integer)
    FROM PUBLIC;

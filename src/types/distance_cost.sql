-- what distances cost, for the planner

CREATE FUNCTION vector_distance_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vector_distance_support(internal) IS 'planner support of distances';

CREATE FUNCTION halfvec_distance_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION halfvec_distance_support(internal) IS 'planner support of distances';

CREATE FUNCTION sparsevec_distance_support(internal) RETURNS internal
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION sparsevec_distance_support(internal) IS 'planner support of distances';

ALTER FUNCTION l2_distance(vector, vector) SUPPORT vector_distance_support;
ALTER FUNCTION l1_distance(vector, vector) SUPPORT vector_distance_support;
ALTER FUNCTION inner_product(vector, vector) SUPPORT vector_distance_support;
ALTER FUNCTION cosine_distance(vector, vector) SUPPORT vector_distance_support;
ALTER FUNCTION vector_negative_inner_product(vector, vector) SUPPORT vector_distance_support;
ALTER FUNCTION l2_distance(halfvec, halfvec) SUPPORT halfvec_distance_support;
ALTER FUNCTION l1_distance(halfvec, halfvec) SUPPORT halfvec_distance_support;
ALTER FUNCTION inner_product(halfvec, halfvec) SUPPORT halfvec_distance_support;
ALTER FUNCTION cosine_distance(halfvec, halfvec) SUPPORT halfvec_distance_support;
ALTER FUNCTION halfvec_negative_inner_product(halfvec, halfvec) SUPPORT halfvec_distance_support;
ALTER FUNCTION l2_distance(sparsevec, sparsevec) SUPPORT sparsevec_distance_support;
ALTER FUNCTION l1_distance(sparsevec, sparsevec) SUPPORT sparsevec_distance_support;
ALTER FUNCTION inner_product(sparsevec, sparsevec) SUPPORT sparsevec_distance_support;
ALTER FUNCTION cosine_distance(sparsevec, sparsevec) SUPPORT sparsevec_distance_support;
ALTER FUNCTION sparsevec_negative_inner_product(sparsevec, sparsevec) SUPPORT sparsevec_distance_support;

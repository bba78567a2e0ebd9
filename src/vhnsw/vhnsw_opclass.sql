-- operator classes of vhnsw: support function 1 names the metric, 2 the type

CREATE FUNCTION vhnsw_l2_metric() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_l2_metric() IS 'vhnsw support';

CREATE FUNCTION vhnsw_inner_product_metric() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_inner_product_metric() IS 'vhnsw support';

CREATE FUNCTION vhnsw_cosine_metric() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_cosine_metric() IS 'vhnsw support';

CREATE FUNCTION vhnsw_l1_metric() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_l1_metric() IS 'vhnsw support';

CREATE FUNCTION vhnsw_hamming_metric() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_hamming_metric() IS 'vhnsw support';

CREATE FUNCTION vhnsw_jaccard_metric() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_jaccard_metric() IS 'vhnsw support';

CREATE FUNCTION vhnsw_vector_type() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_vector_type() IS 'vhnsw support';

CREATE FUNCTION vhnsw_halfvec_type() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_halfvec_type() IS 'vhnsw support';

CREATE FUNCTION vhnsw_bit_type() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_bit_type() IS 'vhnsw support';

CREATE FUNCTION vhnsw_sparsevec_type() RETURNS integer
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vhnsw_sparsevec_type() IS 'vhnsw support';

-- vector

CREATE OPERATOR CLASS vector_l2_ops
    FOR TYPE vector USING vhnsw AS
    OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 (vector, vector) vhnsw_l2_metric(),
    FUNCTION 2 (vector, vector) vhnsw_vector_type();
COMMENT ON OPERATOR CLASS vector_l2_ops USING vhnsw IS 'Euclidean distance of vectors';

CREATE OPERATOR CLASS vector_ip_ops
    FOR TYPE vector USING vhnsw AS
    OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 (vector, vector) vhnsw_inner_product_metric(),
    FUNCTION 2 (vector, vector) vhnsw_vector_type();
COMMENT ON OPERATOR CLASS vector_ip_ops USING vhnsw IS 'negative inner product of vectors';

CREATE OPERATOR CLASS vector_cosine_ops
    FOR TYPE vector USING vhnsw AS
    OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 (vector, vector) vhnsw_cosine_metric(),
    FUNCTION 2 (vector, vector) vhnsw_vector_type();
COMMENT ON OPERATOR CLASS vector_cosine_ops USING vhnsw IS 'cosine distance of vectors';

CREATE OPERATOR CLASS vector_l1_ops
    FOR TYPE vector USING vhnsw AS
    OPERATOR 1 <+> (vector, vector) FOR ORDER BY float_ops,
    FUNCTION 1 (vector, vector) vhnsw_l1_metric(),
    FUNCTION 2 (vector, vector) vhnsw_vector_type();
COMMENT ON OPERATOR CLASS vector_l1_ops USING vhnsw IS 'taxicab distance of vectors';

-- halfvec

CREATE OPERATOR CLASS halfvec_l2_ops
    FOR TYPE halfvec USING vhnsw AS
    OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 (halfvec, halfvec) vhnsw_l2_metric(),
    FUNCTION 2 (halfvec, halfvec) vhnsw_halfvec_type();
COMMENT ON OPERATOR CLASS halfvec_l2_ops USING vhnsw IS 'Euclidean distance of halfvecs';

CREATE OPERATOR CLASS halfvec_ip_ops
    FOR TYPE halfvec USING vhnsw AS
    OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 (halfvec, halfvec) vhnsw_inner_product_metric(),
    FUNCTION 2 (halfvec, halfvec) vhnsw_halfvec_type();
COMMENT ON OPERATOR CLASS halfvec_ip_ops USING vhnsw IS 'negative inner product of halfvecs';

CREATE OPERATOR CLASS halfvec_cosine_ops
    FOR TYPE halfvec USING vhnsw AS
    OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 (halfvec, halfvec) vhnsw_cosine_metric(),
    FUNCTION 2 (halfvec, halfvec) vhnsw_halfvec_type();
COMMENT ON OPERATOR CLASS halfvec_cosine_ops USING vhnsw IS 'cosine distance of halfvecs';

CREATE OPERATOR CLASS halfvec_l1_ops
    FOR TYPE halfvec USING vhnsw AS
    OPERATOR 1 <+> (halfvec, halfvec) FOR ORDER BY float_ops,
    FUNCTION 1 (halfvec, halfvec) vhnsw_l1_metric(),
    FUNCTION 2 (halfvec, halfvec) vhnsw_halfvec_type();
COMMENT ON OPERATOR CLASS halfvec_l1_ops USING vhnsw IS 'taxicab distance of halfvecs';

-- bit

CREATE OPERATOR CLASS bit_hamming_ops
    FOR TYPE bit USING vhnsw AS
    OPERATOR 1 <~> (bit, bit) FOR ORDER BY float_ops,
    FUNCTION 1 (bit, bit) vhnsw_hamming_metric(),
    FUNCTION 2 (bit, bit) vhnsw_bit_type();
COMMENT ON OPERATOR CLASS bit_hamming_ops USING vhnsw IS 'Hamming distance of bit strings';

CREATE OPERATOR CLASS bit_jaccard_ops
    FOR TYPE bit USING vhnsw AS
    OPERATOR 1 <%> (bit, bit) FOR ORDER BY float_ops,
    FUNCTION 1 (bit, bit) vhnsw_jaccard_metric(),
    FUNCTION 2 (bit, bit) vhnsw_bit_type();
COMMENT ON OPERATOR CLASS bit_jaccard_ops USING vhnsw IS 'Jaccard distance of bit strings';

-- sparsevec

CREATE OPERATOR CLASS sparsevec_l2_ops
    FOR TYPE sparsevec USING vhnsw AS
    OPERATOR 1 <-> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 (sparsevec, sparsevec) vhnsw_l2_metric(),
    FUNCTION 2 (sparsevec, sparsevec) vhnsw_sparsevec_type();
COMMENT ON OPERATOR CLASS sparsevec_l2_ops USING vhnsw IS 'Euclidean distance of sparse vectors';

CREATE OPERATOR CLASS sparsevec_ip_ops
    FOR TYPE sparsevec USING vhnsw AS
    OPERATOR 1 <#> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 (sparsevec, sparsevec) vhnsw_inner_product_metric(),
    FUNCTION 2 (sparsevec, sparsevec) vhnsw_sparsevec_type();
COMMENT ON OPERATOR CLASS sparsevec_ip_ops USING vhnsw IS 'negative inner product of sparse vectors';

CREATE OPERATOR CLASS sparsevec_cosine_ops
    FOR TYPE sparsevec USING vhnsw AS
    OPERATOR 1 <=> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 (sparsevec, sparsevec) vhnsw_cosine_metric(),
    FUNCTION 2 (sparsevec, sparsevec) vhnsw_sparsevec_type();
COMMENT ON OPERATOR CLASS sparsevec_cosine_ops USING vhnsw IS 'cosine distance of sparse vectors';

CREATE OPERATOR CLASS sparsevec_l1_ops
    FOR TYPE sparsevec USING vhnsw AS
    OPERATOR 1 <+> (sparsevec, sparsevec) FOR ORDER BY float_ops,
    FUNCTION 1 (sparsevec, sparsevec) vhnsw_l1_metric(),
    FUNCTION 2 (sparsevec, sparsevec) vhnsw_sparsevec_type();
COMMENT ON OPERATOR CLASS sparsevec_l1_ops USING vhnsw IS 'taxicab distance of sparse vectors';

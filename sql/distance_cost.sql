-- What the planner takes a distance for, in units of cpu_operator_cost: it
-- grows with what has to be read and computed.
--
-- A scan of a table is planned with and without the distance.
CREATE FUNCTION cost_of(expression text, source text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    plan json;
    cost numeric[];
    num_rows numeric;
BEGIN
    FOR i IN 1..2 LOOP
        EXECUTE format('EXPLAIN (FORMAT json) SELECT %s FROM %s', CASE i WHEN 1 THEN '1' ELSE expression END, source) INTO plan;
        cost[i] := plan->0->'Plan'->>'Total Cost';
        num_rows := plan->0->'Plan'->>'Plan Rows';
    END LOOP;
    RETURN round((cost[2] - cost[1]) / num_rows / current_setting('cpu_operator_cost')::numeric, 1);
END $$;

-- vector, halfvec: the length of the column, and whether it is stored inline
CREATE TABLE dense (short vector(100), long vector(1000), half halfvec(1000), any_length vector);
INSERT INTO dense
SELECT v::vector(100), array_fill(1, ARRAY[1000])::vector, array_fill(1, ARRAY[1000])::halfvec, v::vector
FROM (SELECT array_fill(1, ARRAY[100])) AS f (v), generate_series(1, 1000);
ALTER TABLE dense ALTER long SET STORAGE external;
ANALYZE dense;
SELECT expression, cost_of(expression, 'dense')
FROM unnest(ARRAY['short <-> array_fill(1, ARRAY[100])::vector', 'short <-> short', 'long <-> long', 'half <-> half',
    'half::vector <-> long', 'any_length <-> any_length']) AS expression;

-- sparsevec: elements that are stored, not dimensions
CREATE FUNCTION sparse_ones(n integer) RETURNS sparsevec LANGUAGE sql IMMUTABLE AS $$
    SELECT format('{%s}/1000000000', string_agg(i || ':1', ',' ORDER BY i))::sparsevec FROM generate_series(1, n) AS i
$$;
CREATE TABLE sparse (few sparsevec(1000000000), many sparsevec, long sparsevec);
INSERT INTO sparse SELECT sparse_ones(1), sparse_ones(100), sparse_ones(1000) FROM generate_series(1, 1000);
SELECT expression, cost_of(expression, 'sparse') AS not_analyzed FROM unnest(ARRAY['few <-> few', 'many <-> many']) AS expression;
ANALYZE sparse;
SELECT expression, cost_of(expression, 'sparse')
FROM unnest(ARRAY['few <-> few', 'few <-> ''{}/1000000000''', 'few <-> sparse_ones(1000)', 'many <-> few', 'many <-> many',
    'long <-> few', 'long <-> sparse_ones(1000)', 'many <-> NULL']) AS expression;

-- all of its distances; a subquery's column, which has no statistics
SELECT distance, cost_of(distance, 'sparse')
FROM unnest(ARRAY['many <-> many', 'many <#> many', 'many <=> many', 'many <+> many', 'l2_distance(many, many)',
    'inner_product(many, many)']) AS distance;
SELECT cost_of('m <-> few', '(SELECT few, many AS m FROM sparse OFFSET 0) AS s');

-- the query as a parameter of a plan made for all of its values
PREPARE nearest(sparsevec) AS SELECT many <-> $1 FROM sparse;
SET plan_cache_mode = force_generic_plan;
CREATE FUNCTION generic_cost() RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) EXECUTE nearest(''{}/1000000000'')' INTO plan;
    RETURN plan->0->'Plan'->>'Total Cost';
END $$;
SELECT round((generic_cost() - (SELECT relpages + 10 FROM pg_class WHERE relname = 'sparse')) / 1000 / 0.0025, 1) AS cost_of;

DROP TABLE dense, sparse;
DROP FUNCTION cost_of, sparse_ones, generic_cost;

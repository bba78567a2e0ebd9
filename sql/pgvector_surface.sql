-- Everything that pgvector 0.8 brings for vector, halfvec, sparsevec and bit
-- is here, as dumps, clients and its own catalogs know it: types, functions,
-- aggregates, casts, operators, btree operator classes.
--
-- First the lists of pgvector's names against our catalogs, which must find
-- nothing missing; then all of ours, so that any change of a name, result,
-- volatility, context or estimator shows here.  Index access methods have tests
-- of their own.

-- functions that pgvector has and we do not have, with the same result
CREATE TABLE wanted (signature text, result text);
INSERT INTO wanted
SELECT format(pattern, t), replace(result, '%', t)
FROM unnest(ARRAY['vector', 'halfvec', 'sparsevec']) AS t,
    (VALUES ('%1$s_in(cstring,oid,integer)', '%'), ('%1$s_out(%1$s)', 'cstring'),
            ('%1$s_typmod_in(cstring[])', 'integer'), ('%1$s_recv(internal,oid,integer)', '%'),
            ('%1$s_send(%1$s)', 'bytea'),
            ('%1$s_lt(%1$s,%1$s)', 'boolean'), ('%1$s_le(%1$s,%1$s)', 'boolean'),
            ('%1$s_eq(%1$s,%1$s)', 'boolean'), ('%1$s_ne(%1$s,%1$s)', 'boolean'),
            ('%1$s_ge(%1$s,%1$s)', 'boolean'), ('%1$s_gt(%1$s,%1$s)', 'boolean'),
            ('%1$s_cmp(%1$s,%1$s)', 'integer'),
            ('%1$s_l2_squared_distance(%1$s,%1$s)', 'double precision'),
            ('%1$s_negative_inner_product(%1$s,%1$s)', 'double precision'),
            ('l2_distance(%1$s,%1$s)', 'double precision'), ('inner_product(%1$s,%1$s)', 'double precision'),
            ('cosine_distance(%1$s,%1$s)', 'double precision'), ('l1_distance(%1$s,%1$s)', 'double precision'),
            ('l2_normalize(%1$s)', '%'), ('%1$s(%1$s,integer,boolean)', '%'),
            ('array_to_%1$s(integer[],integer,boolean)', '%'), ('array_to_%1$s(real[],integer,boolean)', '%'),
            ('array_to_%1$s(double precision[],integer,boolean)', '%'),
            ('array_to_%1$s(numeric[],integer,boolean)', '%')) AS f (pattern, result)
UNION ALL
SELECT format(pattern, t), replace(result, '%', t)
FROM unnest(ARRAY['vector', 'halfvec']) AS t,
    (VALUES ('vector_dims(%1$s)', 'integer'), ('subvector(%1$s,integer,integer)', '%'), ('binary_quantize(%1$s)', 'bit'),
            ('%1$s_add(%1$s,%1$s)', '%'), ('%1$s_sub(%1$s,%1$s)', '%'), ('%1$s_mul(%1$s,%1$s)', '%'),
            ('%1$s_concat(%1$s,%1$s)', '%'), ('%1$s_spherical_distance(%1$s,%1$s)', 'double precision'),
            ('%1$s_accum(double precision[],%1$s)', 'double precision[]'),
            ('%1$s_avg(double precision[])', '%'),
            ('%1$s_combine(double precision[],double precision[])', 'double precision[]'),
            ('%1$s_to_float4(%1$s,integer,boolean)', 'real[]'), ('avg(%1$s)', '%'), ('sum(%1$s)', '%')) AS f (pattern, result)
UNION ALL
VALUES ('vector_norm(vector)', 'double precision'), ('l2_norm(halfvec)', 'double precision'),
       ('l2_norm(sparsevec)', 'double precision'),
       ('hamming_distance(bit,bit)', 'double precision'), ('jaccard_distance(bit,bit)', 'double precision'),
       ('vector_to_halfvec(vector,integer,boolean)', 'halfvec'), ('halfvec_to_vector(halfvec,integer,boolean)', 'vector'),
       ('vector_to_sparsevec(vector,integer,boolean)', 'sparsevec'), ('sparsevec_to_vector(sparsevec,integer,boolean)', 'vector'),
       ('halfvec_to_sparsevec(halfvec,integer,boolean)', 'sparsevec'), ('sparsevec_to_halfvec(sparsevec,integer,boolean)', 'halfvec');
SELECT count(*) AS wanted FROM wanted;
SELECT signature AS missing, result
FROM wanted LEFT JOIN pg_proc AS p
    ON p.oid = to_regprocedure(signature) AND prorettype = to_regtype(result)
    AND provolatile = 'i' AND proparallel = 's' AND NOT proretset
WHERE p.oid IS NULL;

-- operators
CREATE TABLE wanted_operators AS
SELECT format('%s(%s,%2$s)', name, t) AS signature
FROM (VALUES ('vector'), ('halfvec')) AS t (t),
    unnest(ARRAY['<->', '<#>', '<=>', '<+>', '+', '-', '*', '||', '<', '<=', '=', '<>', '>=', '>']) AS name
UNION ALL
SELECT format('%s(sparsevec,sparsevec)', name)
FROM unnest(ARRAY['<->', '<#>', '<=>', '<+>', '<', '<=', '=', '<>', '>=', '>']) AS name
UNION ALL
VALUES ('<~>(bit,bit)'), ('<%>(bit,bit)');
SELECT count(*) AS wanted, count(*) FILTER (WHERE to_regoperator(signature) IS NULL) AS missing
FROM wanted_operators;
DROP TABLE wanted, wanted_operators;

-- What we have: objects of the extension that speak of these types.
CREATE VIEW ours AS
SELECT classid, objid FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vecdist');
CREATE VIEW our_types AS
SELECT oid FROM pg_type WHERE oid IN ('vector'::regtype, 'halfvec'::regtype, 'sparsevec'::regtype);

SELECT t.oid::regtype AS type, typlen AS len, typbyval AS byval, typalign AS align, typstorage AS storage,
       typcategory AS category, typispreferred AS preferred, typdelim AS delim, typarray::regtype AS array,
       typinput AS input, typoutput AS output, typreceive AS receive, typsend AS send, typmodin AS modin,
       typmodout AS modout, typanalyze AS analyze, typsubscript AS subscript
FROM pg_type AS t JOIN our_types USING (oid) ORDER BY t.oid::regtype::text COLLATE "C";

-- All functions are IMMUTABLE STRICT PARALLEL SAFE, in C, not leakproof, not
-- set-returning; none is SECURITY DEFINER or has settings.
SELECT p.oid::regprocedure AS function, prorettype::regtype AS result,
       nullif(concat_ws(' ', CASE WHEN provolatile <> 'i' THEN 'volatility ' || provolatile::text END,
           CASE WHEN NOT proisstrict THEN 'not strict' END, CASE WHEN proparallel <> 's' THEN 'parallel ' || proparallel::text END,
           CASE WHEN lanname <> 'c' THEN lanname END, CASE WHEN proleakproof THEN 'leakproof' END,
           CASE WHEN proretset THEN 'set' END, CASE WHEN prosecdef THEN 'secdef' END, proconfig::text), '') AS otherwise
FROM pg_proc AS p JOIN ours ON classid = 'pg_proc'::regclass AND objid = p.oid
    JOIN pg_language AS l ON l.oid = prolang
WHERE prokind = 'f' AND proname !~ '^vhnsw' AND pronamespace = 'public'::regnamespace
ORDER BY p.oid::regprocedure::text COLLATE "C";

SELECT aggfnoid::regprocedure AS aggregate, aggtransfn AS transition, aggtranstype::regtype AS state, agginitval AS initial,
       aggfinalfn AS final, aggcombinefn AS combine, proparallel AS parallel, provolatile AS volatility, proisstrict AS strict
FROM pg_aggregate JOIN pg_proc AS p ON p.oid = aggfnoid
    JOIN ours ON classid = 'pg_proc'::regclass AND objid = p.oid
WHERE pronamespace = 'public'::regnamespace
ORDER BY aggfnoid::regprocedure::text COLLATE "C";

SELECT castsource::regtype AS source, casttarget::regtype AS target, castcontext AS context, castmethod AS method,
       castfunc::regprocedure AS function
FROM pg_cast AS c JOIN ours ON classid = 'pg_cast'::regclass AND objid = c.oid
ORDER BY castsource::regtype::text COLLATE "C", casttarget::regtype::text COLLATE "C";

SELECT o.oid::regoperator AS operator, oprresult::regtype AS result, oprcode AS function,
       nullif(oprcom, 0)::regoperator AS commutator, nullif(oprnegate, 0)::regoperator AS negator,
       oprrest AS restrict, oprjoin AS join, oprcanmerge AS merges, oprcanhash AS hashes
FROM pg_operator AS o JOIN ours ON classid = 'pg_operator'::regclass AND objid = o.oid
ORDER BY o.oid::regoperator::text COLLATE "C";

SELECT opcname AS class, opcintype::regtype AS type, opcdefault AS "default",
       (SELECT string_agg(amopstrategy || ' ' || amopopr::regoperator, ', ' ORDER BY amopstrategy)
        FROM pg_amop WHERE amopfamily = opcfamily) AS operators,
       (SELECT string_agg(amprocnum || ' ' || amproc, ', ' ORDER BY amprocnum)
        FROM pg_amproc WHERE amprocfamily = opcfamily) AS functions
FROM pg_opclass AS c JOIN ours ON classid = 'pg_opclass'::regclass AND objid = c.oid
    JOIN pg_am AS a ON a.oid = opcmethod
WHERE amname = 'btree' ORDER BY opcname;

-- every one of them is described
SELECT count(*) AS undescribed FROM ours
WHERE classid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_cast'::regclass, 'pg_opclass'::regclass)
    AND obj_description(objid, classid::regclass::name) IS NULL;

DROP VIEW ours, our_types;

# Streams: distributed searches of which nobody knows how many rows are wanted.
#
# Every shape that is not a plain top-K is compared with the same statements on a
# plain local table, over rows where all near ones are on one worker, so that
# streams of unequal length are merged.  What moves is counted by EXPLAIN, and
# what a stream must survive - DML, savepoints, other streams on its
# connections - is done under its cursor.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims        = 4;
my $cluster     = make_cluster(workers => 2, conf => "jit = off\n");
my $coordinator = $cluster->coordinator;
my $w1          = $cluster->worker('w1');
my $q           = '[0.5,0.5,0.5,0.5]';
my $d           = "embedding <-> '$q'";

# "items": 8 hash partitions, all rows of partition 3 nearer than all others.
# "ties": few different vectors, some zero, some NULL.  "docs": a local table.
$coordinator->safe_psql('postgres', <<"SQL");
CREATE TABLE items (id bigint NOT NULL, cat int, embedding vector($dims)) PARTITION BY HASH (id);
CREATE TABLE ties (LIKE items) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table(t, 8) FROM unnest('{items,ties}'::regclass[]) t;
CREATE INDEX ON items USING vhnsw (embedding vector_l2_ops);
CREATE TABLE plain_items AS @{[ rows_near_in_one('items', 8, 3, 8000, $dims) ]};
CREATE TABLE plain_ties AS
    SELECT g::bigint AS id, g % 7 AS cat,
        CASE WHEN g % 5 = 0 THEN NULL WHEN g % 5 = 1 THEN '[0,0,0,0]'
             ELSE ARRAY[g % 3, 1, g % 2, 0]::vector END AS embedding
    FROM generate_series(1, 2000) g;
CREATE TABLE docs AS SELECT g::bigint AS id, g % 10 AS grade FROM generate_series(1, 8000, 3) g;
ALTER TABLE docs ADD PRIMARY KEY (id);
CREATE FUNCTION local_cat(int) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN \$1 % 10; END';
INSERT INTO items SELECT * FROM plain_items;
INSERT INTO ties SELECT * FROM plain_ties;
ANALYZE items, ties, plain_items, plain_ties, docs;
SQL

sub same
{
	my ($table, $sql, $name, $set) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($distributed, $plain);

	($distributed = $sql) =~ s/\bTABLE\b/$table/g;
	($plain       = $sql) =~ s/\bTABLE\b/plain_$table/g;
	return is(
		$coordinator->safe_psql('postgres', ($set // '') . $distributed),
		$coordinator->safe_psql('postgres', $plain), $name);
}

sub explained
{
	my ($sql, $set) = @_;

	return $coordinator->safe_psql('postgres',
		($set // '') . "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) $sql");
}

# Like same(), for a query that has to be streamed without moving most rows.
sub streamed
{
	my ($sql, $why, $name, $max, $set) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $explain;

	same('items', $sql, $name, $set);
	$sql =~ s/\bTABLE\b/items/g;
	$explain = explained($sql, $set);
	like($explain, qr/Mode: streaming\n\s+Top-K Not Possible: $why/, "$name: streamed");
	like($explain, qr/Merge Certified: yes/, "$name: certified");
	my ($moved) = $explain =~ /Rows Fetched: (\d+)/;
	cmp_ok($moved // 1e9, '<=', $max, "$name: rows moved");
	return;
}

# As many rows as are found at once are found exactly.
my $exact = "SET vhnsw.ef_search = 1000;\n";

# ----------------------------------------------------------------------
# Shapes
# ----------------------------------------------------------------------

streamed("SELECT id FROM TABLE WHERE id + 0 * random() > 100 ORDER BY $d, id LIMIT 20",
	'function random is not immutable', 'a volatile condition', 500, $exact);
streamed("SELECT id FROM TABLE WHERE local_cat(cat) = 3 ORDER BY $d LIMIT 20",
	'function local_cat is neither built in', 'a function of this server', 1000, $exact);
streamed("SELECT id, $d FROM TABLE ORDER BY $d FETCH FIRST 20 ROWS WITH TIES",
	'WITH TIES may need', 'WITH TIES', 300, $exact);
streamed("SELECT id, cat FROM TABLE ORDER BY $d, cat || 'x', id LIMIT 20",
	'ORDER BY has a second key', 'a further key that workers cannot sort by', 300, $exact);
streamed("SELECT t.id, grade FROM TABLE t JOIN docs USING (id) WHERE grade = 4 ORDER BY $d LIMIT 10",
	'FROM has more than one table', 'a join that drops rows', 2500, $exact);
streamed("SELECT t.id, grade FROM TABLE t LEFT JOIN docs USING (id) ORDER BY $d, t.id OFFSET 7 LIMIT 10",
	'FROM has more than one table', 'an outer join', 300, $exact);
streamed("SELECT t.id FROM TABLE t WHERE EXISTS (SELECT FROM docs WHERE docs.id = t.id) ORDER BY $d LIMIT 10",
	'FROM has more than one table', 'a semijoin', 500, $exact);
streamed("SELECT t.id FROM TABLE t WHERE NOT EXISTS (SELECT FROM docs WHERE docs.id = t.id) ORDER BY $d LIMIT 10",
	'FROM has more than one table', 'an antijoin', 500, $exact);

streamed("SELECT id, row_number() OVER (ORDER BY $d) FROM TABLE ORDER BY $d LIMIT 20",
	'window functions see', 'a window in order of distance', 300, $exact);
streamed("SELECT id, rank() OVER w, lag(id) OVER w, sum(cat) OVER w FROM TABLE WHERE cat <> 4
	WINDOW w AS (ORDER BY $d, id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING) ORDER BY $d, id OFFSET 3 LIMIT 20",
	'window functions see', 'a window with a frame, of several functions', 300, $exact);
streamed("SELECT * FROM (SELECT id, row_number() OVER (ORDER BY $d) AS n FROM TABLE) s WHERE n <= 20",
	'window functions see', 'a condition on row_number()', 300, $exact);
streamed("SELECT DISTINCT id % 3, $d FROM TABLE ORDER BY $d LIMIT 20",
	'DISTINCT may drop rows', 'DISTINCT', 300, $exact);
streamed("SELECT DISTINCT ON ($d) id, cat FROM TABLE ORDER BY $d, id DESC LIMIT 20",
	'DISTINCT may drop rows', 'DISTINCT ON', 300, $exact);
streamed("SELECT id, generate_series(1, cat % 3) FROM TABLE ORDER BY $d, id LIMIT 20",
	'a set-returning function', 'a set-returning function', 300, $exact);
streamed("SELECT t, cat FROM TABLE t WHERE random() >= 0 ORDER BY $d LIMIT 20",
	'function random', 'whole rows', 300, $exact);
streamed("SELECT t, grade FROM TABLE t LEFT JOIN docs USING (id) ORDER BY $d LIMIT 20",
	'FROM has more than one table', 'whole rows in a join', 300, $exact);
same('ties', "SELECT DISTINCT cat, $d FROM TABLE ORDER BY $d, cat LIMIT $_", "DISTINCT among many ties, $_")
  foreach 1, 7, 8, 40, 500;
same('ties', "SELECT id, dense_rank() OVER (ORDER BY $d) FROM TABLE ORDER BY $d, id LIMIT $_",
	"a window among many ties, $_")
  foreach 1, 401, 1999;
same('ties', "SELECT cat, n FROM (SELECT cat, id, rank() OVER (ORDER BY $d) AS n FROM TABLE) s WHERE n <= 500 ORDER BY n, id",
	'ranks among many ties');

# Rows for which a set-returning function has none are no rows.
same('items', "SELECT id, generate_series(1, (id - 7900)::int) FROM TABLE ORDER BY $d, id LIMIT 5",
	'a set-returning function that is mostly empty', $exact);

# A range: with LIMIT a search, without it every worker returns its part.
same('items', "SELECT id FROM TABLE WHERE $d < 0.2 ORDER BY $d LIMIT 5", 'a range with LIMIT', $exact);
foreach my $order ('ORDER BY id', "ORDER BY $d, id")
{
	my $range = "SELECT id FROM TABLE WHERE $d < 0.2 $order";

	same('items', $range, "a range, $order");
	like($coordinator->safe_psql('postgres', 'EXPLAIN (VERBOSE) ' . $range =~ s/TABLE/items/r),
		qr/Remote SQL: .* WHERE .*embedding OPERATOR\(public\.<->\).* < '?0\.2/,
		"a range is for the workers, $order");
}

same('items', "SELECT id, $d AS d FROM TABLE WHERE cat = 2 UNION SELECT id, $d FROM TABLE WHERE cat < 4
    ORDER BY d, id LIMIT 20", 'UNION ordered as a whole', $exact);

# A view with a barrier hides rows before a function of the user sees them.
$coordinator->safe_psql('postgres', <<"SQL");
CREATE FUNCTION tell(cat int) RETURNS bool LANGUAGE plpgsql COST 0.0001
    AS 'BEGIN IF \$1 = 5 THEN RAISE EXCEPTION ''a hidden row was seen''; END IF; RETURN true; END';
CREATE VIEW seen_items WITH (security_barrier) AS SELECT * FROM items WHERE cat <> 5;
CREATE VIEW seen_plain_items WITH (security_barrier) AS SELECT * FROM plain_items WHERE cat <> 5;
SQL
is( $coordinator->safe_psql('postgres', $exact . "SELECT id FROM seen_items WHERE $_ ORDER BY $d LIMIT 20"),
	$coordinator->safe_psql('postgres', "SELECT id FROM seen_plain_items WHERE $_ ORDER BY $d LIMIT 20"),
	"a view with a security barrier, $_")
  foreach 'cat < 50', 'tell(cat)', 'tell(cat) AND random() >= 0';

# Rows to be locked are not streamed: locks are the workers' foreign scans'.
# With an array of the nearest, others can still be written.
my $locked = "id = ANY (ARRAY(SELECT id FROM items ORDER BY $d LIMIT 3))";
my $locker = $coordinator->background_psql('postgres');
same('items', "SELECT id FROM TABLE ORDER BY $d LIMIT 3 FOR UPDATE", 'FOR UPDATE');
$locker->query_safe("BEGIN; SELECT id FROM items WHERE $locked FOR UPDATE");
is( $coordinator->safe_psql('postgres',
		"SET lock_timeout = '60s'; BEGIN; UPDATE items SET cat = -1 WHERE id = ANY (ARRAY(SELECT id FROM items ORDER BY $d OFFSET 3 LIMIT 1)); ROLLBACK; SELECT 1"),
	'1', 'FOR UPDATE of the nearest leaves others alone');
isnt($coordinator->psql('postgres', "SELECT id FROM items WHERE $locked FOR UPDATE NOWAIT"),
	0, 'and locks these');
$locker->query_safe('ROLLBACK');
$locker->quit;

my $lateral = "SELECT r.id, s.id FROM (SELECT id, embedding FROM plain_items WHERE id % 900 = 1) r,
    LATERAL (SELECT t.id FROM TABLE t JOIN docs USING (id) WHERE grade > 4
             ORDER BY t.embedding <-> r.embedding LIMIT 5) s ORDER BY 1, 2";
same('items', $lateral, 'LATERAL: a join searched for each of many vectors', $exact);
like(explained($lateral =~ s/TABLE/items/r, $exact), qr/Mode: streaming.*Searches: 9\n/s,
	'LATERAL: a stream for each');

same('items', "SELECT id FROM TABLE ORDER BY $d, id", 'no LIMIT');
like(
	$coordinator->safe_psql('postgres', "EXPLAIN SELECT id FROM items ORDER BY $d"),
	qr/Top-K Scan Not Used: there is no LIMIT/,
	'who wants all rows gets the plan that moves them at once');
same('ties', "SELECT cat, $d FROM TABLE ORDER BY $d, id + 0, id OFFSET 100 LIMIT 50",
	'ties, further keys computed here');
same('ties', "SELECT count(*), sum(id) FROM (SELECT id FROM TABLE ORDER BY $d FETCH FIRST $_ ROWS WITH TIES) s",
	"WITH TIES among many, $_")
  foreach 1, 399, 400, 401, 1300, 1999, 3000;
same('ties', "SELECT id FROM TABLE WHERE id * (1 + 0 * random()) > 0 ORDER BY embedding <=> '[1,0,1,0]', id LIMIT 1900",
	'numbers, NaN and NULL');
same('items', "SELECT id FROM TABLE WHERE false AND random() > 0 ORDER BY $d LIMIT 5", 'nothing');
same('items', "SELECT id FROM TABLE WHERE random() < 0 ORDER BY $d LIMIT 5", 'nothing passes');
same('items', "SELECT a.id, b.id FROM TABLE a JOIN TABLE b ON b.id = a.id + 1 WHERE b.cat > 50
    ORDER BY a.embedding <-> '$q' LIMIT 10", 'two distributed tables', $exact);

# ----------------------------------------------------------------------
# Cursors
# ----------------------------------------------------------------------

my $fetches = join '', map { "FETCH $_ FROM c;\n" } 1, 7, 60, 200, 3;

same('items', "BEGIN; DECLARE c CURSOR FOR SELECT id FROM TABLE ORDER BY $d; $fetches COMMIT;",
	'a cursor read in pieces', $exact);
same('items', "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id FROM TABLE ORDER BY $d;
    $fetches FETCH BACKWARD 50 FROM c; FETCH 60 FROM c; FETCH ABSOLUTE 3 FROM c; COMMIT;",
	'a cursor that goes back', $exact);
same('items', "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id, cat FROM TABLE WHERE random() >= 0
    ORDER BY $d, id; FETCH 3 FROM c; COMMIT; FETCH 30 FROM c; CLOSE c;",
	'a cursor that outlives its transaction');
same('ties', "BEGIN; DECLARE c CURSOR FOR SELECT id FROM TABLE WHERE random() >= 0 ORDER BY $d, id;
    $fetches FETCH ALL FROM c; COMMIT;", 'a cursor read to the end');

# What is kept of a holdable cursor, 8 MB here, goes to a file beyond work_mem.
# Returns by how many kilobytes the session's own memory has grown after MOVE and
# after COMMIT.
sub kept_in_memory
{
	my ($server, $work_mem, $select) = @_;
	my $memory = q{SELECT (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\s+(\d+)'))[1]};
	my (undef, $before, @after) = split /\n/, $server->safe_psql('postgres', <<"SQL");
SET work_mem = '$work_mem';
SELECT count(*) >= 0 FROM (SELECT id FROM items WHERE random() >= 0 ORDER BY $d, id OFFSET 0) s;
$memory;
BEGIN;
DECLARE c CURSOR WITH HOLD FOR $select WHERE random() >= 0 ORDER BY $d, id;
MOVE 3 FROM c;
$memory;
COMMIT;
$memory;
SQL
	return map { $_ - $before } @after;
}
my $long = 'SELECT id, repeat(chr((97 + id % 26)::int), 1000) FROM items';
cmp_ok($_, '<', 4096, 'a holdable cursor keeps little in memory')
  foreach kept_in_memory($coordinator, '256kB', $long);
cmp_ok((kept_in_memory($coordinator, '64MB', $long))[1], '>', 8000, 'which would be seen if it kept all');
same('items', <<"SQL", 'two cursors and searches take turns on the same connections', $exact);
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM TABLE ORDER BY $d;
DECLARE b CURSOR FOR SELECT id FROM TABLE ORDER BY embedding <-> '[1,1,1,1]';
FETCH 30 FROM a; FETCH 30 FROM b; FETCH 40 FROM a;
SELECT id FROM TABLE ORDER BY embedding <-> '[1.5,1.5,1.5,1.5]' LIMIT 3;
FETCH 100 FROM b; FETCH 100 FROM a;
COMMIT;
SQL
foreach my $level ('READ COMMITTED', 'REPEATABLE READ')
{
	same('items', <<"SQL", "$level: DML under a cursor does not disturb it", $exact);
BEGIN ISOLATION LEVEL $level;
DECLARE c CURSOR FOR SELECT id, cat FROM TABLE ORDER BY $d;
FETCH 10 FROM c;
DELETE FROM TABLE WHERE id % 2 = 0;
UPDATE TABLE SET cat = -1 WHERE id % 3 = 0;
INSERT INTO TABLE VALUES (9001, 0, '$q');
FETCH 200 FROM c;
SELECT id, cat FROM TABLE ORDER BY $d LIMIT 5;
ROLLBACK;
SQL
}
same('items', <<"SQL", 'a savepoint rolled back above a cursor', $exact);
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM TABLE ORDER BY $d;
FETCH 5 FROM c;
SAVEPOINT s;
FETCH 100 FROM c;
DELETE FROM TABLE WHERE id < 4000;
ROLLBACK TO s;
FETCH 100 FROM c;
COMMIT;
SQL
my (undef, undef, $error) = $coordinator->psql('postgres', <<"SQL");
\\set VERBOSITY verbose
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM items ORDER BY $d;
SAVEPOINT s;
FETCH 5 FROM c;
ROLLBACK TO s;
FETCH 1000 FROM c;
SQL
like($error, qr/ERROR:  24000/, 'a stream that was begun in what is rolled back is not read on');

# PL/pgSQL: a loop over a stream, with searches and streams inside.
$coordinator->safe_psql('postgres', <<"SQL");
CREATE FUNCTION walk(t regclass) RETURNS TABLE (id bigint, near bigint) LANGUAGE plpgsql AS \$f\$
DECLARE
    r record;
    n int := 0;
BEGIN
    FOR r IN EXECUTE format('SELECT id, embedding FROM %s WHERE random() >= 0 ORDER BY embedding <-> ''$q''', t) LOOP
        n := n + 1;
        EXIT WHEN n > 120;
        CONTINUE WHEN n % 20 <> 0;
        EXECUTE format('SELECT id FROM %s WHERE id <> \$1 + 0 * random() ORDER BY embedding <-> \$2, id LIMIT 1', t)
            INTO near USING r.id, r.embedding;
        id := r.id;
        RETURN NEXT;
    END LOOP;
END
\$f\$;
SQL
$coordinator->safe_psql('postgres',
	'ALTER FUNCTION walk(regclass) SET vhnsw.ef_search = 1000');
same('items', "SELECT * FROM walk('TABLE')", 'a loop over a stream, with streams inside');
# The worker holds the portals of one stream, not of each that was there.
is( $coordinator->safe_psql('postgres', <<"SQL"),
BEGIN;
DO \$\$ BEGIN FOR i IN 1..20 LOOP
    PERFORM id FROM items WHERE id <> i + 0 * random() ORDER BY $d LIMIT 1;
END LOOP; END \$\$;
SELECT result FROM vecdist.run_on_workers('SELECT count(*) FROM pg_cursors WHERE name ~ \$\$search\$\$') ORDER BY worker;
COMMIT;
SQL
	"4\n4",
	'a loop of streams leaves the portals of one');

# ----------------------------------------------------------------------
# Partitions that live where the question is asked
# ----------------------------------------------------------------------

$w1->safe_psql('postgres', 'CREATE TABLE docs AS SELECT g::bigint AS id, g % 10 AS grade
    FROM generate_series(1, 8000, 3) g; ALTER TABLE docs ADD PRIMARY KEY (id); ANALYZE docs; ANALYZE items;');
foreach my $sql (
	"SELECT id, $d FROM items ORDER BY $d FETCH FIRST 300 ROWS WITH TIES",
	"BEGIN; DECLARE c CURSOR FOR SELECT id FROM items ORDER BY $d, id; $fetches COMMIT;",
	"SELECT t.id FROM items t JOIN docs USING (id) WHERE grade = 4 ORDER BY $d LIMIT 10",
	"BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id FROM items WHERE random() >= 0 ORDER BY $d, id;
	 FETCH 3 FROM c; COMMIT; FETCH 300 FROM c; CLOSE c;")
{
	is($w1->safe_psql('postgres', $exact . $sql),
		$coordinator->safe_psql('postgres', $exact . $sql),
		"asked of a worker: " . substr($sql, 0, 60));
}
like(
	$w1->safe_psql('postgres', "EXPLAIN ANALYZE SELECT id FROM items WHERE random() >= 0 ORDER BY $d LIMIT 5"),
	qr/Mode: streaming.*Worker Group: local/s,
	'a worker streams its own partitions');

# All rows of its own partitions, 8 MB here, are read when a holdable cursor begins.
$coordinator->safe_psql('postgres', <<"SQL");
CREATE TABLE wide (id bigint NOT NULL, note text, embedding vector($dims)) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table('wide', 8);
INSERT INTO wide SELECT g, repeat(chr((97 + g % 26)::int), 1000), embedding
    FROM generate_series(1, 16000) g, plain_items i WHERE i.id = g % 8000 + 1;
SQL
my $wide = 'SELECT id, note FROM wide';
cmp_ok($_, '<', 4096, 'a worker keeps little of its own rows in memory')
  foreach kept_in_memory($w1, '256kB', $wide);
cmp_ok((kept_in_memory($w1, '64MB', $wide))[0], '>', 8000, 'which would be seen when they are read');
is( $w1->safe_psql('postgres', "$exact SET work_mem = '64kB'; BEGIN;
		DECLARE c CURSOR WITH HOLD FOR $wide WHERE random() >= 0 ORDER BY $d, id;
		MOVE 3 FROM c; COMMIT; FETCH ALL FROM c"),
	$coordinator->safe_psql('postgres', "$exact SELECT * FROM ($wide ORDER BY $d, id) s OFFSET 3"),
	'and reads them all');

# All rows of "own" are in partitions on w1.
$coordinator->safe_psql('postgres', <<"SQL");
CREATE TABLE own (id bigint NOT NULL, embedding vector($dims)) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table('own', 8);
INSERT INTO own SELECT g, embedding FROM plain_items i, generate_series(i.id, 16000, 8000) g
    WHERE (SELECT bool_or(satisfies_hash_partition('own'::regclass, 8, substring(bound FROM 'remainder (\\d)')::int, g))
           FROM vecdist.partitions WHERE relation = 'own'::regclass AND worker = 'w1');
SQL
my $unsorted = "SELECT id FROM own WHERE random() >= 0 ORDER BY $d, id";
my $sorted   = $w1->safe_psql('postgres', "SET vecdist.enable_topk = off; $unsorted");
my $set_late = '';

# Statements with a cursor "c" on w1, and how many of its answers were doubtful.
sub own_rows
{
	my ($sql) = @_;

	return $w1->safe_psql('postgres', <<"SQL") =~ /(.*)\n(\d+)$/s;
SET work_mem = '64kB'; $set_late
DO 'BEGIN PERFORM vecdist.stat_search_reset(); END';
$sql
CLOSE c;
SELECT sum(not_certified) FROM vecdist.stat_search WHERE relation = 'own'::regclass;
SQL
}
my $hold = "DECLARE c CURSOR WITH HOLD FOR $unsorted;";
my @held = (
	[ 'read before COMMIT', "BEGIN; $hold FETCH ALL FROM c; COMMIT;" ],
	[ 'read after COMMIT',  "BEGIN; $hold COMMIT; FETCH ALL FROM c;" ],
	[ 'begun in what is rolled back', "BEGIN; $hold SAVEPOINT s; MOVE 70 FROM c; ROLLBACK TO s; FETCH ALL FROM c; COMMIT;", 70 ],
	[ 'going back', "BEGIN; @{[ $hold =~ s/CURSOR/SCROLL CURSOR/r ]} MOVE 300 FROM c; COMMIT;
		MOVE BACKWARD 200 FROM c; MOVE 150 FROM c; MOVE BACKWARD ALL FROM c; FETCH ALL FROM c;" ]);

sub holds
{
	my ($where) = @_;

	foreach (@held)
	{
		my ($name, $sql, $moved) = @$_;
		my ($rows, $doubtful) = own_rows($sql);

		is($rows, join("\n", (split /\n/, $sorted)[ ($moved // 0) .. $sorted =~ tr/\n// ]),
			"a holdable cursor has all its rows in order, $name$where");
		is($doubtful, 0, "and is certified, $name$where");
	}
	return;
}
holds('');

# Rows that are found late, as by a poor index: here portals return them in any
# order.  A cursor leaves these out, a holdable one has sorted all rows.
SKIP:
{
	skip 'not a test build', 10
	  if $w1->psql('postgres', 'SHOW vecdist.debug_mistake') != 0;
	$set_late = "SET vecdist.debug_mistake = 'dist-rows-unordered';";
	my ($rows, $doubtful) = own_rows("BEGIN; DECLARE c CURSOR FOR $unsorted; FETCH ALL FROM c;");
	cmp_ok($rows =~ tr/\n//, '<', $sorted =~ tr/\n//, 'rows that are found late are left out');
	is($doubtful, 1, 'and counted');
	holds(', although rows are found late');
}

# What is kept in a file ends with an error.
my $cancel = 'CASE id WHEN ' . (split /\n/, $sorted)[100] . ' THEN pg_cancel_backend(pg_backend_pid()) ELSE true END';
my (undef, $files, $canceled) = $w1->psql('postgres', <<"SQL", on_error_stop => 0);
SET work_mem = '64kB';
BEGIN;
@{[ $hold =~ s/random\(\) >= 0/$cancel/r ]}
MOVE 3 FROM c;
SELECT count(*) > 0 FROM pg_ls_tmpdir();
FETCH ALL FROM c;
ROLLBACK;
SELECT count(*) > 0 FROM pg_ls_tmpdir();
SQL
like($canceled, qr/canceling statement due to user request/, 'a cancel while rows are kept');
is($files, "t\nf", 'leaves no file');

# ----------------------------------------------------------------------
# Rows, rounds, and what is found late
# ----------------------------------------------------------------------

my $explain = explained("SELECT id FROM items WHERE random() >= 0 ORDER BY $d LIMIT 5", $exact);
like($explain, qr/Rounds: 1\n\s+Rows Fetched: 100\n/, 'few rows: one turn, a small batch of each worker');
like($explain, qr/Filter: \(random\(\)/, 'the condition is evaluated here');
$explain = explained("SELECT id FROM items WHERE random() >= 0 ORDER BY $d LIMIT 900", $exact);
my ($rounds) = $explain =~ /Rounds: (\d+)/;
cmp_ok($rounds, '<=', 7, 'batches grow');

# An index with the smallest ef: rows come in order, none twice, and what it
# finds too late is counted.
my $set = "SET enable_seqscan = off; SET vhnsw.ef_search = 1;\n";
is( $coordinator->safe_psql('postgres', <<"SQL"),
$set SELECT count(*), count(DISTINCT id), bool_and(d >= before) FROM (
    SELECT id, d, lag(d, 1, 0) OVER (ROWS UNBOUNDED PRECEDING) AS before FROM (
        SELECT id, $d AS d FROM items WHERE random() >= 0 ORDER BY d LIMIT 3000) s) s;
SQL
	'3000|3000|t',
	'through indexes with a small ef: in order, none twice');
like(
	explained("SELECT id FROM items WHERE random() >= 0 ORDER BY $d LIMIT 300", $set),
	qr/Mode: streaming.*index items_\d_embedding_idx, ef 1\)/s,
	'through an index');

# ----------------------------------------------------------------------
# A worker whose answer cannot be trusted
# ----------------------------------------------------------------------

# Put functions in front of the worker's own, which change their answers.
my $w2 = $cluster->worker('w2');
$w2->safe_psql('postgres', <<'SQL');
CREATE FUNCTION vecdist.honest_stream(bigint, text[], text, text, text, bigint, text[], VARIADIC "any")
    RETURNS SETOF record AS '$libdir/vecdist', 'vecdist_search_stream' LANGUAGE C STABLE;
CREATE FUNCTION vecdist.honest_next(bigint, bigint)
    RETURNS SETOF record AS '$libdir/vecdist', 'vecdist_search_next' LANGUAGE C;
SQL

sub lie
{
	my ($first, $next, $sql) = @_;
	my $columns = 'AS s (part int, pos int, dist float8, report bytea, c bigint)';

	$w2->safe_psql('postgres', <<"SQL");
CREATE OR REPLACE FUNCTION vecdist.search_stream(stream bigint, partitions text[], columns text,
    filter text, distance text, first bigint, settings text[], v vector)
    RETURNS SETOF record LANGUAGE plpgsql AS \$f\$
BEGIN
    RETURN QUERY SELECT $first, c FROM vecdist.honest_stream(stream, partitions, columns, filter,
        distance, first, settings, v) $columns;
END
\$f\$;
CREATE OR REPLACE FUNCTION vecdist.search_next(stream bigint, next bigint)
    RETURNS SETOF record LANGUAGE plpgsql AS \$f\$
BEGIN
    RETURN QUERY SELECT $next, c FROM vecdist.honest_next(stream, next) $columns;
END
\$f\$;
SQL
	my ($status, $stdout, $stderr) =
	  $coordinator->psql('postgres', "\\set VERBOSITY verbose\n" . $sql);
	return $stdout . $stderr;
}

my $honest = 'part, pos, dist, report';
my $sum    = "SELECT count(*), sum(id) FROM (SELECT id FROM items WHERE random() >= 0 ORDER BY $d LIMIT 400) s";
my $true   = $coordinator->safe_psql('postgres', $sum);
is(lie($honest, $honest, $sum), $true, 'the functions in front pass');
like(lie("part, pos, dist, overlay(report PLACING int8send(1) FROM 15)", $honest, $sum),
	qr/XX001.*"items_1" did not search with the number of rows and the settings/s, 'other settings');
like(lie("part, pos, dist, overlay(report PLACING int8send(50) FROM 7)", $honest, $sum),
	qr/XX001.*"items_1" did not search with the number of rows and the settings/s, 'a limit');
like(lie($honest, "part, pos, dist, overlay(report PLACING int8send(1) FROM 39)", $sum),
	qr/08P01.*worker "w2" sent an invalid answer/s, 'rows that are not counted');
like(lie($honest, 'part, pos + 1, dist, report', $sum),
	qr/08P01.*worker "w2" sent an invalid answer/s, 'a row is missing');

# Rows that come when farther ones have been returned.
my $late = 'part, pos, CASE WHEN pos = 60 THEN 0 ELSE dist END, report';
my $list = "SELECT id FROM items WHERE random() >= 0 ORDER BY $d LIMIT 400";
like(lie($honest, $late, "EXPLAIN ANALYZE $list"),
	qr/Merge Certified: no: 1 row was found after a farther one had been returned/,
	'a row that is found too late is left out, and EXPLAIN says so');
unlike(lie($honest, $late, "SET vhnsw.iterative_scan = relaxed_order; $list"),
	qr/ERROR/, 'with relaxed_order it is returned');
is( scalar(split ' ', lie($honest, $late, "SET vhnsw.iterative_scan = relaxed_order; $list")),
	400, 'all rows are there');

done_testing();

# Reading a distributed table gives the rows that a local copy has, whatever is
# asked, and the workers do the work they can do.
#
# Every answer is compared as a set with that of the same query on "ref", an
# ordinary table on the coordinator with the same rows: all common types with
# NULLs and odd values, filters that are pushed and filters that are not,
# joins, aggregates, generic plans, cursors, row locks, row security.  What is
# pushed is read from EXPLAIN.

use strict;
use warnings;
use lib 'test/perl';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster     = make_cluster(workers => 2);
my $coordinator = $cluster->coordinator;

sub sql
{
	my ($statements) = @_;
	return $coordinator->safe_psql('postgres', $statements);
}

# The SQLSTATE of what fails, or an empty string.
sub sqlstate
{
	my ($statements) = @_;
	my (undef, undef, $stderr) =
	  $coordinator->psql('postgres', $statements,
		extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	return $stderr =~ /ERROR:\s+(\w{5})/ ? $1 : '';
}

# Rows of a query, in which TABLE stands for the table, are the same for both.
sub same
{
	my ($query, $name) = @_;
	my %rows;

	foreach my $table ('items', 'ref')
	{
		(my $statements = $query) =~ s/\bTABLE\b/$table/g;
		$rows{$table} = join "\n", sort split /\n/, sql($statements);
	}
	is($rows{items}, $rows{ref}, $name // $query);
	return;
}

sub plan_of
{
	my ($query) = @_;
	return sql("EXPLAIN (VERBOSE, COSTS OFF) $query");
}

# ----------------------------------------------------------------------
# The tables
# ----------------------------------------------------------------------

foreach my $server ($cluster->servers)
{
	$server->safe_psql('postgres', q{
		CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
		CREATE DOMAIN positive AS int CHECK (value > 0);});
}

my $columns = q{
	id bigint NOT NULL, val int, t text, v varchar(5), c char(3),
	cc text COLLATE "C", n numeric(20, 4), big numeric, b bool, s smallint,
	ts timestamptz, tz timestamp, d date, iv interval, j jsonb, ia int[],
	ta text[], e mood, ea mood[], f8 float8, f4 float4, u uuid, by bytea,
	dom positive, r int4range, nm name, rc regclass, bits varbit, ip inet,
	vec vector(3), hv halfvec(3), sv sparsevec(1000), sva sparsevec[],
	g int GENERATED ALWAYS AS (val * 2) STORED};

sql(qq{
	CREATE TABLE ref ($columns);
	CREATE TABLE items ($columns) PARTITION BY HASH (id);
	SELECT vecdist.create_distributed_table('items', partitions => 5);
	CREATE INDEX ON items (id);});

my $listed = join ', ', qw(id val t v c cc n big b s ts tz d iv j ia ta e ea
  f8 f4 u by dom r nm rc bits ip vec hv sv sva);
sql(qq{
	INSERT INTO ref ($listed)
	SELECT i, nullif(i % 17, 0),
		CASE WHEN i % 5 = 0 THEN NULL ELSE E'text\\\\x\\t\\n\\r''" ' || i END,
		left(i::text, 5), (i % 100)::text, md5((i % 50)::text), i / 3.0,
		CASE i % 7 WHEN 0 THEN 'inf' WHEN 1 THEN '-inf' WHEN 2 THEN 'nan'
			ELSE i / 3.0 END, i % 2 = 0, i % 100,
		'2020-01-01 00:00:00+02'::timestamptz + i * interval '1 hour 3 sec',
		CASE WHEN i % 19 = 0 THEN '-infinity'
			ELSE '2001-02-03 04:05:06.789'::timestamp + i * interval '1 day' END,
		date '2000-01-01' + i,
		make_interval(0, i % 5, 0, -i, i, -3, 2.5),
		jsonb_build_object('a', i, 'b', array[1, null, i]), array[i, null, 3],
		array['a,b', '{"x"}', null, i::text],
		(array['sad', 'ok', 'happy'])[i % 3 + 1]::mood,
		array['sad', null, 'happy']::mood[],
		CASE WHEN i % 11 = 0 THEN 'nan' WHEN i % 13 = 0 THEN '-infinity'
			ELSE i * 1.1 END, i / 7.0, md5(i::text)::uuid,
		decode(md5(i::text), 'hex'), i, int4range(i, i + 5), 'n' || i % 10,
		'pg_class', (i % 16)::bit(5), '10.0.0.0'::inet + i,
		array[i, i * 2, -1.5]::vector, array[i, 0.1, -1.5]::halfvec,
		format('{%s:%s,%s:-0.1}/1000', i % 500 + 1, i, i % 300 + 501)::sparsevec,
		array[format('{%s:1}/2000', i), null, '{}/1']::sparsevec[]
	FROM generate_series(1, 2000) i;
	INSERT INTO ref (id) VALUES (-1), (-2);
	INSERT INTO items ($listed) SELECT $listed FROM ref;});

# ----------------------------------------------------------------------
# The same rows
# ----------------------------------------------------------------------

same("SELECT $listed, g FROM TABLE", 'every column of every row');
same('SELECT TABLE FROM TABLE', 'whole rows');
same('SELECT count(*) FROM TABLE', 'no column at all');

same("SELECT id FROM TABLE WHERE $_", "filter: $_") foreach (
	'id = 5', 'val = 3', 'val IS NULL', 'val IS NOT NULL AND b',
	'NOT b', 'val = 3 OR id < 100', 'val IS DISTINCT FROM 3',
	'id IN (1, 2, 3, 9999)', 'id = ANY (ARRAY[4, 5])', 'id <> ALL (ARRAY[4, 5])',
	'id BETWEEN 100 AND 200', '(val, id) > (5, 1000)', 't LIKE E\'%ext\\\\\\\\x%\'',
	q{t ~ '1[0-3]$'}, q{v = '12'}, q{c = '7'}, q{cc < '5'},
	q{cc = 'abc' COLLATE "C"}, q{t COLLATE "C" < 'text1'}, q{upper(t) LIKE '% 15'},
	q{big = 'inf'}, q{big = 'nan'}, 'n > 500.25', 'f8 > 2000', q{f8 = 'nan'},
	q{f4 < 2}, q{ts > '2020-02-01 00:00:00+05'}, q{tz = '-infinity'},
	q{d > date '2003-01-01'}, q{iv < interval '0'}, q{ts > now()},
	q{ts < now() - interval '1 day' AND d < current_date},
	q{j @> '{"a": 7}'}, q{j ->> 'a' = '8'}, q{j['a'] = '9'}, q{ia[1] = 10},
	q{5 = ANY (ia)}, q{ta @> ARRAY['11']}, q{e = 'ok'}, q{e > 'sad'},
	q{e::text = 'ok'}, q{ea = ARRAY['sad', NULL, 'happy']::mood[]},
	q{e = ANY (ARRAY['ok', 'happy']::mood[])}, q{u = md5('5')::uuid},
	q{by = decode(md5('6'), 'hex')}, 'dom = 7', 'dom + 1 < 10',
	'r @> 8', q{nm = 'n3'}, q{rc = 'pg_class'::regclass}, q{bits = B'00011'},
	q{ip << '10.0.0.0/30'}, q{vec <-> '[1,2,3]' < 100},
	q{hv <-> '[1,2,3]' < 100}, q{hv = '[5,0.1,-1.5]'}, q{hv::vector <=> vec < 0.1},
	q{sv <-> '{1:3}/1000' < 100}, q{sv = '{6:5,506:-0.1}/1000'}, q{sv <#> '{7:2}/1000' < 0},
	q{sva[1] <-> '{7:1}/2000' = 0}, q{bits <~> B'00011' = 1}, q{bits::bit(5) <%> B'00011' < 0.6},
	'CASE WHEN b THEN val ELSE s END = 4', 'coalesce(val, s) = 4',
	'nullif(val, 4) = 5', 'greatest(val, s) = 10', 'id % 10 = 3',
	q{(SELECT max(val) FROM ref) = val}, q{id IN (SELECT s FROM ref)},
	q{EXISTS (SELECT FROM ref x WHERE x.id = TABLE.val)},
	'length(t) > 10 AND random() >= 0', 'tableoid IS NOT NULL',
	q{g = 6}, q{ts::date = '2020-01-05'}, q{date_trunc('day', ts) < '2020-01-05'},
	'1 / (id + 3) = 0', 'false', 'NULL', 'val = NULL');

same('SELECT b, e, count(*), sum(val), min(d), max(ts), avg(n), bool_or(b)
	FROM TABLE GROUP BY b, e HAVING count(*) > 10', 'aggregates');
same('SELECT x.id, y.val FROM TABLE x JOIN ref y ON x.id = y.id + 3
	WHERE y.val < 4', 'join with a local table');
same('SELECT x.id, y.id FROM TABLE x LEFT JOIN TABLE y ON y.id = x.val
	WHERE x.id < 50', 'join with itself');
same('SELECT v.x, y.* FROM (VALUES (1), (5), (NULL)) v (x),
	LATERAL (SELECT id, t FROM TABLE WHERE id = v.x + 1) y', 'LATERAL');
same('SELECT id FROM TABLE ORDER BY id DESC OFFSET 5 LIMIT 7', 'LIMIT');
same('SELECT DISTINCT ON (val) val, id FROM TABLE ORDER BY val, id',
	'DISTINCT ON');
same('SELECT id, rank() OVER (PARTITION BY val ORDER BY id) FROM TABLE
	WHERE id < 100', 'window function');
same('WITH RECURSIVE w(i) AS (SELECT 1::bigint UNION ALL
	SELECT x.id + 1 FROM w JOIN TABLE x ON x.id = w.i WHERE x.id < 20)
	SELECT * FROM w', 'recursive query');
same("SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard';
	SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = 0;
	SELECT id, ts, tz, d, iv, f8, rc, ea FROM TABLE
	WHERE d <= '05/02/2000' AND iv < interval '1 day'", 'formats of the session');

# Order: the same rows in the same places.
foreach my $order ('id', 'id DESC', 'val, id', 'val DESC NULLS LAST, id DESC',
	'val NULLS FIRST, -id', 't, id', 't DESC, id', 'cc, id', 'c, v, id',
	't COLLATE "C" DESC, id', 'big, id', 'f8 DESC, id', 'e DESC, id', 'tz, id',
	'b, s DESC, id', 'vec <-> \'[3,1,2]\', id', 'hv <+> \'[3,1,2]\', id',
	'sv <-> \'{3:1}/1000\', id', 'sv <=> \'{3:1}/1000\', id', 'sv DESC, id', 'id + 0 DESC', 'upper(t), id',
	'iv, id', 'ts::date DESC, id', 'random() * 0, id')
{
	foreach my $rest ('', 'OFFSET 3 LIMIT 10', 'FETCH FIRST 4 ROWS WITH TIES')
	{
		my $query = "SELECT id, val FROM %s WHERE id > 0 ORDER BY $order $rest";
		my ($items, $ref) = map { sql(sprintf $query, $_) } 'items', 'ref';
		is($items, $ref, "ORDER BY $order $rest");
	}
}
same('SELECT x.id FROM TABLE x JOIN TABLE y USING (id) WHERE y.val = 3
	ORDER BY x.id DESC LIMIT 5', 'order below a join');

# ----------------------------------------------------------------------
# What is pushed
# ----------------------------------------------------------------------

like(plan_of('SELECT t FROM items WHERE id = 5 AND val + 1 < 8'),
	qr/\QRemote SQL: SELECT t.t FROM public.items_\E\d\Q t WHERE (t.id = 5) AND ((t.val + 1) < 8)\E$/m,
	'only the needed column of one partition');
unlike(plan_of('SELECT id FROM items WHERE e = \'ok\' AND id < 5'),
	qr/Filter/, 'enum constants are pushed');
like(plan_of(q{SELECT id FROM items WHERE vec <-> '[1,2,3]' < 5}),
	qr/WHERE \(\(t\.vec OPERATOR\(public\.<->\) \(\$1\)::public\.vector\)/,
	'operators of vecdist are pushed, vectors as values');
like(plan_of(q{SELECT id FROM items WHERE sv <-> '{1:2}/1000' < 5 AND hv <#> '[1,2,3]' < 0}),
	qr/WHERE (?=.*\(t\.sv OPERATOR\(public\.<->\) \(\$\d\)::public\.sparsevec\)).*\(t\.hv OPERATOR\(public\.<#>\) \(\$\d\)::public\.halfvec\)/,
	'for all types of vectors');
like(plan_of('SELECT id FROM items WHERE ts > now()'),
	qr/WHERE \(t\.ts > \(\$1\)::timestamp with time zone\)/,
	'stable functions are evaluated once, here');
foreach my $filter ('random() < 2', 'e::text = \'ok\'', 'tableoid > 0',
	q{t COLLATE "en_US" < 'x'}, 'items IS NOT NULL', 'mine(val)')
{
	sql('CREATE OR REPLACE FUNCTION mine(int) RETURNS bool IMMUTABLE
		LANGUAGE plpgsql AS $$ BEGIN RETURN $1 = 3; END $$');
	next
	  if $filter =~ /en_US/
	  && sql(q{SELECT count(*) FROM pg_collation WHERE collname = 'en_US'}) eq 0;
	like(plan_of("SELECT id FROM items WHERE $filter"),
		qr/Filter: .*Remote SQL: SELECT [^\n]* FROM public\.items_\d t$/ms,
		"not pushed: $filter");
	same("SELECT id FROM TABLE WHERE $filter") unless $filter =~ /items/;
}

like(plan_of('SELECT id FROM items ORDER BY val DESC, id LIMIT 5'),
	qr/Merge Append.*ORDER BY \(t\.val\) DESC NULLS FIRST, \(t\.id\) ASC NULLS LAST$/ms,
	'order is pushed');

# Searches by indexes over every type: the query travels to the workers, their
# answers come back, and the nearest are those of a local table.
foreach my $search (
	[ 'vec',              'vector_l2_ops',      '<->', q{'[700,1400,0]'} ],
	[ 'hv',               'halfvec_l2_ops',     '<->', q{'[700,0.1,0]'} ],
	[ 'hv',               'halfvec_ip_ops',     '<#>', q{'[1,0.1,0]'} ],
	[ 'sv',               'sparsevec_l2_ops',   '<->', q{'{200:700,599:3}/1000'} ],
	[ 'sv',               'sparsevec_cosine_ops', '<=>', q{'{200:700,999:3}/1000'} ],
	[ '(bits::bit(5))',   'bit_hamming_ops',    '<~>', q{B'01111'} ])
{
	my ($key, $class, $operator, $value) = @$search;
	my $ordered = "FROM %s ORDER BY $key $operator $value LIMIT 10";
	my $distances = "SELECT array_agg(distance) FROM (SELECT $key $operator $value AS distance $ordered) x";
	my $settings = 'SET vhnsw.ef_search = 1000; SET enable_seqscan = off;';

	sql("CREATE INDEX searched ON items USING vhnsw ($key $class)");
	like(sql("$settings EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT id " . sprintf $ordered, 'items'),
		qr/Distributed Top-K.*\bindex\b/si, "search by an index: $class");
	is(sql($settings . sprintf $distances, 'items'), sql(sprintf $distances, 'ref'),
		"$class finds the nearest");
	sql('DROP INDEX searched');
}

# A condition that must not raise an error protects what is below it.
same(q{SELECT id FROM TABLE WHERE CASE WHEN 'x' = 'y' THEN d > 'x'::text::date
	ELSE id = 3 END}, 'CASE protects');
is(sql(q{PREPARE q(text) AS SELECT id FROM items
	WHERE ($1 = '' OR d > $1::date) AND id = 3;
	SET plan_cache_mode = force_generic_plan;
	EXECUTE q('');}), '3', 'OR protects in a generic plan');

# Index nested loop: the partitioned table's index tells that it is worth it.
sql('ANALYZE items; ANALYZE ref');
like(plan_of('SELECT i.t FROM ref r JOIN items i ON i.id = r.val WHERE r.id = 3'),
	qr/Nested Loop.*WHERE \(\(\$1\)::integer = t\.id\)/s, 'parameterized by a join');

# ANALYZE took its numbers from the workers.
is(sql('SELECT sum(reltuples) FROM pg_class WHERE relname ~ \'^items_\d$\''),
	'2002', 'row counts of all partitions');
cmp_ok(sql(q{SELECT count(*) FROM pg_stats WHERE tablename = 'items_1'}),
	'>=', 25, 'column statistics of a partition');

# ----------------------------------------------------------------------
# Generic plans, with parameters of many types
# ----------------------------------------------------------------------

foreach my $table ('items', 'ref')
{
	my $type_of = sub {
		return sql("SELECT format_type(atttypid, NULL) FROM pg_attribute
			WHERE attrelid = 'ref'::regclass AND attname = '$_[0]'");
	};
	my @columns = qw(id t v c cc big b ts tz d iv j ia ta e ea f8 u by dom r
	  nm bits ip vec hv sv sva);
	my $prepare = join ', ', map { $type_of->($_) } @columns;
	my $n       = 0;
	my $where   = join ' OR ', map { $n++; "$_ = \$$n" } @columns;
	my $execute = join ', ', map {
		sql("SELECT quote_nullable($_) FROM ref WHERE id = 701")
	} @columns;
	my $nulls = join ', ', map { 'NULL' } @columns;
	my $rows  = sql(qq{
		SET plan_cache_mode = force_generic_plan;
		PREPARE p ($prepare) AS SELECT count(*), sum(id) FROM $table WHERE $where;
		EXECUTE p ($execute); EXECUTE p ($nulls);});

	our $first //= $rows;
	is($rows, $first, "generic plan on $table");
}

# ----------------------------------------------------------------------
# Cursors, loops, and more rows than fit a batch
# ----------------------------------------------------------------------

sql(q{
	CREATE TABLE many (id int, val int, filler text) PARTITION BY HASH (id);
	SELECT vecdist.create_distributed_table('many', partitions => 3);
	INSERT INTO many SELECT i, i % 2, repeat('x', i % 500)
	FROM generate_series(1, 20000) i;});
is(sql('SELECT count(*), sum(id), sum(length(filler)) FROM many'),
	'20000|200010000|4990000', 'many rows');
is(sql('SELECT count(*), sum(id) FROM many WHERE val = 1 AND val + 0 = 1'),
	'10000|100000000', 'far more rows than estimated');
is(sql('SELECT count(*) FROM (SELECT id FROM many LIMIT 5) x'),
	'5', 'few rows of many');

is(sql(q{
	BEGIN;
	DECLARE c CURSOR FOR SELECT id FROM many ORDER BY id;
	MOVE 1000 FROM c;
	FETCH 2 FROM c;
	SELECT count(*) FROM many WHERE id < 10;
	FETCH 1 FROM c;
	COMMIT;}), "1001\n1002\n9\n1003", 'a cursor beside another query');
is(sql(q{
	BEGIN;
	DECLARE c CURSOR WITH HOLD FOR SELECT id FROM many;
	MOVE 10 FROM c;
	COMMIT;
	FETCH ALL FROM c;}) =~ tr/\n//, 19989, 'a cursor WITH HOLD');
is(sqlstate(q{
	BEGIN;
	DECLARE c CURSOR FOR SELECT id FROM many;
	SAVEPOINT s;
	FETCH 1 FROM c;
	ROLLBACK TO s;
	FETCH 1000 FROM c;}), '24000',
	'a cursor whose reading began in a subtransaction that was rolled back');
is(sql(q{
	BEGIN;
	DECLARE c CURSOR FOR SELECT count(*) OVER (), id FROM many;
	FETCH 1 FROM c;
	SAVEPOINT s;
	FETCH 1 FROM c;
	ROLLBACK TO s;
	MOVE ALL FROM c;
	COMMIT;}) =~ tr/\n//, 1, 'a cursor read across ROLLBACK TO');

sql(q{
	CREATE FUNCTION loops() RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		r record;
		n bigint := 0;
		m bigint;
	BEGIN
		FOR r IN SELECT id FROM many WHERE id <= 3000 LOOP
			IF r.id % 500 = 0 THEN
				BEGIN
					SELECT count(*) INTO m FROM many
					WHERE id BETWEEN r.id AND r.id + 9;
					n := n + m;
					RAISE EXCEPTION 'undo' USING ERRCODE = 'U0001';
				EXCEPTION WHEN SQLSTATE 'U0001' THEN
				END;
			END IF;
		END LOOP;
		RETURN n;
	END $$;});
is(sql('SELECT loops()'), '60', 'queries and failures inside a loop');

# ----------------------------------------------------------------------
# Row locks, snapshots, row security
# ----------------------------------------------------------------------

my $locker = $coordinator->background_psql('postgres', on_error_die => 1);
$locker->query_safe('BEGIN; SELECT id FROM items WHERE id = 8 FOR UPDATE');
is(sqlstate('SELECT id FROM items WHERE id = 8 FOR UPDATE NOWAIT'),
	'55P03', 'FOR UPDATE locks on the worker');
is(sql('SELECT id FROM items WHERE id IN (8, 9) FOR UPDATE SKIP LOCKED'),
	'9', 'SKIP LOCKED');
$locker->query_safe('ROLLBACK');
$locker->query_safe(
	'BEGIN; SELECT id FROM items WHERE id = 8 OR val >= 0 LIMIT 1 FOR UPDATE');
is(sql('BEGIN; SELECT count(*) FROM (SELECT id FROM items WHERE val >= 0 OR id = 8
	FOR UPDATE SKIP LOCKED) x'), sql('SELECT count(*) - 1 FROM ref
	WHERE val >= 0 OR id = 8'), 'LIMIT 1 locks one row');
$locker->query_safe('ROLLBACK');

$locker->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$locker->query_safe('SELECT count(*) FROM items');
sql('INSERT INTO items (id) SELECT generate_series(90001, 90100)');
is($locker->query_safe('SELECT count(*) FROM items'),
	'2002', 'REPEATABLE READ sees one snapshot');
$locker->query_safe('COMMIT');
is($locker->query_safe('SELECT count(*) FROM items'), '2102', 'and then the new rows');
sql('DELETE FROM items WHERE id > 90000');
$locker->quit;

$_->safe_psql('postgres', 'CREATE ROLE reader') foreach $cluster->servers;
sql(q{
	GRANT SELECT ON items TO reader;
	CREATE USER MAPPING FOR reader SERVER w1
		OPTIONS (user 'postgres', password_required 'false');
	CREATE USER MAPPING FOR reader SERVER w2
		OPTIONS (user 'postgres', password_required 'false');
	SET vecdist.enable_ddl_propagation = off;
	CREATE POLICY small ON items USING (val < 5);
	ALTER TABLE items ENABLE ROW LEVEL SECURITY;});
my $plan = sql(q{SET ROLE reader;
	EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM items WHERE id = 7 AND 1 / id > 0});
like($plan, qr/WHERE \(t\.val < 5\) AND \(t\.id = 7\)$/m,
	'the policy and leakproof conditions are pushed');
like($plan, qr{Filter: \(\(1 / items.*id\) > 0\)}, 'others are not');
is(sql('SET ROLE reader; SELECT count(*) FROM items'),
	sql('SELECT count(*) FROM ref WHERE val < 5'), 'row security');
sql(q{SET vecdist.enable_ddl_propagation = off;
	ALTER TABLE items DISABLE ROW LEVEL SECURITY});

# ----------------------------------------------------------------------
# EXPLAIN needs no worker; a query does
# ----------------------------------------------------------------------

like(plan_of('SELECT count(*) FROM items'), qr/Worker: w2/, 'EXPLAIN names the worker');
unlike(sql('EXPLAIN SELECT count(*) FROM items'), qr/Remote SQL/,
	'the statement is shown with VERBOSE only');
$cluster->worker('w2')->stop;
like(plan_of('SELECT count(*) FROM items'), qr/Worker: w2/, 'also when it is down');
is(sqlstate('SELECT count(*) FROM items'), '08001', 'but then queries fail');
is(sql('SELECT count(*) FROM items_0') > 0, 1, 'unless they need others only');
$cluster->worker('w2')->start;
same('SELECT id, t FROM TABLE', 'after the worker came back');

done_testing();

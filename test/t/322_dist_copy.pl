# COPY and large INSERTs through a distributed table: every row arrives, once,
# in its place, with all its values; a failure anywhere leaves nothing behind.
#
# 20,000 rows are loaded, so that buffers fill, bursts alternate between the
# leaves of a worker, and errors find rows on the way.  Contents are compared
# with a local table loaded from the same file.

use strict;
use warnings;
use lib 'test/perl';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster     = make_cluster(workers => 2);
my $coordinator = $cluster->coordinator;
my $dir         = PostgreSQL::Test::Utils::tempdir();

sub sql
{
	my ($statements) = @_;
	return $coordinator->safe_psql('postgres', $statements);
}

sub run
{
	my ($statements) = @_;
	my (undef, undef, $stderr) =
	  $coordinator->psql('postgres', $statements,
		on_error_stop => 0,
		extra_params  => [ '-v', 'VERBOSITY=sqlstate' ]);
	return join ' ', $stderr =~ /ERROR:\s+(\w{5})/g;
}

# A digest of a table's contents.
sub digest
{
	my ($table) = @_;
	return sql(qq{SELECT count(*), md5(string_agg(x::text, '|' ORDER BY x::text COLLATE "C"))
		FROM $table x});
}

# Statements that fail change nothing.
sub fails
{
	my ($statements, $state, $name) = @_;
	my $before = digest('items');

	is(run($statements), $state, $name);
	is(digest('items'), $before, '... and nothing is left of it');
	return;
}

my $columns = q{id int NOT NULL CHECK (id <> 19999), val int DEFAULT 42, t text,
	gone int, v vector(64), h halfvec(2), s sparsevec(100), d date DEFAULT '2020-02-02',
	g int GENERATED ALWAYS AS (val + 1) STORED};
sql(qq{
	CREATE TABLE ref ($columns);
	CREATE TABLE source ($columns);
	CREATE TABLE items ($columns) PARTITION BY HASH (id);
	ALTER TABLE ref DROP COLUMN gone;
	ALTER TABLE source DROP COLUMN gone;
	ALTER TABLE items DROP COLUMN gone;
	SELECT vecdist.create_distributed_table('items', partitions => 6);
	INSERT INTO source (id, val, t, v, h, s)
	SELECT i, nullif(i % 10, 0), repeat(chr(64 + i % 60) || E'\\t\\\\\\n', i % 7),
		(SELECT array_agg(sin(i * j)) FROM generate_series(1, 64) j)::vector,
		ARRAY[i, -0.1]::halfvec, format('{%s:%s,100:-0.1}/100', i % 90 + 1, i)::sparsevec
	FROM generate_series(1, 19998) i;
	INSERT INTO source (id) VALUES (20000), (20001);
	COPY source TO '$dir/rows.text';
	COPY source (id, v, h, s) TO '$dir/rows.binary' (FORMAT binary);
	COPY source (t, id) TO '$dir/rows.csv' (FORMAT csv);
	COPY ref FROM '$dir/rows.text';});
my $whole = digest('ref');

# ----------------------------------------------------------------------
# Loading
# ----------------------------------------------------------------------

is(sql("COPY items FROM '$dir/rows.text'"), '', 'COPY 20,000 rows');
is(digest('items'), $whole, 'all of them, as they were');

# Rows are spread over all leaves, and each is where its key belongs.
my %local = map {
	my $worker = $cluster->worker($_);
	$_ => $worker->safe_psql('postgres', q{
		SELECT sum(n) FROM (
			SELECT pg_relation_size(oid) > 0 AS filled,
				(xpath('/row/n/text()', query_to_xml('SELECT count(*) AS n FROM ' ||
				oid::regclass, false, true, '')))[1]::text::int AS n
			FROM pg_class WHERE relname ~ '^items_\d$' AND relkind = 'r') x
		HAVING bool_and(filled) AND count(*) = 3})
} $cluster->groups;
is($local{w1} + $local{w2}, 20000, 'the workers hold them, in three leaves each');

sql("TRUNCATE items; COPY items (id, v, h, s) FROM '$dir/rows.binary' (FORMAT binary)");
is(sql('SELECT count(*), sum(id), count(DISTINCT val), min(val), min(d), count(v), count(h), count(s), sum(g) FROM items'),
	sql('SELECT count(*), sum(id), 1, 42, date \'2020-02-02\', count(v), count(h), count(s), count(*) * 43 FROM ref'),
	'binary COPY of some columns, defaults for the others');
sql("TRUNCATE items; COPY items (t, id) FROM '$dir/rows.csv' (FORMAT csv)");
is(sql('SELECT count(*), md5(string_agg(t, \'\' ORDER BY id)) FROM items'),
	sql('SELECT count(*), md5(string_agg(t, \'\' ORDER BY id)) FROM ref'), 'CSV');
sql("TRUNCATE items; COPY items FROM '$dir/rows.text' WHERE id <= 100");
is(sql('SELECT count(*), sum(id) FROM items'), '100|5050', 'COPY ... WHERE');
sql('TRUNCATE items; INSERT INTO items (id, val, t, v, h, s, d) SELECT id, val, t, v, h, s, d FROM ref');
is(digest('items'), $whole, 'INSERT ... SELECT');
is(sql("TRUNCATE items; COPY items FROM '$dir/rows.text' WHERE false;
	SELECT count(*) FROM items"), '0', 'COPY of no row');

# The order of rows must not matter: one leaf at a time, then in turns.
sql(q{TRUNCATE items; INSERT INTO items (id, val, t, v, h, s, d)
	SELECT id, val, t, v, h, s, d FROM ref ORDER BY hashint4extended(id, 0)});
is(digest('items'), $whole, 'rows in another order');

# A row larger than a burst.
sql(q{INSERT INTO items (id, t) SELECT i, repeat(md5(i::text), 100000)
	FROM generate_series(30001, 30003) i});
is(sql('SELECT sum(length(t)) FROM items WHERE id > 30000'), 3 * 3200000,
	'rows of three megabytes');
sql('DELETE FROM items WHERE id > 30000');

# Types that do not travel in binary take the whole row to the text format.
foreach my $server ($cluster->servers)
{
	$server->safe_psql('postgres', q{CREATE TYPE mood AS ENUM ('sad', E'tab\t');
		CREATE TYPE pair AS (a int, b text)});
}
my $odd = q{id int, e mood, ea mood[], p pair, rc regclass, iv interval, f float8};
sql(qq{
	CREATE TABLE odd ($odd) PARTITION BY HASH (id);
	CREATE TABLE odd_ref ($odd);
	SELECT vecdist.create_distributed_table('odd', partitions => 2);
	INSERT INTO odd_ref
	SELECT i, E'tab\\t', ARRAY['sad', NULL, E'tab\\t']::mood[],
		ROW(i, E'\\\\x\\n\\r\\t\\b\\v' || i)::pair, 'pg_class', i * interval '-1 month 3 hours',
		1.0 / i
	FROM generate_series(1, 1000) i;
	INSERT INTO odd_ref (id) VALUES (0), (NULL);
	SET DateStyle = 'SQL, DMY';
	SET IntervalStyle = sql_standard;
	SET extra_float_digits = -3;
	INSERT INTO odd SELECT * FROM odd_ref;});
is(digest('odd'), digest('odd_ref'), 'types without portable binary form');

# ----------------------------------------------------------------------
# Failures
# ----------------------------------------------------------------------

fails("COPY items FROM PROGRAM 'cat $dir/rows.text; echo nonsense'",
	'22P02', 'an error in the last line');
fails("COPY items (id) FROM PROGRAM 'seq 15000 20500'", '23514',
	'a worker refuses a row in the middle');
fails('INSERT INTO items (id) SELECT generate_series(1, 30000)', '23514',
	'the same with INSERT ... SELECT');
fails('INSERT INTO items (id, val) SELECT i, 1 / (25000 - i) FROM generate_series(20010, 30000) i',
	'22012', 'an error in the source');
fails("BEGIN; COPY items (id) FROM PROGRAM 'seq 40001 50000'; ROLLBACK", '',
	'ROLLBACK after COPY');
fails("BEGIN; SAVEPOINT a; COPY items (id) FROM PROGRAM 'seq 40001 50000';
	ROLLBACK TO a; COMMIT", '', 'ROLLBACK TO');
fails("BEGIN; COPY items (id) FROM PROGRAM 'seq 40001 50000'; SAVEPOINT a;
	COPY items (id) FROM PROGRAM 'seq 15000 20500'; ROLLBACK TO a; ROLLBACK", '23514',
	'an error below a savepoint');
is(run("BEGIN; COPY items (id) FROM PROGRAM 'seq 40001 41000'; SAVEPOINT a;
	COPY items (id) FROM PROGRAM 'seq 15000 20500'; ROLLBACK TO a;
	COPY items (id) FROM PROGRAM 'seq 41001 42000'; COMMIT"), '23514',
	'COPY before and after a failed one');
is(sql('SELECT count(*), sum(id) FROM items WHERE id > 40000'),
	'2000|82001000', 'both have arrived');
sql('DELETE FROM items WHERE id > 40000');

fails("SET statement_timeout = '300ms';
	COPY items (id) FROM PROGRAM 'seq 40001 60000; sleep 10'", '57014', 'a timeout');

# A worker that dies while rows are on the way.
my $w1 = $cluster->worker('w1');
my $loader =
  $coordinator->background_psql('postgres', on_error_stop => 0);
$loader->query_safe("SET application_name = 'loader'");
$loader->query_until(
	qr/started/, qq{
	\\set VERBOSITY sqlstate
	\\echo started
	COPY items (id, t) FROM PROGRAM '(seq 40001 90000; while [ ! -e $dir/go ]; do sleep 0.1; done; seq 90001 190000) | sed "s/\$/\\t\$(printf %0200d 0)/"';
	});
$w1->poll_query_until('postgres',
	q{SELECT count(*) > 0 FROM pg_stat_activity
		WHERE query LIKE '%COPY public.items%' AND pid <> pg_backend_pid()})
  or die 'no COPY arrived at the worker';
kill_server($w1);
$w1->start;
append_to_file("$dir/go", '');
$loader->query('SELECT 1');
like($loader->{stderr}, qr/ERROR:\s+08006/, 'a worker was killed during COPY');
$loader->quit;
is(digest('items'), $whole, '... and nothing is left of it');
is(sql('SELECT count(*) FROM pg_prepared_xacts') . $w1->safe_psql('postgres',
		'SELECT count(*) FROM pg_prepared_xacts'), '00', 'nothing is left prepared');

# A frozen worker takes nothing; the statement can be canceled all the same.
freeze($w1);
is(run("SET statement_timeout = '1s';
	COPY items (id, t) FROM PROGRAM 'seq 40001 90000 | sed \"s/\$/\\t\$(printf %0200d 0)/\"'"),
	'57014', 'COPY is canceled while a worker is frozen');
is(run("SET statement_timeout = '1s'; SELECT count(*) FROM items"),
	'57014', 'so is a query');
thaw($w1);
is(digest('items'), $whole, 'and nothing is left of it');

# ----------------------------------------------------------------------
# Memory
# ----------------------------------------------------------------------

# 100,000 rows of a statement that reads what it writes wait in a file, not in
# memory, and are not seen before its end.
sql(q{
	CREATE TABLE grows (id int, filler text) PARTITION BY HASH (id);
	SELECT vecdist.create_distributed_table('grows', partitions => 4);
	INSERT INTO grows SELECT i, repeat('x', 200) FROM generate_series(1, 25000) i;
	INSERT INTO grows SELECT id + 25000, filler FROM grows;
	INSERT INTO grows SELECT id + 50000, filler FROM grows;});
is(sql('SELECT count(*), sum(id) FROM grows'), '100000|5000050000',
	'a table doubles itself');
cmp_ok(sql(q{
	BEGIN;
	COPY grows FROM PROGRAM 'seq 200001 300000 | sed "s/$/\t$(printf %0500d 0)/"';
	SELECT max(total_bytes) / 1024 / 1024 FROM pg_backend_memory_contexts;
	ROLLBACK;}), '<', 32, 'COPY of 50 megabytes leaves no large memory context');

done_testing();

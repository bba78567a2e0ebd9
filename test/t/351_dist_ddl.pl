# Statements about distributed tables reach every server or are refused.
#
# After each statement that should be carried to the workers all servers are
# compared, also after ROLLBACK, ROLLBACK TO and a crash.  Statements that are
# refused are tried one by one, on the coordinator and on a worker, and must
# leave the catalogs as they were; the way around them is tried, too.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster = make_cluster(workers => 2, conf => 'restart_after_crash = on');
my $coordinator = $cluster->coordinator;
my ($w1, $w2) = map { $cluster->worker($_) } qw(w1 w2);
my @servers = ($coordinator, $w1, $w2);

$coordinator->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE keeper;
SELECT vecdist.run_on_workers('CREATE ROLE app LOGIN; CREATE ROLE keeper');
CREATE SCHEMA s;
CREATE TABLE s.items (id bigint, name text, v vector(3)) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table('s.items', partitions => 4);
CREATE TABLE plain (id int);
SQL

# What the servers should agree on, and what they hold.
my $state = <<'SQL';
SELECT c.oid::regclass::text, CASE WHEN c.relkind IN ('f', 'r') THEN 'leaf' ELSE c.relkind::text END,
	c.relowner::regrole, CASE WHEN c.relkind = 'p' THEN coalesce(c.relacl, acldefault('r', c.relowner))::text END,
	(SELECT string_agg(attname::text, ',' ORDER BY attname) FROM pg_attribute
		WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 's' AND (c.relkind IN ('p', 'I', 'f') OR c.relkind = 'r')
ORDER BY 1;
SELECT relation::text FROM vecdist.distributed_table ORDER BY 1
SQL

# Indexes of partitions, which live on workers only.
my $leaf_indexes = <<'SQL';
SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relkind = 'r' AND c.relispartition AND i.indisvalid
SQL

sub state_of { return $_[0]->safe_psql('postgres', $state); }
sub everything { return join "\n--\n", map { state_of($_) } @servers; }

sub same_everywhere
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(state_of($_), state_of($coordinator), "$name: " . $_->name)
	  foreach $w1, $w2;
	is( join("\n", map { $_->safe_psql('postgres',
					'SELECT count(*) FROM pg_prepared_xacts') } @servers),
		"0\n0\n0",
		"$name: no prepared transaction is left");
}

# A statement that must fail and change nothing, on a server.
sub fails_on
{
	my ($server, $sql, $sqlstate, $message, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $before = everything();
	my ($rc, undef, $stderr) =
	  $server->psql('postgres', "\\set VERBOSITY verbose\n$sql",
		on_error_stop => 1);

	$name //= $sql;
	like($stderr, qr/ERROR:  $sqlstate: .*$message/s, "$name: refused");
	is(everything(), $before, "$name: changes nothing");
	return;
}

# ----------------------------------------------------------------------
# CREATE INDEX and DROP INDEX
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres', 'CREATE INDEX ON s.items (name)');
same_everywhere('CREATE INDEX without a name');
is($coordinator->safe_psql('postgres',
		q{SELECT to_regclass('s.items_name_idx') IS NOT NULL}), 't', 'its name');
is($_->safe_psql('postgres', $leaf_indexes), 2,
	'each partition on ' . $_->name . ' has it') foreach $w1, $w2;

$coordinator->safe_psql('postgres',
	'SET search_path = s, public; CREATE INDEX "By id" ON items (id) INCLUDE (name) WITH (fillfactor = 70) WHERE id > 0');
same_everywhere('CREATE INDEX found through the search_path');
is( $w2->safe_psql('postgres', q{SELECT pg_get_indexdef('s."By id"'::regclass)}),
	$coordinator->safe_psql('postgres', q{SELECT pg_get_indexdef('s."By id"'::regclass)}),
	'the index has the same definition');

my $before = everything();
$coordinator->safe_psql('postgres', 'CREATE INDEX IF NOT EXISTS "By id" ON s.items (id)');
is(everything(), $before, 'IF NOT EXISTS does nothing when it does');
$coordinator->safe_psql('postgres', 'CREATE INDEX IF NOT EXISTS new_one ON s.items (id)');
same_everywhere('IF NOT EXISTS creates it when it does not');

$before = everything();
$coordinator->safe_psql('postgres', 'BEGIN; CREATE INDEX undone ON s.items (id); DROP INDEX s.new_one; ROLLBACK');
is(everything(), $before, 'ROLLBACK undoes CREATE INDEX and DROP INDEX everywhere');
$coordinator->safe_psql('postgres', <<'SQL');
BEGIN;
CREATE INDEX kept ON s.items (id);
SAVEPOINT a;
CREATE INDEX undone ON s.items (id);
DROP INDEX s.kept;
ROLLBACK TO a;
COMMIT;
SQL
same_everywhere('ROLLBACK TO');
is( $w1->safe_psql('postgres',
		q{SELECT to_regclass('s.kept') IS NOT NULL, to_regclass('s.undone') IS NULL}),
	't|t', 'ROLLBACK TO undoes what came after the savepoint');
$coordinator->safe_psql('postgres',
	q{DO $$ BEGIN EXECUTE 'CREATE INDEX from_do ON s.items (id)'; END $$});
same_everywhere('CREATE INDEX in a DO block');

$coordinator->safe_psql('postgres', 'CREATE INDEX plain_idx ON plain (id)');
$coordinator->safe_psql('postgres',
	'DROP INDEX s.from_do, plain_idx, s.kept');
same_everywhere('DROP INDEX of several');
is( $w1->safe_psql('postgres', q{SELECT to_regclass('s.from_do') IS NULL}), 't',
	'it is gone');
$coordinator->safe_psql('postgres', 'DROP INDEX IF EXISTS s.from_do, s.new_one CASCADE');
same_everywhere('DROP INDEX IF EXISTS ... CASCADE');

fails_on($coordinator, 'CREATE UNIQUE INDEX ON s.items (id)', '0A000', 'unique index');
fails_on($coordinator, 'CREATE INDEX ON ONLY s.items (id)', '0A000', 'without its partitions.*ONLY');
fails_on($coordinator, 'CREATE INDEX CONCURRENTLY ON s.items (id)', '0A000', 'concurrently');
fails_on($coordinator, 'CREATE INDEX ON s.items (nothing)', '42703', 'nothing');
$w2->safe_psql('postgres', 'CREATE TABLE s.taken ()');
my ($rc, undef, $stderr) = $coordinator->psql('postgres',
	"\\set VERBOSITY verbose\nCREATE INDEX taken ON s.items (id)");
like($stderr, qr/42P07: .*worker "w2"/s, 'an index name taken on a worker');
$w2->safe_psql('postgres', 'DROP TABLE s.taken');
same_everywhere('after the failure on one worker');
fails_on($w1, 'CREATE INDEX ON s.items (id)', '55000', 'on a worker.*coordinator');
fails_on($w1, 'DROP INDEX s.items_name_idx', '55000', 'on a worker.*coordinator');

# A unique index of a partition belongs to its worker.
$w1->safe_psql('postgres', 'CREATE UNIQUE INDEX one ON s.items_0 (id); REINDEX INDEX s.one; DROP INDEX s.one');

# ----------------------------------------------------------------------
# TRUNCATE
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres',
	q{INSERT INTO s.items SELECT i, 'x', '[1,2,3]' FROM generate_series(1, 100) i});
is($_->safe_psql('postgres', 'SELECT count(*) FROM s.items'), 100,
	'rows seen from ' . $_->name) foreach @servers;
$coordinator->safe_psql('postgres', 'BEGIN; TRUNCATE s.items; ROLLBACK');
is($w1->safe_psql('postgres', 'SELECT count(*) FROM s.items'), 100, 'ROLLBACK of TRUNCATE');
$coordinator->safe_psql('postgres', 'TRUNCATE s.items');
is($_->safe_psql('postgres', 'SELECT count(*) FROM s.items'), 0,
	'TRUNCATE seen from ' . $_->name) foreach @servers;

# ----------------------------------------------------------------------
# VACUUM, ANALYZE, REINDEX
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres',
	q{INSERT INTO s.items SELECT i, 'x', '[1,2,3]' FROM generate_series(1, 1000) i});

# Of the partitions that live on a server: how many are vacuumed, how many are
# analyzed, and the files of their indexes.
my $maintained = <<'SQL';
SELECT count(*) FILTER (WHERE relallvisible > 0),
	count(*) FILTER (WHERE EXISTS (SELECT FROM pg_statistic WHERE starelid = c.oid))
FROM pg_class c WHERE relispartition AND relkind = 'r'
SQL
my $files = q{SELECT indexrelid::regclass, pg_relation_filenode(indexrelid) FROM pg_index
	WHERE indrelid IN (SELECT partition FROM vecdist.partitions WHERE bytes IS NOT NULL) ORDER BY 1};
is($_->safe_psql('postgres', $maintained), '0|0', 'nothing done yet on ' . $_->name)
  foreach $w1, $w2;
$coordinator->safe_psql('postgres', 'BEGIN; ANALYZE s.items (id); ROLLBACK');
is($_->safe_psql('postgres', $maintained), '0|0', 'ROLLBACK of ANALYZE on ' . $_->name)
  foreach $w1, $w2;
($rc, undef, $stderr) = $coordinator->psql('postgres', 'VACUUM (FREEZE) s.items, plain');
is("$rc$stderr", '0', 'VACUUM without a word');
is($_->safe_psql('postgres', $maintained), '2|0', 'VACUUM reaches ' . $_->name)
  foreach $w1, $w2;
$coordinator->safe_psql('postgres', 'ANALYZE s.items (id), plain');
is($_->safe_psql('postgres', $maintained), '2|2', 'ANALYZE reaches ' . $_->name)
  foreach $w1, $w2;
is( $coordinator->safe_psql('postgres', 'SELECT sum(rows) FROM vecdist.partitions'),
	1000, 'and counts rows here');
$coordinator->safe_psql('postgres',
	'VACUUM (FULL, ANALYZE, VERBOSE off) s.items_0; VACUUM (PARALLEL 2, ANALYZE) s.items; SET default_transaction_isolation = serializable; VACUUM s.items');
fails_on($coordinator, 'BEGIN; VACUUM s.items', '25001', 'inside a transaction block');
$w1->safe_psql('postgres', 'VACUUM (ANALYZE) s.items');

my %old_files = map { $_->name => $_->safe_psql('postgres', $files) } $w1, $w2;
$coordinator->safe_psql('postgres', 'REINDEX (VERBOSE off) TABLE s.items');
my $unchanged = sub {
	my ($server) = @_;
	my %now = map { $_ => 1 } split /\n/, $server->safe_psql('postgres', $files);
	return scalar grep { $now{$_} } split /\n/, $old_files{ $server->name };
};
is($unchanged->($_), 0, 'REINDEX TABLE reaches ' . $_->name) foreach $w1, $w2;
%old_files = map { $_->name => $_->safe_psql('postgres', $files) } $w1, $w2;
$coordinator->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY s.items_name_idx');
is($unchanged->($_), 2, 'REINDEX INDEX CONCURRENTLY changes one index on ' . $_->name)
  foreach $w1, $w2;
$w1->safe_psql('postgres', 'REINDEX TABLE s.items');
is($unchanged->($w1), 0, 'REINDEX on a worker');
is($unchanged->($w2), 2, 'changes nothing on the other');
fails_on($coordinator, 'BEGIN; REINDEX TABLE s.items', '25001', 'inside a transaction block');
fails_on($coordinator, 'SET ROLE app; REINDEX INDEX s.items_name_idx', '42501', '');
same_everywhere('after maintenance');

# ----------------------------------------------------------------------
# GRANT and REVOKE
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres', 'GRANT SELECT, INSERT ON s.items, plain TO app; GRANT UPDATE (name) ON s.items TO PUBLIC');
same_everywhere('GRANT');
my $leaf_acl = q{SELECT relacl FROM pg_class WHERE relname = 'items_0'};
is( $w1->safe_psql('postgres', $leaf_acl),
	'{postgres=arwdDxt/postgres,app=ar/postgres}', 'GRANT reaches the partitions');
$coordinator->safe_psql('postgres', 'REVOKE INSERT ON ALL TABLES IN SCHEMA s FROM app');
same_everywhere('REVOKE');
is( $w1->safe_psql('postgres', $leaf_acl),
	'{postgres=arwdDxt/postgres,app=r/postgres}', 'REVOKE reaches the partitions');
$before = everything();
$coordinator->safe_psql('postgres', 'BEGIN; GRANT ALL ON s.items TO app; ROLLBACK');
is(everything(), $before, 'ROLLBACK undoes GRANT');
$coordinator->safe_psql('postgres', 'GRANT SELECT ON s.items TO app WITH GRANT OPTION');
fails_on($coordinator, 'SET ROLE app; GRANT SELECT ON s.items TO keeper', '(0A000|42501)', '');
fails_on($w1, 'GRANT ALL ON s.items TO app', '55000', 'on a worker');
$coordinator->safe_psql('postgres', 'DROP OWNED BY app');
same_everywhere('DROP OWNED');
is($w1->safe_psql('postgres', $leaf_acl), '{postgres=arwdDxt/postgres}',
	'DROP OWNED revokes privileges on partitions');

# ----------------------------------------------------------------------
# Refused
# ----------------------------------------------------------------------

my @refused = (
	'ALTER TABLE s.items ADD COLUMN extra int',
	'ALTER TABLE s.items DROP COLUMN name',
	'ALTER TABLE s.items ALTER name SET NOT NULL',
	'ALTER TABLE s.items OWNER TO keeper',
	'ALTER TABLE s.items RENAME TO things',
	'ALTER TABLE s.items RENAME name TO title',
	'ALTER TABLE s.items SET SCHEMA public',
	'ALTER TABLE s.items DETACH PARTITION s.items_0',
	'ALTER TABLE s.items ENABLE ROW LEVEL SECURITY',
	'ALTER TABLE s.items_0 RENAME TO first',
	'ALTER TABLE s.items_0 ADD CHECK (id > 0)',
	'ALTER TABLE IF EXISTS s.items ADD COLUMN extra int',
	'ALTER INDEX s.items_name_idx RENAME TO other',
	'ALTER INDEX s.items_name_idx SET SCHEMA public',
	'ALTER SCHEMA s RENAME TO r',
	'CREATE POLICY p ON s.items USING (true)',
	'CREATE RULE r AS ON DELETE TO s.items DO INSTEAD NOTHING',
	'CREATE TRIGGER t AFTER INSERT ON s.items EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'ALTER TABLE s.items ADD PRIMARY KEY (id)');
foreach my $sql (@refused)
{
	next if $sql =~ /SET SCHEMA/ && $sql =~ /INDEX/;
	fails_on($coordinator, $sql, '0A000',
		'not supported on distributed table "items".*run_on_workers');
	fails_on($w1, $sql, '0A000', 'Connect to the coordinator', "on a worker: $sql");
}
fails_on($coordinator, 'REASSIGN OWNED BY postgres TO keeper', '(0A000|2BP01)', 'items.*run_on_workers');
fails_on($coordinator, 'CREATE TABLE s.here PARTITION OF s.items FOR VALUES WITH (modulus 4, remainder 0)',
	'0A000', 'on the coordinator.*create_partition');
fails_on($coordinator, 'CLUSTER s.items USING items_name_idx', '0A000', 'on each worker');
$coordinator->safe_psql('postgres',
	"COMMENT ON TABLE s.items IS 'a comment is a local matter'; VACUUM plain; ANALYZE plain; ALTER TABLE plain ADD b int");

# What would take a distributed table or a part of it along
fails_on($coordinator, 'DROP FOREIGN TABLE s.items_0', '0A000', 'cannot drop partition "items_0".*drop_partition');
fails_on($w1, 'DROP TABLE s.items_0', '0A000', 'cannot drop partition "items_0"');
fails_on($w1, 'DROP TABLE s.items', '55000', 'on a worker');
fails_on($coordinator, 'DROP SCHEMA s CASCADE', '0A000', 'DROP TABLE s.items');
fails_on($coordinator, 'DROP SERVER w1 CASCADE', '0A000', 'cannot drop partition');
fails_on($coordinator, 'DROP OWNED BY postgres', '(0A000|2BP01)', '');
fails_on($coordinator, 'DROP TYPE vector CASCADE', '(0A000|2BP01)', '');
fails_on($coordinator, 'DROP EXTENSION vecdist CASCADE', '2BP01', 'distributed tables.*s.items');

# ----------------------------------------------------------------------
# The way to do it nevertheless
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres', <<'SQL');
BEGIN;
SET LOCAL vecdist.enable_ddl_propagation = off;
SELECT vecdist.run_on_workers('ALTER TABLE s.items ADD COLUMN extra int DEFAULT 7');
ALTER TABLE s.items ADD COLUMN extra int DEFAULT 7;
COMMIT;
SQL
same_everywhere('ALTER TABLE here and with run_on_workers');
like(state_of($w1), qr/extra/, 'the column is there');
fails_on($coordinator, 'ALTER TABLE s.items DROP COLUMN extra', '0A000', 'run_on_workers',
	'the setting is back');

# Row-level security and hosts, as the documents tell.
$coordinator->safe_psql('postgres', <<'SQL');
BEGIN;
SET LOCAL vecdist.enable_ddl_propagation = off;
CREATE POLICY own ON s.items USING (name = current_user);
ALTER TABLE s.items ENABLE ROW LEVEL SECURITY;
SELECT vecdist.run_on_workers($$
	CREATE POLICY own ON s.items USING (name = current_user);
	ALTER TABLE s.items ENABLE ROW LEVEL SECURITY;
	DO $do$
	DECLARE
		leaf regclass;
	BEGIN
		FOR leaf IN SELECT partition FROM vecdist.partitions WHERE relation = 's.items'::regclass AND bytes IS NOT NULL LOOP
			EXECUTE format('CREATE POLICY own ON %s USING (name = current_user)', leaf);
			EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', leaf);
		END LOOP;
	END $do$
$$);
COMMIT;
SQL
is($_->safe_psql('postgres', q{SELECT count(*) FROM pg_policy}), 3,
	'policies on ' . $_->name) foreach $w1, $w2;
my $more_hosts = $cluster->hosts('w1') . ',127.0.0.1:1';
$coordinator->safe_psql('postgres', <<"SQL");
BEGIN;
ALTER SERVER w1 OPTIONS (SET hosts '$more_hosts');
SELECT vecdist.run_on_workers(\$\$ALTER SERVER w1 OPTIONS (SET hosts '$more_hosts')\$\$);
COMMIT;
SQL
is( $_->safe_psql('postgres', q{SELECT hosts FROM vecdist.workers WHERE name = 'w1'}),
	$more_hosts, 'hosts changed on ' . $_->name) foreach @servers;

# ----------------------------------------------------------------------
# DROP TABLE
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE s.second (id int) PARTITION BY HASH (id);
CREATE TABLE s.third (id int) PARTITION BY RANGE (id);
SELECT vecdist.create_distributed_table('s.second', 2);
SELECT vecdist.create_distributed_table('s.third');
CREATE VIEW second_view AS SELECT * FROM s.second;
SQL
fails_on($coordinator, 'DROP TABLE s.second', '2BP01', 'second_view');
$before = everything();
$coordinator->safe_psql('postgres', 'BEGIN; DROP TABLE s.second CASCADE; ROLLBACK');
is(everything(), $before, 'ROLLBACK undoes DROP TABLE');
$coordinator->safe_psql('postgres',
	'DROP TABLE IF EXISTS s.nothing, s.second, plain, s.third CASCADE');
same_everywhere('DROP TABLE of several');
unlike(everything(), qr/second|third/, 'they are gone');

# An ordinary owner drops a table with credentials of its own.
$coordinator->safe_psql('postgres', <<'SQL');
GRANT ALL ON SCHEMA s TO keeper;
SELECT vecdist.run_on_workers('GRANT ALL ON SCHEMA s TO keeper; ALTER ROLE keeper LOGIN PASSWORD ''k''');
CREATE TABLE s.kept (id int) PARTITION BY HASH (id);
ALTER TABLE s.kept OWNER TO keeper;
SELECT vecdist.create_distributed_table('s.kept', 2);
GRANT USAGE ON SCHEMA s TO app;
SQL
fails_on($coordinator, 'SET ROLE keeper; CREATE INDEX ON s.kept (id)', '42704', 'user mapping',
	'an owner without user mapping');
fails_on($coordinator, 'SET ROLE app; DROP TABLE s.kept', '42501', 'must be owner',
	'DROP TABLE by another role');
$coordinator->safe_psql('postgres', join '', map {
	"CREATE USER MAPPING FOR keeper SERVER $_ OPTIONS (user 'keeper', password_required 'false');"
} qw(w1 w2));
$coordinator->safe_psql('postgres',
	'SET ROLE keeper; CREATE INDEX ON s.kept (id); DROP TABLE s.kept');
same_everywhere('DROP TABLE by an ordinary owner');

# Nothing of this concerns partitioned tables that are not distributed.
$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE s.local (id int) PARTITION BY HASH (id);
CREATE TABLE s.local_0 PARTITION OF s.local FOR VALUES WITH (modulus 1, remainder 0);
CREATE UNIQUE INDEX ON s.local (id);
ALTER TABLE s.local ADD COLUMN b int;
DROP TABLE s.local_0;
DROP TABLE s.local;
SQL

# ----------------------------------------------------------------------
# Partitions that are partitioned again, made by plain SQL
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE s.tree (a int, b int) PARTITION BY LIST (a);
SELECT vecdist.create_distributed_table('s.tree');
SQL
$_->safe_psql('postgres',
	'CREATE TABLE s.tree_1 PARTITION OF s.tree FOR VALUES IN (1) PARTITION BY RANGE (b)')
  foreach @servers;
$w2->safe_psql('postgres',
	'CREATE TABLE s.tree_1_1 PARTITION OF s.tree_1 FOR VALUES FROM (0) TO (10)');
$_->safe_psql('postgres',
	'CREATE FOREIGN TABLE s.tree_1_1 PARTITION OF s.tree_1 FOR VALUES FROM (0) TO (10) SERVER w2')
  foreach $coordinator, $w1;
$coordinator->safe_psql('postgres',
	'CREATE INDEX ON s.tree (a); CREATE INDEX ON s.tree_1 (b)');
same_everywhere('indexes on two levels');
is( $w2->safe_psql('postgres',
		q{SELECT count(*) FROM pg_index WHERE indrelid = 's.tree_1_1'::regclass}),
	2, 'the partition has both');
fails_on($coordinator, 'DROP TABLE s.tree_1', '0A000', 'DROP TABLE s.tree');
$coordinator->safe_psql('postgres', 'DROP INDEX s.tree_1_b_idx');
same_everywhere('DROP INDEX on the second level');

# ----------------------------------------------------------------------
# One transaction for everything
# ----------------------------------------------------------------------

is( $coordinator->safe_psql('postgres', <<'SQL'), "100\n50\n50", 'definition, rows and search in one transaction');
BEGIN;
CREATE TABLE s.one (id int, v vector(2)) PARTITION BY HASH (id);
DO $$ BEGIN PERFORM vecdist.create_distributed_table('s.one', 4); END $$;
INSERT INTO s.one SELECT i, ARRAY[i, i]::real[]::vector FROM generate_series(1, 100) i;
CREATE INDEX ON s.one (id);
SELECT count(*) FROM s.one;
DELETE FROM s.one WHERE id > 50;
SELECT count(*) FROM s.one;
COMMIT;
SELECT count(*) FROM s.one;
SQL
same_everywhere('definition and rows in one transaction');
$before = everything();
$coordinator->psql('postgres', <<'SQL');
BEGIN;
INSERT INTO s.one VALUES (1000, '[1,1]');
DROP TABLE s.one;
CREATE TABLE s.one (id int) PARTITION BY HASH (id);
DO $$ BEGIN PERFORM vecdist.create_distributed_table('s.one', 2); END $$;
ROLLBACK;
SQL
is(everything(), $before, 'ROLLBACK undoes dropping and creating again');
is($w2->safe_psql('postgres', 'SELECT count(*) FROM s.one'), 50, 'rows are as before');

# ----------------------------------------------------------------------
# Sessions at the same time
# ----------------------------------------------------------------------

# A session in the middle of creating a table keeps workers from coming and
# going; a session that changes a table waits for one that writes into it.
my $session = $coordinator->background_psql('postgres');
sub waits_for_lock
{
	my ($application) = @_;
	return $coordinator->poll_query_until('postgres',
		qq{SELECT count(*) = 1 FROM pg_stat_activity
			WHERE application_name = '$application' AND wait_event_type = 'Lock'});
}
$session->query_safe(q{BEGIN; CREATE TABLE s.slow (id int) PARTITION BY HASH (id)});
$session->query_safe(q{SELECT vecdist.create_distributed_table('s.slow', 2)});
my $other = $coordinator->background_psql('postgres', on_error_stop => 0);
$other->query_safe(q{SET application_name = 'remover'});
$other->query_until(qr/start/, "\\echo start\nSELECT vecdist.remove_worker('w2');\n");
ok(waits_for_lock('remover'), 'remove_worker waits for create_distributed_table');
$session->query_safe('COMMIT');
$other->query('SELECT 1');
like($other->{stderr}, qr/worker "w2" holds partitions/, 'and sees its partitions');
$_->quit foreach $session, $other;
same_everywhere('a table created while a worker was to be removed');

# Settings for building indexes go along, and only for the transaction.  The
# index remembers the setting: an index scan returns what was computed then.
my $reads_memory = q{CREATE FUNCTION public.memory(int) RETURNS text LANGUAGE plpgsql IMMUTABLE
	AS 'BEGIN RETURN current_setting(''maintenance_work_mem''); END'};
$coordinator->safe_psql('postgres',
	"$reads_memory; SELECT vecdist.run_on_workers(\$\$$reads_memory\$\$)");
is( $coordinator->safe_psql('postgres', <<'SQL'), "w1|t\nw2|t\nw1|t\nw2|t", 'maintenance_work_mem goes along');
SET maintenance_work_mem = '7MB';
CREATE INDEX memory ON s.one (memory(id));
RESET maintenance_work_mem;
SELECT * FROM vecdist.run_on_workers($$SET LOCAL enable_seqscan = off; SELECT count(*) > 0 FROM s.one WHERE memory(id) = '7MB'$$);
SELECT * FROM vecdist.run_on_workers($$SELECT current_setting('maintenance_work_mem') <> '7MB'$$);
SQL
$coordinator->safe_psql('postgres', 'DROP INDEX s.memory');

# ----------------------------------------------------------------------
# Cancel
# ----------------------------------------------------------------------

# An index whose expression takes seconds: the statement ends in time, and its
# work on the workers, too.
$coordinator->safe_psql('postgres', <<'SQL');
CREATE FUNCTION public.slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
	AS 'BEGIN PERFORM pg_sleep(60); RETURN $1; END';
SELECT vecdist.run_on_workers($$CREATE FUNCTION public.slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
	AS 'BEGIN PERFORM pg_sleep(60); RETURN $1; END'$$);
SQL
$before = everything();
($rc, undef, $stderr) = $coordinator->psql('postgres',
	"SET statement_timeout = '500ms'; CREATE INDEX slow_index ON s.one (slow(id))");
like($stderr, qr/canceling statement due to statement timeout/, 'CREATE INDEX is canceled');
ok( $_->poll_query_until('postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE query ~ 'CREATE INDEX' AND state = 'active' AND pid <> pg_backend_pid()}),
	'also on ' . $_->name) foreach $w1, $w2;
is(everything(), $before, 'and leaves nothing');

# ----------------------------------------------------------------------
# A worker that does not answer
# ----------------------------------------------------------------------

$w2->stop('immediate');
foreach my $sql ('CREATE INDEX ON s.one (id)', 'DROP TABLE s.one', 'DROP INDEX s.one_id_idx',
	'GRANT ALL ON s.one TO app', q{SELECT vecdist.run_on_workers('CREATE TABLE s.x ()')},
	q{SELECT vecdist.create_partition('s.tree', 'tree_2', 'FOR VALUES IN (2)', 'w1')})
{
	my $here = state_of($coordinator) . state_of($w1);
	my (undef, undef, $errors) =
	  $coordinator->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	like($errors, qr/ERROR:  08(001|006): .*w2/s, "without w2: $sql");
	is(state_of($coordinator) . state_of($w1), $here, 'and nothing is changed');
}
$w2->start;

# ----------------------------------------------------------------------
# Crashes
# ----------------------------------------------------------------------

# Kill the backend at a debug point of create_distributed_table; afterwards
# finish what it left.
sub crash_at
{
	my ($point) = @_;
	my $log_end = -s $coordinator->logfile;

	$coordinator->psql('postgres', <<"SQL");
SET vecdist.debug_points = '$point=crash';
SELECT vecdist.create_distributed_table('s.crashed', 4);
SQL
	ok($coordinator->wait_for_log('terminated by signal 9', $log_end),
		"the backend died at $point");
	$coordinator->wait_for_log('ready to accept connections', $log_end);
	$_->poll_query_until('postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'vecdist%'})
	  foreach $w1, $w2;
	$coordinator->safe_psql('postgres',
		'SELECT vecdist.recover_prepared_transactions()');
	return;
}

$coordinator->safe_psql('postgres',
	'CREATE TABLE s.crashed (id int) PARTITION BY HASH (id)');
$before = everything();
foreach my $point (
	qw(dist-table-created-here dist-table-created-on-workers
	dist-before-prepare dist-after-prepare dist-after-record))
{
	crash_at($point);
	is(everything(), $before, "a crash at $point leaves nothing");
}
foreach my $point (qw(dist-after-local-commit dist-between-commits))
{
	crash_at($point);
	same_everywhere("after a crash at $point");
	is($coordinator->safe_psql('postgres', q{SELECT count(*) FROM s.crashed}),
		0, "a crash at $point leaves the whole table");
	$coordinator->safe_psql('postgres',
		'DROP TABLE s.crashed; CREATE TABLE s.crashed (id int) PARTITION BY HASH (id)');
}

done_testing();

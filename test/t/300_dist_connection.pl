# Connections to workers: who may use them, how they come and go, what becomes
# of a transaction when one is lost, and that no worker can hold a session.
#
# One coordinator and two workers; the table t has a partition on each.  A
# single session of the coordinator lives through restarts, kills and freezes
# of the workers.  Which error ends a wait shows which limit ended it; the
# other limit is set so high that the test would time out.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster     = make_cluster(workers => 2);
my $coordinator = $cluster->coordinator;
my ($w1, $w2) = map { $cluster->worker($_) } qw(w1 w2);

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE t (w int, v int) PARTITION BY LIST (w);
SELECT vecdist.create_distributed_table('t');
SELECT vecdist.create_partition('t', 't_1', 'FOR VALUES IN (1)', 'w1');
SELECT vecdist.create_partition('t', 't_2', 'FOR VALUES IN (2)', 'w2');
SQL
$w1->safe_psql('postgres', 'CREATE UNIQUE INDEX ON t_1 (v)');
$w2->safe_psql('postgres', 'CREATE UNIQUE INDEX ON t_2 (v)');

# ----------------------------------------------------------------------
# One session of the coordinator, which stays
# ----------------------------------------------------------------------

my $session = $coordinator->background_psql('postgres', on_error_stop => 0);
$session->query_safe('\set VERBOSITY verbose');

# Run statements; returns their output and their errors with SQLSTATE.
sub run
{
	return run_in($session, @_);
}

sub succeeds
{
	my ($sql, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($output, $error) = run($sql);

	is($error, '', "$name: no error");
	return is($output, $expected, $name);
}

sub fails
{
	my ($sql, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (undef, $error) = run($sql);

	return like($error, $pattern, $name);
}

# The rows of t, asked from the workers: "w1 values|w2 values".
sub stored
{
	return join '|', map {
		my ($worker, $table) = @$_;
		$worker->safe_psql('postgres',
			"SELECT string_agg(v::text, ' ' ORDER BY v) FROM $table")
	} ([ $w1, 't_1' ], [ $w2, 't_2' ]);
}

sub stores
{
	my ($expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(stored(), $expected, $name);
}

# Start afresh; also a proof that the session and both workers work.
sub reset_table
{
	my ($output, $error) = run(
		'ROLLBACK; RESET ALL; DELETE FROM t; INSERT INTO t VALUES (1, 1), (2, 2)');
	unlike($error, qr/ERROR/, 'the session goes on');
	return;
}

# ----------------------------------------------------------------------
# Lost connections
# ----------------------------------------------------------------------

run('INSERT INTO t VALUES (1, 1), (2, 2)');
succeeds('SELECT count(*) FROM t', '2', 'the session has connections');

$w2->restart;
succeeds('SELECT count(*) FROM t', '2', 'a restart between reads is not seen');
$w2->restart;
succeeds('INSERT INTO t VALUES (2, 3)', '', 'nor one before a write');
kill_server($w2);
$w2->start;
succeeds('SELECT count(*) FROM t', '3', 'nor a crash');
is( $w2->safe_psql('postgres', <<'SQL'), 't', 'the worker ends the session');
SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
    WHERE application_name LIKE 'vecdist from=%'
SQL
succeeds('SELECT count(*) FROM t', '3', 'nor a session that its worker ended');

reset_table();
run('BEGIN; INSERT INTO t VALUES (1, 5), (2, 5)');
$w2->restart;
fails('SELECT count(*) FROM t',
	qr/ERROR:  08006: connection to worker "w2" was lost.*HINT:  Roll the transaction back/s,
	'a restart inside a transaction is an error');
run('COMMIT');
stores('1|2', 'and the transaction leaves nothing');

reset_table();
run('BEGIN; INSERT INTO t VALUES (1, 5), (2, 5)');
kill_server($w2);
$w2->start;
fails('COMMIT', qr/ERROR:  08006: connection to worker "w2" was lost/,
	'a crash before COMMIT is an error');
stores('1|2', 'and the transaction leaves nothing');

$w2->stop;
fails('SELECT count(*) FROM t',
	qr/ERROR:  08001: could not connect to worker "w2".*DETAIL:  127\.0\.0\.1:\d+: .*HINT:  Check that a server of the group is running as primary/s,
	'a worker that is down is an error with its name and address');
succeeds('SELECT v FROM t WHERE w = 1', '1',
	'other partitions can be used meanwhile');

# The remote transaction began in the block: what is lost is undone anyway.
succeeds('BEGIN; INSERT INTO t VALUES (1, 7)', '', 'begin with one worker down');
succeeds(<<'SQL', '', 'an exception block catches a lost worker');
DO $$ BEGIN
	INSERT INTO t VALUES (2, 7);
EXCEPTION WHEN connection_exception THEN NULL;
END $$
SQL
succeeds('COMMIT', '', 'and the transaction can commit');
$w2->start;
stores('1 7|2', 'without the part of the worker');

# It began before the block: what is lost was to be kept.
reset_table();
run('BEGIN; INSERT INTO t VALUES (1, 8), (2, 8)');
$w2->restart;
run(<<'SQL');
DO $$ BEGIN
	INSERT INTO t VALUES (2, 9);
EXCEPTION WHEN connection_exception THEN NULL;
END $$
SQL
fails('COMMIT', qr/ERROR:  08006: connection to worker "w2" was lost/,
	'an exception block cannot bring back lost work');
stores('1|2', 'so nothing is kept');

# ----------------------------------------------------------------------
# Savepoints
# ----------------------------------------------------------------------

reset_table();
run('BEGIN; INSERT INTO t VALUES (1, 10); SAVEPOINT a;'
	  . 'INSERT INTO t VALUES (1, 11), (2, 11); SAVEPOINT b;'
	  . 'INSERT INTO t VALUES (2, 12); RELEASE b;');
succeeds('SELECT count(*) FROM t', '6', 'inside the savepoints');
succeeds('ROLLBACK TO a; SELECT count(*) FROM t', '3', 'rolled back to one');
run('INSERT INTO t VALUES (2, 13); SAVEPOINT c; INSERT INTO t VALUES (1, 14);'
	  . 'RELEASE c; SAVEPOINT d; INSERT INTO t VALUES (1, 15); ROLLBACK TO d; COMMIT');
stores('1 10 14|2 13', 'savepoints map to remote savepoints');

# Errors on one worker while the other has done its part; deep nesting.
reset_table();
succeeds(<<'SQL', '', 'exception blocks in a loop');
DO $$ BEGIN
	FOR i IN 20..29 LOOP
		BEGIN
			INSERT INTO t VALUES (1, i);
			INSERT INTO t VALUES (2, CASE WHEN i % 2 = 0 THEN 2 ELSE i END);
		EXCEPTION WHEN unique_violation THEN
			BEGIN
				INSERT INTO t VALUES (1, i + 100);
				BEGIN
					INSERT INTO t VALUES (1, 1);
				EXCEPTION WHEN unique_violation THEN
					INSERT INTO t VALUES (2, i + 200);
				END;
			END;
		END;
	END LOOP;
END $$
SQL
stores('1 21 23 25 27 29 120 122 124 126 128|2 21 23 25 27 29 220 222 224 226 228',
	'keep exactly what they should');

# A cursor of the outer level survives the abort of an inner one.
reset_table();
run('INSERT INTO t SELECT 1, g FROM generate_series(100, 2000) g');
run('BEGIN; DECLARE c CURSOR FOR SELECT v FROM t ORDER BY w, v; FETCH 3 FROM c;'
	  . 'SAVEPOINT a; INSERT INTO t VALUES (2, 50); ROLLBACK TO a');
succeeds('MOVE 1800 FROM c; FETCH 1 FROM c', '1902', 'a cursor goes on after ROLLBACK TO');
run('COMMIT');

# ----------------------------------------------------------------------
# Isolation
# ----------------------------------------------------------------------

reset_table();
run('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t');
$w1->safe_psql('postgres', 'INSERT INTO t_1 VALUES (1, 30)');
succeeds('SELECT count(*) FROM t', '2', 'repeatable read keeps its snapshots');
run('COMMIT');
run('BEGIN; SELECT count(*) FROM t');
$w1->safe_psql('postgres', 'INSERT INTO t_1 VALUES (1, 31)');
succeeds('SELECT count(*) FROM t', '4', 'read committed takes new ones');
run('COMMIT');

# ----------------------------------------------------------------------
# Frozen workers
# ----------------------------------------------------------------------

# With a connection, without one, in a transaction, and below a savepoint: a
# canceled statement ends, and so does everything after it.
reset_table();
freeze($w2);
run("SET vecdist.node_timeout = '1000s'; SET statement_timeout = '300ms'");
fails('SELECT count(*) FROM t', qr/ERROR:  57014/, 'frozen, canceled');
fails('SELECT count(*) FROM t', qr/ERROR:  57014/, 'frozen, canceled in connecting');
succeeds('SELECT v FROM t WHERE w = 1', '1', 'the other worker answers');
run('RESET statement_timeout');
run("SET vecdist.node_timeout = '300ms'");
fails('SELECT count(*) FROM t', qr/ERROR:  08001: could not connect to worker "w2"/,
	'frozen, node_timeout in connecting');
thaw($w2);

reset_table();
run('BEGIN; INSERT INTO t VALUES (1, 40), (2, 40)');
freeze($w2);
run("SET statement_timeout = '300ms'");
fails('UPDATE t SET v = v + 1', qr/ERROR:  57014/, 'frozen in a transaction, canceled');
succeeds('ROLLBACK; SELECT v FROM t WHERE w = 1', '1', 'frozen, ROLLBACK');
thaw($w2);
stores('1|2', 'the transaction leaves nothing');

reset_table();
run('BEGIN; INSERT INTO t VALUES (1, 41); SAVEPOINT a; INSERT INTO t VALUES (2, 41)');
freeze($w2);
run("SET statement_timeout = '300ms'");
fails('UPDATE t SET v = v + 1', qr/ERROR:  57014/, 'frozen below a savepoint, canceled');
succeeds('ROLLBACK TO a; INSERT INTO t VALUES (1, 42); COMMIT', '',
	'the rest of the transaction can commit');
thaw($w2);
stores('1 41 42|2', 'without the part of the frozen worker');

reset_table();
run("SET vecdist.node_timeout = '300ms'");
run('BEGIN; INSERT INTO t VALUES (2, 43)');
freeze($w2);
fails('COMMIT',
	qr/WARNING:  08007: outcome of the transaction on worker "w2" is unknown.*ERROR:  08006/s,
	'frozen at the COMMIT of a single participant');
thaw($w2);

# A session that waits for a frozen worker can be ended.
reset_table();
my $other = $coordinator->background_psql('postgres', on_error_stop => 0);
my $pid   = $other->query_safe('SELECT pg_backend_pid()');
$other->query_safe("SET vecdist.node_timeout = '1000s'; SELECT count(*) FROM t");
freeze($w2);
$other->query_until(qr/asking/, "\\echo asking\nSELECT count(*) FROM t;\n");
$coordinator->poll_query_until('postgres',
	"SELECT wait_event = 'Extension' FROM pg_stat_activity WHERE pid = $pid")
  or die 'the session does not wait';
$coordinator->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok( $coordinator->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"),
	'a session that waits for a frozen worker can be terminated');
thaw($w2);
eval { $other->quit };

# The statement ends on the worker too.
run("SET statement_timeout = '300ms'");
fails(q{SELECT * FROM vecdist.run_on_workers('SELECT pg_sleep(1000)')},
	qr/ERROR:  57014/, 'a long remote statement, canceled');
ok( $w1->poll_query_until('postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity
		  WHERE query LIKE '%pg_sleep(1000)%' AND pid <> pg_backend_pid()}),
	'it ends on the worker');

# ----------------------------------------------------------------------
# Statements of others
# ----------------------------------------------------------------------

# What they do to a session on a worker ends with the transaction.
reset_table();
succeeds(
	q{SELECT DISTINCT result LIKE '%123kB%' FROM vecdist.run_on_workers($$SELECT set_config('work_mem', '123kB', false)$$)},
	't', 'run_on_workers can change settings');
my ($shown) = run(
	q{SELECT DISTINCT result LIKE '%123kB%' FROM vecdist.run_on_workers('SHOW work_mem')});
is($shown, 'f', 'but only for its transaction');

my (undef, $warning) =
  run(q{SELECT 1 FROM vecdist.run_on_workers($$DO 'BEGIN RAISE WARNING ''watch''; END'$$)});
like($warning, qr/WARNING:  01000: worker "w1": watch/,
	'warnings of workers are passed on');

# More statements than a connection keeps prepared, with errors among them,
# inside and outside a remote transaction.
reset_table();
foreach my $begin ('', 'BEGIN ISOLATION LEVEL REPEATABLE READ;')
{
	run($begin);
	succeeds(<<'SQL', '', "many statements $begin");
DO $$
DECLARE
	n int;
	expected int;
BEGIN
	FOR i IN 1..600 LOOP
		expected := CASE WHEN i % 7 = 0 THEN NULL ELSE 2 END;
		BEGIN
			EXECUTE format('SELECT count(*) FROM t WHERE v + %s > 0 AND 1 / (v * 0 + %s) >= 0',
				i, CASE WHEN i % 7 = 0 THEN 0 ELSE 1 END) INTO n;
		EXCEPTION WHEN division_by_zero THEN
			n := NULL;
		END;
		IF n IS DISTINCT FROM expected THEN
			RAISE EXCEPTION '% of % is %', i, expected, n;
		END IF;
	END LOOP;
END $$
SQL
	run('COMMIT');
}

# ----------------------------------------------------------------------
# Options, roles and hops
# ----------------------------------------------------------------------

reset_table();
my $port = $w2->port;
run("ALTER SERVER w2 OPTIONS (SET hosts '127.0.0.1:1')");
fails('SELECT count(*) FROM t', qr/ERROR:  08001.*DETAIL:  127\.0\.0\.1:1: /s,
	'changed hosts are used by an open session');
run("ALTER SERVER w2 OPTIONS (SET hosts '127.0.0.1:1, 127.0.0.1:$port')");
succeeds('SELECT count(*) FROM t', '2', 'of several hosts one that answers is used');
run("ALTER SERVER w2 OPTIONS (SET hosts 'localhost:$port')");
succeeds('SELECT count(*) FROM t', '2', 'all addresses of a name are tried');
my $socket = $w2->host . ":$port";
run("ALTER SERVER w2 OPTIONS (SET hosts '$socket')");
succeeds('SELECT count(*) FROM t', '2', 'a host can be a socket');
run("ALTER SERVER w2 OPTIONS (SET hosts 'name.invalid:$port')");
fails('SELECT count(*) FROM t', qr/ERROR:  08001.*DETAIL:  name\.invalid:$port: /s,
	'a name that does not exist');
run("ALTER SERVER w2 OPTIONS (SET hosts '127.0.0.1:$port')");
run("BEGIN; INSERT INTO t VALUES (2, 60)");
$coordinator->safe_psql('postgres',
	"ALTER SERVER w2 OPTIONS (SET hosts '127.0.0.1:$port')");
succeeds('SELECT count(*) FROM t; COMMIT', '3',
	'a remote transaction outlives a change of the options');
succeeds('SELECT count(*) FROM t', '3', 'and the new ones are used after it');

$coordinator->safe_psql('postgres',
	"ALTER SERVER w2 OPTIONS (ADD application_name 'other')");
run('SELECT 1');
ok( $w2->poll_query_until('postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'vecdist%'}),
	'connections of a changed server are closed without being used');
$coordinator->safe_psql('postgres',
	'ALTER SERVER w2 OPTIONS (DROP application_name)');

foreach my $case (
	[ "'127.0.0.1:0'", 'port out of range' ],
	[ "'127.0.0.1:5432,'", 'empty host' ],
	[ "'::1:5432'", 'IPv6 address without brackets' ],
	[ "'[::1'", 'open bracket' ])
{
	fails("CREATE SERVER x FOREIGN DATA WRAPPER vecdist_fdw OPTIONS (hosts $case->[0])",
		qr/ERROR:  22023: invalid host ".*HINT:  Write the servers/s, $case->[1]);
}
fails('CREATE SERVER x FOREIGN DATA WRAPPER vecdist_fdw',
	qr/ERROR:  HV00J: option "hosts" is required/, 'no hosts');
fails("ALTER SERVER w2 OPTIONS (host 'a')",
	qr/ERROR:  HV00D: invalid option "host".*HINT:  Valid options.*hosts, dbname/s,
	'an option that does not exist');

# Roles: what a worker accepts without a password is the identity of the
# account that the coordinator runs under.
$_->safe_psql('postgres', q{CREATE ROLE alice LOGIN PASSWORD 'secret'})
  foreach $cluster->servers;
$coordinator->safe_psql('postgres', <<'SQL');
GRANT ALL ON t TO alice;
GRANT USAGE ON FOREIGN SERVER w1, w2 TO alice;
SQL
sub as_alice
{
	my ($sql) = @_;
	my (undef, $out, $err) = $coordinator->psql('postgres', $sql,
		extra_params => [ '-U', 'alice', '-v', 'VERBOSITY=verbose' ]);
	return $out . $err;
}
$coordinator->safe_psql('postgres', <<'SQL');
CREATE USER MAPPING FOR alice SERVER w1;
CREATE USER MAPPING FOR alice SERVER w2;
SQL
like(as_alice('SELECT count(*) FROM t'),
	qr/ERROR:  2F003: password is required.*DETAIL:  Non-superusers must provide/s,
	'an ordinary role needs a password');
$coordinator->safe_psql('postgres', <<'SQL');
ALTER USER MAPPING FOR alice SERVER w1 OPTIONS (user 'alice', password 'secret');
ALTER USER MAPPING FOR alice SERVER w2 OPTIONS (user 'alice', password 'secret');
SQL
like(as_alice('SELECT count(*) FROM t'),
	qr/ERROR:  2F003: password is required.*does not request a password/s,
	'and the worker must ask for it');
foreach my $worker ($w1, $w2)
{
	my $hba = $worker->data_dir . '/pg_hba.conf';
	my $rest = slurp_file($hba);

	unlink $hba;
	append_to_file($hba, "host all alice 127.0.0.1/32 scram-sha-256\n$rest");
	$worker->reload;
}
is(as_alice('SELECT count(*) FROM t'), '3', 'then it is served');
like(as_alice(q{ALTER USER MAPPING FOR alice SERVER w1 OPTIONS (SET password 'wrong');
		SELECT count(*) FROM t}),
	qr/ERROR:  08001.*password authentication failed/s,
	'a wrong password is an error');
like(as_alice(q{ALTER USER MAPPING FOR alice SERVER w1 OPTIONS (ADD password_required 'false')}),
	qr/ERROR:  42501: password_required=false is superuser-only/,
	'only superusers dispense with it');
like(as_alice(q{ALTER USER MAPPING FOR alice SERVER w1 OPTIONS (ADD sslkey 'x')}),
	qr/ERROR:  42501: option "sslkey" is superuser-only/,
	'or name files of the server');

{
	local $ENV{PGOPTIONS} = '-c vecdist.hop=2';
	my (undef, undef, $err) = $coordinator->psql('postgres', 'SELECT count(*) FROM t');
	like($err, qr/ERROR:  request would be forwarded a second time/,
		'a request is forwarded only once');
}
fails('SET vecdist.hop = 0', qr/ERROR:  55P02: parameter "vecdist.hop" cannot be set/,
	'and nobody can deny that');

# ----------------------------------------------------------------------
# Many failures leave nothing behind
# ----------------------------------------------------------------------

# Resident kilobytes and open descriptors of the session's backend.
sub resources
{
	my ($backend) = run('SELECT pg_backend_pid()');
	my ($kb) = slurp_file("/proc/$backend/status") =~ /^VmRSS:\s+(\d+) kB$/m;
	my $files = () = glob "/proc/$backend/fd/*";

	return { memory => $kb, files => $files };
}

# Client connections to the workers.
sub connections
{
	return join ' ', map {
		$_->safe_psql('postgres',
			q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'})
	} ($w1, $w2);
}

reset_table();
my $failing = join '',
  map { "$_;\n" } (
	'INSERT INTO t VALUES (1, 70), (2, 2)',
	'BEGIN; INSERT INTO t VALUES (1, 71), (2, 71); SAVEPOINT a; INSERT INTO t VALUES (1, 1); ROLLBACK TO a; INSERT INTO t VALUES (2, 2); ROLLBACK',
	'UPDATE t SET v = 1 / (v - v)',
	'SELECT sum(1 / (v - v)) FROM t',
	q{SELECT * FROM vecdist.run_on_workers('no statement')});
run($failing x 20);
my $connections = connections();
my $before      = resources();
run($failing x 200);
my $after = resources();
cmp_ok($after->{memory}, '<', $before->{memory} + 1024,
	'1000 failed statements leave no memory behind');
is($after->{files}, $before->{files}, 'and no files');
is(connections(), $connections, 'and no connections');
stores('1|2', 'and no rows');

# Each statement makes an attempt of its own.
$w2->stop;
$coordinator->safe_psql('postgres', 'ALTER SYSTEM SET vecdist.max_reconnect_delay = 0');
$coordinator->reload;
run("SELECT count(*) FROM t;\n" x 10);
$before = resources();
run("SELECT count(*) FROM t;\n" x 500);
$after = resources();
cmp_ok($after->{memory}, '<', $before->{memory} + 1024,
	'500 failed connections leave no memory behind');
is($after->{files}, $before->{files}, 'and no files');
$w2->start;
succeeds('SELECT count(*) FROM t', '2', 'and the session goes on');
$session->quit;

done_testing();

# A transaction on several servers happens on all of them or on none.
#
# One coordinator and two workers.  Each transaction writes one row, known by
# its value, on both workers and on the coordinator.  It is stopped at every
# step of the commit by a crash of the coordinator, a crash of a worker, a
# frozen worker, a cut connection or an error; then
# recover_prepared_transactions() runs, and the row must be everywhere or
# nowhere, with nothing left prepared.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster = make_cluster(
	workers => 2,
	proxies => 1,
	conf    => "restart_after_crash = on\n");
my $coordinator = $cluster->coordinator;
my @workers     = map { $cluster->worker($_) } qw(w1 w2);

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE t (w int, v text) PARTITION BY LIST (w);
SELECT vecdist.create_distributed_table('t');
SELECT vecdist.create_partition('t', 't_1', 'FOR VALUES IN (1)', 'w1');
SELECT vecdist.create_partition('t', 't_2', 'FOR VALUES IN (2)', 'w2');
CREATE TABLE here (v text);
SQL

# ----------------------------------------------------------------------
# Helpers
# ----------------------------------------------------------------------

# Rows with a value on w1, w2 and the coordinator.
sub seen
{
	my ($value) = @_;
	return join ' ',
	  $workers[0]->safe_psql('postgres',
		"SELECT count(*) FROM t_1 WHERE v = '$value'"),
	  $workers[1]->safe_psql('postgres',
		"SELECT count(*) FROM t_2 WHERE v = '$value'"),
	  $coordinator->safe_psql('postgres',
		"SELECT count(*) FROM here WHERE v = '$value'");
}

# Prepared transactions on w1 and w2.
sub prepared
{
	return join ' ', map {
		$_->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts')
	} @workers;
}

sub records
{
	return $coordinator->safe_psql('postgres',
		'SELECT count(*) FROM vecdist.dist_transaction');
}

# Statements that write a row with this value on all three servers.
sub writes
{
	my ($value) = @_;
	return "INSERT INTO t VALUES (1, '$value'), (2, '$value');"
	  . "INSERT INTO here VALUES ('$value');";
}

# Run recovery.  Returns what it did, and its warnings.
sub recover
{
	my ($rc, $out, $err) = $coordinator->psql('postgres',
		'SELECT worker, action FROM vecdist.recover_prepared_transactions() ORDER BY 1, 2'
	);

	is($rc, 0, 'recovery runs');
	return ($out, $err);
}

# After recovery the row is everywhere (1) or nowhere (0), and nothing is left.
sub settled
{
	my ($value, $committed, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(seen($value), "$committed $committed $committed",
		"$name: the row is " . ($committed ? 'everywhere' : 'nowhere'));
	return is(prepared(), '0 0', "$name: nothing is left prepared");
}

# Wait until no session of the coordinator is left on the workers, so that
# nothing sent by a closed connection is still to be carried out.
sub wait_for_workers
{
	foreach my $worker (@workers)
	{
		$worker->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM pg_stat_activity
			  WHERE application_name LIKE 'vecdist%'})
		  or die 'sessions on a worker do not end';
	}
	return;
}

# Sessions that stop at a debug point wait for this lock.
my $gate = $coordinator->background_psql('postgres');

sub close_gate { return $gate->query_safe('SELECT pg_advisory_lock(29795, 0)'); }
sub open_gate { return $gate->query_safe('SELECT pg_advisory_unlock(29795, 0)'); }

# Start a transaction that stops at a debug point of its commit.  Returns the
# session; its output goes on after the gate was opened.
sub commit_until
{
	my ($point, $value, $settings) = @_;
	my $session =
	  $coordinator->background_psql('postgres', on_error_stop => 0);

	close_gate();
	$session->query_safe("SET vecdist.debug_points = '$point=wait';"
		  . ($settings // ''));
	$session->query_until(qr/committing/,
		'BEGIN;' . writes($value) . "\n\\echo committing\nCOMMIT;\n");
	$coordinator->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_locks
		  WHERE locktype = 'advisory' AND classid = 29795 AND NOT granted})
	  or die "the commit does not reach $point";
	return $session;
}

# Let it go on; returns what it said on stderr.
sub finish
{
	my ($session) = @_;

	open_gate();
	$session->query('SELECT 1');
	my $said = $session->{stderr};
	$session->quit;
	return $said;
}

# ----------------------------------------------------------------------
# Without faults
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres', 'BEGIN;' . writes('plain') . 'COMMIT');
settled('plain', 1, 'commit');
$coordinator->safe_psql('postgres', 'BEGIN;' . writes('undone') . 'ROLLBACK');
settled('undone', 0, 'rollback');

# The records of one session make room for each other.
my $before = records();
$coordinator->safe_psql('postgres', join '',
	map { 'BEGIN;' . writes("many $_") . 'COMMIT;' } 1 .. 20);
is(records() - $before, 2, 'a session removes its old commit records');
recover();
is(records(), '0', 'recovery removes the last ones');

my ($rc, undef, $err) = $coordinator->psql('postgres',
	q{BEGIN; INSERT INTO t VALUES (1, 'p'); PREPARE TRANSACTION 'mine'});
like($err, qr/cannot PREPARE a transaction that has written to worker "w1"/,
	'PREPARE TRANSACTION is refused');
settled('p', 0, 'PREPARE TRANSACTION');
is( $coordinator->safe_psql('postgres', q{BEGIN; SELECT count(*) >= 0 FROM t;
		PREPARE TRANSACTION 'mine'; ROLLBACK PREPARED 'mine'}),
	't', 'unless it only read on the workers');

$coordinator->safe_psql('postgres', 'CREATE ROLE ordinary LOGIN');
($rc, undef, $err) = $coordinator->psql('postgres',
	'SET ROLE ordinary; SELECT * FROM vecdist.recover_prepared_transactions()');
like($err, qr/permission denied for function recover_prepared_transactions/,
	'ordinary roles cannot run recovery');
($rc, undef, $err) = $coordinator->psql('postgres',
	'SET ROLE ordinary; DELETE FROM vecdist.dist_transaction');
like($err, qr/permission denied for table dist_transaction/,
	'nor touch commit records');

# ----------------------------------------------------------------------
# The coordinator crashes, or an error is raised
# ----------------------------------------------------------------------

# Debug point => [prepared transactions, records left, does it commit?]
my %crash = (
	'dist-before-prepare'    => ['0 0', 0, 0],
	'dist-after-prepare'     => ['1 1', 0, 0],
	'dist-after-record'      => ['1 1', 0, 0],
	'dist-after-local-commit' => ['1 1', 2, 1]);

foreach my $point (sort keys %crash)
{
	foreach my $sync (qw(on off))
	{
		my ($left, $records, $commits) = @{ $crash{$point} };
		my $name  = "crash at $point, synchronous_commit $sync";
		my $value = "$point $sync";

		$coordinator->psql('postgres',
			"SET synchronous_commit = $sync; SET vecdist.debug_points = '$point=crash';"
			  . 'BEGIN;' . writes($value) . 'COMMIT');
		wait_recovered($coordinator)
		  or die 'the coordinator does not come back';
		$gate->reconnect_and_clear;
		wait_for_workers();

		is(prepared(), $left, "$name: prepared transactions are left");
		is(records(), $records, "$name: commit records are left");
		my ($done) = recover();
		my $action = $commits ? 'committed' : 'rolled back';
		is($done, $left eq '0 0' ? '' : "w1|$action\nw2|$action",
			"$name: what recovery does");
		settled($value, $commits, $name);
		is(records(), '0', "$name: no commit record is left");
	}
}

# One COMMIT PREPARED has been answered, the other one not.
$coordinator->psql('postgres',
	"SET vecdist.debug_points = 'dist-between-commits=crash';"
	  . 'BEGIN;' . writes('between commits') . 'COMMIT');
wait_recovered($coordinator)
  or die 'the coordinator does not come back';
$gate->reconnect_and_clear;
wait_for_workers();
recover();
settled('between commits', 1, 'crash between commits');
is(records(), '0', 'crash between commits: no commit record is left');

foreach my $point (grep { !$crash{$_}[2] } sort keys %crash)
{
	($rc, undef, $err) = $coordinator->psql('postgres',
		"SET vecdist.debug_points = '$point=error';"
		  . 'BEGIN;' . writes("error $point") . 'COMMIT');
	like($err, qr/debug point "$point" reached/, "error at $point");
	settled("error $point", 0, "error at $point, without recovery");
	is(records(), '0', "error at $point: no commit record is left");
}

# ----------------------------------------------------------------------
# A worker crashes
# ----------------------------------------------------------------------

my $session = commit_until('dist-before-prepare', 'no prepare');
kill_server($workers[1]);
my $said = finish($session);
like($said, qr/ERROR:  connection to worker "w2" was lost/,
	'worker killed before PREPARE: error');
$workers[1]->start;
settled('no prepare', 0, 'worker killed before PREPARE');

$session = commit_until('dist-after-record', 'no commit');
kill_server($workers[1]);
$said = finish($session);
like(
	$said,
	qr/WARNING:  could not commit prepared transaction "vecdist_\w+" on worker "w2".*HINT:  The transaction is committed\./s,
	'worker killed before COMMIT PREPARED: warning');
unlike($said, qr/ERROR/, 'worker killed before COMMIT PREPARED: no error');
($said, $err) = recover();
is($said, 'w1|record removed',
	'recovery with a worker down does what it can');
like($err, qr/WARNING:  worker "w2" is skipped: could not connect/,
	'and says what it cannot');
$workers[1]->start;
is(prepared(), '0 1', 'worker killed before COMMIT PREPARED: it is in doubt');
($said) = recover();
is($said, 'w2|committed', 'recovery commits it');
settled('no commit', 1, 'worker killed before COMMIT PREPARED');
is(records(), '0', 'no commit record is left');

# A worker that comes back in time needs no recovery.
$session = commit_until('dist-after-record', 'restart');
kill_server($workers[1]);
$workers[1]->start;
is(finish($session), '', 'worker restarted before COMMIT PREPARED: no message');
settled('restart', 1, 'worker restarted before COMMIT PREPARED');

# ----------------------------------------------------------------------
# A worker is frozen
# ----------------------------------------------------------------------

$session = commit_until('dist-before-prepare', 'frozen prepare',
	"SET vecdist.node_timeout = '500ms'");
freeze($workers[1]);
$said = finish($session);
like($said, qr/ERROR:  connection to worker "w2" was lost.*no answer within 500 ms/s,
	'worker frozen at PREPARE: error');
like($said, qr/WARNING:  could not roll back prepared transaction "vecdist_\w+" on worker "w2"/,
	'worker frozen at PREPARE: warning');
thaw($workers[1]);
wait_for_workers();
recover();
settled('frozen prepare', 0, 'worker frozen at PREPARE');

$session = commit_until('dist-after-record', 'frozen commit',
	"SET vecdist.node_timeout = '500ms'");
freeze($workers[1]);
$said = finish($session);
like($said, qr/WARNING:  could not commit prepared transaction/,
	'worker frozen at COMMIT PREPARED: warning');
unlike($said, qr/ERROR/, 'worker frozen at COMMIT PREPARED: no error');
thaw($workers[1]);
wait_for_workers();
recover();
settled('frozen commit', 1, 'worker frozen at COMMIT PREPARED');

# Somebody who cancels does not wait for node_timeout in the second phase.
$session = commit_until('dist-after-record', 'canceled commit',
	"SET vecdist.node_timeout = '1000s'");
freeze($workers[1]);
open_gate();
$coordinator->poll_query_until('postgres',
	q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity
	  WHERE query LIKE 'COMMIT%' AND wait_event = 'Extension'})
  or die 'the commit does not wait for the worker';
$session->query('SELECT 1');
like($session->{stderr}, qr/WARNING:  could not commit prepared transaction/,
	'canceled in the second phase: warning');
$session->quit;
thaw($workers[1]);
wait_for_workers();
recover();
settled('canceled commit', 1, 'canceled in the second phase');

# ----------------------------------------------------------------------
# The connection to a worker is cut at every message
# ----------------------------------------------------------------------

# Commit a row in a transaction with a savepoint; returns stderr.
sub try_to_write
{
	my ($value) = @_;
	my (undef, undef, $stderr) = $coordinator->psql('postgres',
		"BEGIN; INSERT INTO t VALUES (1, '$value'), (2, '$value');"
		  . "SAVEPOINT a; INSERT INTO t VALUES (2, 'x'); ROLLBACK TO a;"
		  . "INSERT INTO here VALUES ('$value'); COMMIT");
	return $stderr;
}

my $proxy = $cluster->proxy($workers[1]);

foreach my $direction (qw(to_server to_client))
{
	my @wrong;

	$proxy->reset_stats;
	is(try_to_write("uncut $direction"), '', "$direction: nothing is cut");
	wait_for_workers();
	my $messages = $proxy->stats->{"messages_$direction"};
	cmp_ok($messages, '>', 10, "$direction: messages to cut at: $messages");

	foreach my $message (1 .. $messages)
	{
		my $value = "cut $direction $message";

		$proxy->rule('cut', $direction => $message);
		my $error = try_to_write($value);
		$proxy->pass;
		wait_for_workers();
		(undef, undef, my $failed) = $coordinator->psql('postgres',
			'SELECT count(*) FROM vecdist.recover_prepared_transactions()');

		push @wrong, "$message: $error $failed"
		  if seen($value) ne ($error =~ /ERROR/ ? '0 0 0' : '1 1 1')
		  || prepared() ne '0 0'
		  || seen('x') ne '0 0 0'
		  || $failed ne '';
	}
	is("@wrong", '', "$direction: the row is where the client was told");
}

# ----------------------------------------------------------------------
# Recovery leaves alone what is not its own
# ----------------------------------------------------------------------

$session = commit_until('dist-after-prepare', 'running');
is(prepared(), '1 1', 'a running transaction is prepared');
($said) = recover();
is($said, '', 'recovery does not touch it');
is(prepared(), '1 1', 'so it is still prepared');
is(finish($session), '', 'and can commit');
settled('running', 1, 'recovery beside a running transaction');

$workers[0]->safe_psql('postgres',
	q{BEGIN; INSERT INTO t_1 VALUES (1, 'other'); PREPARE TRANSACTION 'vecdist_1_1_1_0_0'});
($said) = recover();
unlike($said, qr/committed|rolled back/,
	'recovery does not touch prepared transactions of others');
is(prepared(), '1 0', 'so they are still prepared');
$workers[0]->safe_psql('postgres', q{ROLLBACK PREPARED 'vecdist_1_1_1_0_0'});

# ----------------------------------------------------------------------
# Participants, and workers that cannot prepare
# ----------------------------------------------------------------------

$workers[1]->append_conf('postgresql.conf', 'max_prepared_transactions = 0');
$workers[1]->restart;

($rc, undef, $err) = $coordinator->psql('postgres',
	'BEGIN;' . writes('one cannot') . 'COMMIT');
like(
	$err,
	qr/ERROR:  prepared transactions are disabled.*HINT: .*max_prepared_transactions.*remote command on worker "w2"/s,
	'a worker without prepared transactions: error');
settled('one cannot', 0, 'a worker without prepared transactions');

$coordinator->safe_psql('postgres', q{INSERT INTO t VALUES (2, 'single')});
is(seen('single'), '0 1 0', 'a single participant commits in one phase');
$coordinator->safe_psql('postgres',
	q{BEGIN; SELECT count(*) FROM t; INSERT INTO t VALUES (2, 'reads'); COMMIT});
is(seen('reads'), '0 1 0', 'a worker that was only read is no participant');
foreach my $case (
	[ 'the coordinator is a participant when it wrote',
		q{BEGIN; INSERT INTO t VALUES (2, 'x'); INSERT INTO here VALUES ('x'); COMMIT} ],
	[ 'and under SERIALIZABLE',
		q{BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES (2, 'x'); COMMIT} ])
{
	my ($name, $sql) = @$case;
	($rc, undef, $err) = $coordinator->psql('postgres', $sql);
	like($err, qr/prepared transactions are disabled/, $name);
}
settled('x', 0, 'participants');

# The crash finds one worker prepared and the other one not.
$coordinator->psql('postgres',
	"SET vecdist.debug_points = 'dist-before-rollback-prepared=crash';"
	  . 'BEGIN;' . writes('between prepares') . 'COMMIT');
wait_recovered($coordinator)
  or die 'the coordinator does not come back';
wait_for_workers();
is(prepared(), '1 0', 'crash between prepares: one is in doubt');
($said) = recover();
is($said, 'w1|rolled back', 'recovery rolls it back');
settled('between prepares', 0, 'crash between prepares');

done_testing();

# vecdist.max_connections_per_worker: no worker ever has more connections of a
# server than allowed; who needs one waits, and gets it from idle sessions, from
# those that end, and from those that fail.
#
# One coordinator and two workers.  Table "a" is searched on w1 before w2 and
# table "b" on w2 before w1, so that searches of both would wait for each other
# if they took connections in that order.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster     = make_cluster(workers => 2);
my $coordinator = $cluster->coordinator;
my ($w1, $w2) = map { $cluster->worker($_) } qw(w1 w2);

foreach my $case ([ a => 1 ], [ b => 2 ])
{
	my ($table, $first) = @$case;
	my $second = 3 - $first;

	$coordinator->safe_psql('postgres', <<"SQL");
CREATE TABLE $table (w int, v int, embedding vector(2)) PARTITION BY LIST (w);
SELECT vecdist.create_distributed_table('$table');
SELECT vecdist.create_partition('$table', '${table}_1', 'FOR VALUES IN (1)', 'w$first');
SELECT vecdist.create_partition('$table', '${table}_2', 'FOR VALUES IN (2)', 'w$second');
INSERT INTO $table SELECT 1 + g % 2, g, ARRAY[g, 1]::vector FROM generate_series(1, 100) g;
SQL
}

sub set_limit
{
	my ($limit) = @_;
	$coordinator->safe_psql('postgres',
		"ALTER SYSTEM SET vecdist.max_connections_per_worker = $limit");
	$coordinator->reload;
	$coordinator->poll_query_until('postgres',
		"SELECT current_setting('vecdist.max_connections_per_worker') = '$limit'")
	  or die 'the setting does not arrive';
	return;
}

# Connections of the coordinator to a worker.  One that was closed is seen
# there, idle, until its process has ended.
sub connections
{
	my ($worker, $state) = @_;
	return $worker->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'vecdist%'"
		  . ($state ? " AND state = '$state'" : ''));
}

sub search
{
	my ($table) = @_;
	return "SELECT string_agg(v::text, ' ') FROM (SELECT v FROM $table ORDER BY embedding <-> '[0,1]' LIMIT 3) s";
}

my @sessions;

sub new_session
{
	my $session = $coordinator->background_psql('postgres', on_error_stop => 0);

	$session->query_safe('\set VERBOSITY verbose');
	push @sessions, $session;
	return $session;
}

# Run statements; returns their output and their errors.
sub run
{
	return join '', run_in(@_);
}

# Begin with statements that will wait; the next run() returns their output.
sub begin_waiting
{
	my ($session, $sql) = @_;
	my $pid = run($session, 'SELECT pg_backend_pid()');

	$session->query_until(qr/asking/, "\\echo asking\n$sql;\n");
	$coordinator->poll_query_until('postgres',
		"SELECT wait_event = 'Extension' FROM pg_stat_activity WHERE pid = $pid")
	  or die 'the session does not wait';
	return $pid;
}

# ----------------------------------------------------------------------
# Idle sessions give up what others need
# ----------------------------------------------------------------------

set_limit(2);
new_session() foreach 1 .. 5;
run($_, "SET vecdist.node_timeout = '1000s'") foreach @sessions;
my $answers = join '|', map { run($_, search('a')) } @sessions, @sessions;
is($answers, join('|', ('1 2 3') x 10), 'five sessions share two connections');
ok($_->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name LIKE 'vecdist%'}),
	'all of which are used')
  foreach $w1, $w2;

# ----------------------------------------------------------------------
# Transactions keep theirs
# ----------------------------------------------------------------------

my ($one, $two, $three) = @sessions;
run($_, 'BEGIN; UPDATE a SET v = v WHERE w = 1 AND v < 0') foreach $one, $two;
run($three, "SET vecdist.node_timeout = '200ms'");
like(run($three, search('a')),
	qr/ERROR:  53300: too many connections to worker "w1".*DETAIL:  The 2 connections that vecdist\.max_connections_per_worker allows were in use for 200 ms\..*HINT:  Let fewer/s,
	'who finds none waits for node_timeout');
like(run($three, 'UPDATE a SET v = v WHERE w = 1 AND v < 0'), qr/ERROR:  53300/,
	'with a write, too');
unlike(run($three, 'SELECT count(*) FROM a WHERE w = 2'), qr/ERROR/,
	'other workers can be used meanwhile');

run($three, "SET vecdist.node_timeout = '1000s'; SET statement_timeout = '200ms'");
like(run($three, search('a')), qr/ERROR:  57014/, 'who waits can cancel');
run($three, 'RESET statement_timeout');

my $pid = begin_waiting($sessions[4], search('a'));
$coordinator->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok( $coordinator->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"),
	'and be terminated');
eval { (pop @sessions)->quit };

foreach my $end ('COMMIT', 'ROLLBACK', 'SELECT 1/0; COMMIT')
{
	begin_waiting($three, search('a'));
	run($one, $end);
	like(run($three, 'SELECT 1'), qr/^1 2 3\n1$/, "who waits goes on after $end");
	run($one, 'BEGIN; UPDATE a SET v = v WHERE w = 1 AND v < 0');
}
cmp_ok(connections($w1, 'idle in transaction'), '<=', 2, 'the limit was kept');

# A session that ends in the middle of a transaction.
begin_waiting($three, search('a'));
$coordinator->safe_psql('postgres', 'SELECT pg_terminate_backend('
	  . run($one, 'SELECT pg_backend_pid()') . ')');
like(run($three, 'SELECT 1'), qr/^1 2 3\n1$/, 'who waits goes on when a session ends');
eval { (shift @sessions)->quit };
run($two, 'ROLLBACK');

# ----------------------------------------------------------------------
# Two workers
# ----------------------------------------------------------------------

# A connection that is lost is opened again within the limit.
set_limit(1);
is(run($two, search('a')), '1 2 3', 'with a single connection');
$w1->restart;
is(run($two, search('a')), '1 2 3', 'which is replaced when it is lost');
$w1->stop;
like(run($two, search('a')), qr/ERROR:  08001/, 'a worker that is down');
is(run($three, search('b') . '; SELECT count(*) FROM a WHERE w = 2') =~ s/.*(ERROR:  \d+).*/$1/sr,
	'ERROR:  08001', 'does not keep what was not opened');
$w1->start;
is(run($three, search('a')), '1 2 3', 'and comes back');

# Searches that want both, in either order, at the same time.
my $script = $coordinator->basedir . '/searches.sql';
append_to_file($script, join '',
	"SET vecdist.node_timeout = '1000s';\n",
	map { search($_) . ";\n" } qw(a b) x 15);
my @runs;
foreach my $client (1 .. 4)
{
	my ($out, $err) = ('', '');
	push @runs, { out => \$out, err => \$err };
	$runs[-1]{handle} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $coordinator->connstr('postgres'), '-f', $script ],
		'>', \$out, '2>', \$err);
}
my $most = 0;
foreach (1 .. 10)
{
	my ($n) = sort { $b <=> $a } connections($w1, 'active'), connections($w2, 'active');
	$most = $n if $n > $most;
}
IPC::Run::finish($_->{handle}) foreach @runs;
is(join('', map { ${ $_->{err} } } @runs), '', 'searches in opposite orders: no errors');
is(join('', map { ${ $_->{out} } } @runs), "1 2 3\n" x 120, 'and all answers');
cmp_ok($most, '<=', 1, 'and never more than one at a time');

# Transactions can wait for each other, and then one ends.
run($two, "SET vecdist.node_timeout = '300ms'; BEGIN; UPDATE a SET v = v WHERE w = 1 AND v < 0");
run($three, 'BEGIN; UPDATE a SET v = v WHERE w = 2 AND v < 0');
begin_waiting($three, 'UPDATE a SET v = v WHERE w = 1 AND v < 0');
like(run($two, 'UPDATE a SET v = v WHERE w = 2 AND v < 0; COMMIT'),
	qr/ERROR:  53300/, 'of two transactions that wait for each other one fails');
is(run($three, 'COMMIT'), '', 'and the other goes on');

is($_->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'),
	'0', 'nothing is left prepared')
  foreach $w1, $w2;

# ----------------------------------------------------------------------
# Crash, and a server that has no shared memory for it
# ----------------------------------------------------------------------

$coordinator->append_conf('postgresql.conf', 'restart_after_crash = on');
$coordinator->reload;
run($two, 'BEGIN; UPDATE a SET v = v');
$pid = run($two, 'SELECT pg_backend_pid()');
kill 'KILL', $pid;
wait_recovered($coordinator);
eval { $_->quit } foreach @sessions;
@sessions = ();
is(run(new_session(), search('a')), '1 2 3', 'a killed session keeps nothing');
$_->quit foreach @sessions;

$coordinator->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$coordinator->restart;
my (undef, undef, $err) = $coordinator->psql('postgres', search('a'));
like($err, qr/vecdist must be loaded at server start to limit connections/,
	'without preloading a limit is refused, not ignored');
is($coordinator->safe_psql('postgres',
		'ALTER SYSTEM RESET vecdist.max_connections_per_worker; SELECT pg_reload_conf()'),
	't', 'no limit');
is($coordinator->safe_psql('postgres', "SELECT pg_sleep(0.2);" . search('a')) =~ s/^\n//r,
	'1 2 3', 'needs no preloading');

done_testing();

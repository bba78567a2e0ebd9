# A worker that cannot be reached is left alone for a while, by all sessions of
# a server together, and found again when it is back.
#
# One coordinator and one worker.  Where attempts are counted, the worker's
# address is that of a process which counts the connections it is offered and
# closes them.  Delays are told apart by what errors say of them, or are so long
# that they cannot end.

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster     = make_cluster(workers => 1);
my $coordinator = $cluster->coordinator;
my $worker      = $cluster->worker('w1');

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE t (v int, embedding vector(2)) PARTITION BY HASH (v);
SELECT vecdist.create_distributed_table('t', 2);
INSERT INTO t SELECT g, ARRAY[g, 1]::vector FROM generate_series(1, 10) g;
SQL

my $search = q{SELECT string_agg(v::text, ' ') FROM (SELECT v FROM t ORDER BY embedding <-> '[0,1]' LIMIT 3) s};
my $failure = qr/ERROR:  08001: could not connect to worker "w1"/;

my @sessions = map { $coordinator->background_psql('postgres', on_error_stop => 0) } 1 .. 5;

foreach my $session (@sessions)
{
	$session->query_safe('\set VERBOSITY verbose');
	$session->query_safe("SET vecdist.node_timeout = '1000s'");
}

# Run a statement; returns its output and its error.
sub run
{
	return join '', run_in(@_);
}

sub set
{
	my ($name, $value) = @_;
	$coordinator->safe_psql('postgres', "ALTER SYSTEM SET $name = '$value'");
	$coordinator->reload;
	$coordinator->poll_query_until('postgres', "SELECT current_setting('$name') = '$value'")
	  or die 'the setting does not arrive';
	return;
}

sub set_host
{
	my ($host) = @_;
	$coordinator->safe_psql('postgres', "ALTER SERVER w1 OPTIONS (SET hosts '$host')");
	return;
}

# Who counts writes a byte before it closes a connection, so what was noticed is
# counted.
my $count_file = "${PostgreSQL::Test::Utils::tmp_check}/attempts";
my $listener =
  IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 50)
  or die "could not listen: $!";
my $counter = fork() // die "could not fork: $!";
if ($counter == 0)
{
	open my $file, '>', $count_file or POSIX::_exit(1);
	$file->autoflush(1);
	while (my $connection = $listener->accept)
	{
		print $file '.';
		close $connection;
	}
	POSIX::_exit(0);
}
my $counting_host = '127.0.0.1:' . $listener->sockport;
close $listener;

# It has our output, which must end with us.
END
{
	local $?;
	if ($counter)
	{
		kill 'TERM', $counter;
		waitpid $counter, 0;
	}
}

sub attempts
{
	my ($from) = @_;
	return (-s $count_file // 0) - ($from // 0);
}

# ----------------------------------------------------------------------
# One attempt at a time
# ----------------------------------------------------------------------

my $real_host = $coordinator->safe_psql('postgres',
	q{SELECT split_part(o, '=', 2) FROM pg_foreign_server, unnest(srvoptions) o WHERE srvname = 'w1' AND o LIKE 'hosts=%'});

set_host($counting_host);
like(run($sessions[0], $search), $failure, 'the first search fails');
is(attempts(), 1, 'after one attempt');
like(run($sessions[1], $search), $failure, 'that of another session, too');
is(attempts(), 2, 'when it has waited for its turn');
set('vecdist.max_reconnect_delay', '0');
my $before = attempts();
like(run($_, $search), $failure, 'without a delay') foreach @sessions;
is(attempts($before), 5, 'every session tries');
set('vecdist.max_reconnect_delay', '1s');

# ----------------------------------------------------------------------
# As long as it is not time, nobody tries
# ----------------------------------------------------------------------

SKIP:
{
	skip 'not a test build', 1
	  if $coordinator->psql('postgres', 'SHOW vecdist.debug_mistake') != 0;

	set('vecdist.debug_mistake', 'dist-reconnect-in-an-hour');
	set_host("$counting_host,$counting_host");
	$before = attempts();
	like(run($sessions[0], $search),
		qr/$failure.*The next attempt is due in \d{7} ms\./s,
		'the error tells when the next attempt is due');
	is(attempts($before), 2, 'both servers of the group were tried');
	like(run($_, $search), qr/$failure.*server closed the connection.*The next attempt is due in \d{7} ms\./s,
		'until then others fail, with the same reason')
	  foreach @sessions;
	is(attempts($before), 2, 'without trying');

	# A role with other options is not meant.
	$coordinator->safe_psql('postgres', <<'SQL');
CREATE ROLE other SUPERUSER;
CREATE USER MAPPING FOR other SERVER w1 OPTIONS (user 'nobody');
SQL
	like(run($sessions[0], "SET ROLE other; $search; RESET ROLE"), $failure, 'a role that connects otherwise fails');
	is(attempts($before), 4, 'because it has tried');

	set('vecdist.debug_mistake', 'dist-reconnect-at-once');
	$before = attempts();
	run($_, $search) foreach @sessions;
	cmp_ok(attempts($before), '>', 5, 'the counter would notice a storm');
	set('vecdist.debug_mistake', '');

	# Changed options are tried at once.
	set('vecdist.debug_mistake', 'dist-reconnect-in-an-hour');
	set_host($real_host);
	is(run($_, $search), '1 2 3', 'after a change of the server all is well') foreach @sessions;
	set('vecdist.debug_mistake', '');
}

# ----------------------------------------------------------------------
# A success ends the delay
# ----------------------------------------------------------------------

set_host($real_host);
set('vecdist.max_reconnect_delay', '100s');
is(run($_, $search), '1 2 3', 'the worker is there') foreach @sessions;
$worker->stop('immediate');
like(run($sessions[0], $search), $failure, 'the worker is gone') foreach 1 .. 4;
$worker->start;
is(run($_, $search), '1 2 3', 'it is found again, after the delay') foreach @sessions;
$worker->stop('immediate');
my $error = run($sessions[0], $search);
like($error, $failure, 'gone again');

# The delay was 400 ms and more before.  On a slow machine it is over by now.
my ($delay) = $error =~ /due in (\d+) ms/;
cmp_ok($delay // 0, '<=', 100, 'the delay is the first one again');
$worker->start;
is(run($sessions[0], $search), '1 2 3', 'and found again');

# ----------------------------------------------------------------------
# Who waits can be interrupted, and waits no longer than node_timeout
# ----------------------------------------------------------------------

SKIP:
{
	skip 'not a test build', 1
	  if $coordinator->psql('postgres', 'SHOW vecdist.debug_mistake') != 0;

	$worker->stop('immediate');
	set('vecdist.debug_mistake', 'dist-reconnect-in-an-hour');
	like(run($sessions[0], $search), $failure, 'gone, for an hour');
	run($sessions[1], "SET vecdist.node_timeout = '10000s'; SET statement_timeout = '200ms'");
	like(run($sessions[1], $search), qr/ERROR:  57014: canceling statement due to statement timeout/,
		'a session that would wait so long is canceled');
	$worker->start;
}

$_->quit foreach @sessions;
done_testing();

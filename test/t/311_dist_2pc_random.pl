# Transactions on several servers stay whole while servers crash at moments
# that nobody chose.
#
# Sessions write rows to both workers and to the coordinator, many at a time;
# meanwhile backends are killed, workers crash and freeze.  In the end, after
# recovery, each row is on all three servers or on none, and rows behind a
# ROLLBACK TO are on none.  Victims come from a generator with a fixed seed;
# the moments are decided by how far the sessions have come, and by chance.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $seed     = 20;
my $rounds   = 10;
my $sessions = 3;
my $rows     = 40;    # transactions of a session in a round

my $dir = PostgreSQL::Test::Utils::tempdir;

note "seed $seed";
srand($seed);

my $cluster =
  make_cluster(workers => 2, conf => "restart_after_crash = on\n");
my $coordinator = $cluster->coordinator;
my @workers     = map { $cluster->worker($_) } qw(w1 w2);

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE t (w int, v text) PARTITION BY LIST (w);
SELECT vecdist.create_distributed_table('t');
SELECT vecdist.create_partition('t', 't_1', 'FOR VALUES IN (1)', 'w1');
SELECT vecdist.create_partition('t', 't_2', 'FOR VALUES IN (2)', 'w2');
CREATE TABLE here (v text);
SQL

# The transactions of one session in one round.
sub script
{
	my ($round, $session) = @_;
	my $script = "SET vecdist.node_timeout = '3s';\n";

	foreach my $i (1 .. $rows)
	{
		my $v = "$round-$session-$i";
		my $undone =
		  rand() < 0.5
		  ? "SAVEPOINT a; INSERT INTO t VALUES (1, 'undone'), (2, 'undone'); ROLLBACK TO a;"
		  : '';
		my $end = rand() < 0.1 ? 'ROLLBACK' : 'COMMIT';

		$script .=
			"BEGIN; INSERT INTO t VALUES (1, '$v'); $undone"
		  . " INSERT INTO t VALUES (2, '$v'); INSERT INTO here VALUES ('$v'); $end;\n";
	}
	return $script;
}

# Kill a random backend that works for the test.
sub kill_backend
{
	my ($server, $condition) = @_;
	my $pids = $server->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE $condition");
	my @pids = split /\n/, $pids;

	kill 'KILL', $pids[ rand @pids ] if @pids;
	return;
}

my @faults = (
	sub { kill_backend($coordinator, q{application_name = '311'}) },
	sub { kill_backend($workers[0], q{application_name LIKE 'vecdist%'}) },
	sub { kill_backend($workers[1], q{application_name LIKE 'vecdist%'}) },
	sub {
		my $worker = $workers[ rand 2 ];
		kill_server($worker);
		$worker->start;
	},
	sub {
		my $worker = $workers[ rand 2 ];
		freeze($worker);
		$coordinator->safe_psql('postgres', 'SELECT pg_sleep(0.5)');
		thaw($worker);
	});

foreach my $round (1 .. $rounds)
{
	my $fault = $faults[ $round <= @faults ? $round - 1 : rand @faults ];
	my $enough = int rand $sessions * $rows / 2;
	my @running;

	foreach my $session (1 .. $sessions)
	{
		my $file = "$dir/$round-$session";

		append_to_file("$file.sql", script($round, $session));
		push @running,
		  IPC::Run::start(
			[
				$coordinator->installed_command('psql'), '-XAtq',
				'-d', $coordinator->connstr('postgres') . ' application_name=311',
				'-f', "$file.sql"
			],
			'<', \undef, '>', "$file.out", '2>', "$file.err");
	}
	$coordinator->poll_query_until('postgres',
		"SELECT count(*) >= $enough FROM here WHERE v LIKE '$round-%'")
	  or die 'the sessions do not begin';
	$fault->();
	$_->finish foreach @running;
	foreach my $server ($coordinator, @workers)
	{
		wait_recovered($server)
		  or die 'a server does not come back';
	}
}

# Nothing that was sent is still to be carried out.
foreach my $worker (@workers)
{
	$worker->poll_query_until('postgres',
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'vecdist%'})
	  or die 'sessions on a worker do not end';
}
my $recovered = $coordinator->safe_psql('postgres',
	'SELECT action, count(*) FROM vecdist.recover_prepared_transactions() GROUP BY 1 ORDER BY 1');
note "recovery: $recovered";

my ($on_w1, $on_w2, $on_coordinator) = map {
	my ($server, $table) = @$_;
	$server->safe_psql('postgres', "SELECT v FROM $table ORDER BY v COLLATE \"C\"")
} ([ $workers[0], 't_1' ], [ $workers[1], 't_2' ], [ $coordinator, 'here' ]);
my $count = () = $on_coordinator =~ /^/mg;

note "$count transactions have committed";
cmp_ok($count, '>', $rounds, 'transactions have committed');
is($on_w1, $on_coordinator, 'w1 and the coordinator have the same rows');
is($on_w2, $on_coordinator, 'w2 and the coordinator have the same rows');
unlike($on_coordinator . $on_w1 . $on_w2, qr/undone/, 'nothing undone is there');
foreach my $worker (@workers)
{
	is( $worker->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'),
		'0', 'nothing is left prepared on ' . $worker->name);
}
is( $coordinator->safe_psql('postgres',
		'SELECT count(*) FROM vecdist.dist_transaction'),
	'0', 'no commit record is left');

done_testing();

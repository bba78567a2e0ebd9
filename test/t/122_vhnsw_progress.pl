# pg_stat_progress_create_index shows all phases of a build, and its counts move
# and end with their totals.
#
# A build stops at debug points: in each phase, when some of it is done, and at
# its end.  In memory and in files, alone and with a worker, who waits meanwhile,
# so that some of each phase is left to the leader; and by searching.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use VecdistTest;

my $server = make_server('progress', conf => <<'CONF');
autovacuum = off
max_parallel_workers = 8
CONF

my $rows = 9000;
$server->safe_psql('postgres', 'CREATE EXTENSION vecdist');
load_clusters($server, 'items', $rows, 136, workers => 1);

# How to build, and what the index says of it
my %ways = (
	'in memory'    => [ q{SET maintenance_work_mem = '200MB'}, 'blocked' ],
	'in files'     => [ q{SET maintenance_work_mem = '8MB'},   'blocked in files' ],
	'by searching' => [ 'SET vhnsw.build_method = search',     'search' ]);

# Phases, what debug points in them are called, if there are any, and how many
# steps they have
my @phases = (
	[ 'sampling',            undef,     0 ],
	[ 'loading tuples',      'load',    0 ],
	[ 'clustering',          'assign',  $rows ],
	[ 'computing neighbors', 'join',    15 * $rows ],    # residents, and members of 14 leaves
	[ 'linking lists',       'choose',  2 * $rows ],
	[ 'learning sketches',   'project', $rows ],
	[ 'writing pages',       'write',   $rows ],
	[ 'writing WAL',         undef,     0 ]);
my @phases_by_searching =
  map { $_->[0] eq 'linking lists' ? [ 'linking lists', undef, $rows ] : $_ }
  grep { $_->[0] !~ /clustering|neighbors/ } @phases;

# ----------------------------------------------------------------------
# From point to point
# ----------------------------------------------------------------------

my $watcher = $server->background_psql('postgres');
my $gate    = $server->background_psql('postgres');    # holds the lock that the leader waits for
my $next    = $server->background_psql('postgres');    # will hold it after the leader
my $workers = $server->background_psql('postgres');    # holds that of workers

sub wait_for
{
	my ($sql, $what) = @_;

	foreach (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $watcher->query_safe("SELECT $sql") eq 't';
		usleep(10_000);
	}
	die "$what, which does not happen";
}

sub wait_for_leader
{
	my ($where) = @_;

	wait_for(q{EXISTS (SELECT FROM pg_stat_activity JOIN pg_stat_progress_create_index USING (pid) WHERE wait_event = 'advisory')},
		"the leader comes to the next point after $where");
	return;
}

# Locks are granted in the order in which they are asked for: the leader passes,
# and then the next session has the lock.
sub let_leader_pass
{
	$next->query_until(qr/asks/, "\\echo asks\nSELECT pg_advisory_lock(29795, 0);\n");
	wait_for(q{(SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND classid = 29795 AND objid = 0 AND NOT granted)},
		'a session asks for the lock');
	$gate->query_safe('SELECT pg_advisory_unlock(29795, 0)');
	$next->query_safe('SELECT');
	($gate, $next) = ($next, $gate);
	return;
}

# Returns what progress says: phase, steps done, all steps, share of blocks.
sub progress
{
	return split /\|/, $watcher->query_safe(<<'SQL');
SELECT replace(phase, 'building index: ', ''), tuples_done, tuples_total,
    CASE WHEN blocks_total > 0 THEN round(blocks_done / blocks_total::numeric, 3) ELSE 0 END
FROM pg_stat_progress_create_index
SQL
}

# ----------------------------------------------------------------------
# The builds
# ----------------------------------------------------------------------

# Where a build of these phases stops, in this order, as "name=action:n"
sub points
{
	my @steps = @_;
	my @points;

	foreach my $i (0 .. $#steps)
	{
		my (undef, $name) = @{ $steps[$i] };

		if ($name)
		{
			# The leader's third chunk, when the worker has not done its first
			push @points, "leader/vhnsw-build-$name=wait:" . ($name eq 'load' ? 10 : 3);
			push @points, "worker/vhnsw-build-$name=hold" if $name ne 'load';
		}

		# The first phase begins when initializing ends.
		push @points, $i < $#steps ? 'vhnsw-build-phase=wait:' . ($i + 2) : 'vhnsw-build-wal=wait';
	}
	return join ', ', @points;
}

sub watch_build
{
	my ($way, $nworkers) = @_;
	my ($setting, $method) = @{ $ways{$way} };
	my $name  = $nworkers ? "$way, a worker" : "$way, alone";
	my @steps = $method eq 'search' ? @phases_by_searching : @phases;
	my ($out, $err) = ('', '');
	my @settings = map { ('-c', $_) } (
		"SET vecdist.debug_points = '" . points(@steps) . q{'},
		$setting, "SET max_parallel_maintenance_workers = $nworkers", 'SET client_min_messages = warning');

	$server->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');
	$gate->query_safe('SELECT pg_advisory_lock(29795, 0)');
	my $build = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $server->connstr('postgres'), @settings,
			'-c', 'CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops) WITH (ef_construction = 32)' ],
		'>', \$out, '2>', \$err);

	foreach my $expected (@steps)
	{
		my ($phase, $point, $total) = @$expected;

		if ($point)
		{
			$workers->query_safe('SELECT pg_advisory_lock(29795, 1)');
			let_leader_pass();
			wait_for_leader("the beginning of '$phase'");
			my ($shown, $done, $of, $blocks) = progress();
			is($shown, $phase, "$name: phase '$phase'");
			is($of, $total, "$name, $phase: steps");
			cmp_ok($done, '>', 0, "$name, $phase: some are done");
			cmp_ok($done, '<', $total || $rows, "$name, $phase: not all");
			$workers->query_safe('SELECT pg_advisory_unlock(29795, 1)');
		}
		let_leader_pass() if $phase ne $steps[0][0];
		wait_for_leader("the middle of '$phase'");
		my ($shown, $done, $of, $blocks) = progress();
		is($shown, $phase, "$name: phase '$phase' to its end");
		is($done, $phase =~ /loading/ ? $rows : $total, "$name, $phase: all steps are done");
		is($of, $total, "$name, $phase: of all steps");
		cmp_ok($blocks, '==', 1, "$name, $phase: all blocks are read") if $phase =~ /loading/;
	}
	$gate->query_safe('SELECT pg_advisory_unlock(29795, 0)');
	$build->finish;
	is($err, '', "$name: no complaint");
	is($server->safe_psql('postgres', q{SELECT build_method, build_workers FROM vhnsw_info('items_v')}),
		"$method|$nworkers", "$name: how it was built");
	return;
}

foreach my $way ('in memory', 'in files')
{
	watch_build($way, $_) foreach 0, 1;
}
watch_build('by searching', 0);

done_testing();

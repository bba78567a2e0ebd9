# A build with workers may lose any of its processes in any phase.
#
# In memory and in files, and in each phase: a worker is killed, or the leader;
# a worker fails; the leader is canceled while workers wait in the middle of
# something.  The index that was to be built anew is as before, no temporary file
# and no other file is left but one that PostgreSQL itself leaves when a process
# was killed, and the server recovers.  A statement that times out and a
# temp_file_limit that is reached leave nothing either.  (How soon a build that is
# at work ends is in 121_vhnsw_cancel.pl.)

use strict;
use warnings;

use IPC::Run;
use Test::More;
use VecdistTest;

my $server = make_server('faults', conf => <<'CONF');
autovacuum = off
restart_after_crash = on
shared_buffers = 8MB
max_worker_processes = 8
max_parallel_workers = 8
max_parallel_maintenance_workers = 2
CONF

$server->safe_psql('postgres', 'CREATE EXTENSION vecdist');
load_clusters($server, 'items', 12000, 136, workers => 2);
$server->safe_psql('postgres', 'CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops); CHECKPOINT');
my $old_file = $server->safe_psql('postgres', q{SELECT pg_relation_filepath('items_v')});

# In memory, and in files
my %memory = (memory => '200MB', files => '10MB');

# What debug points are called, and what progress says
my %phases = (
	'worker-load'  => 'loading tuples',
	'assign'       => 'clustering',
	'join'         => 'computing neighbors',
	'choose'       => 'linking lists',
	'choose-again' => 'linking lists',
	'project'      => 'learning sketches',
	'write'        => 'writing pages',
);

my $gate = $server->background_psql('postgres');

# Build the index anew with these debug points and settings; "$act" is called
# meanwhile.  Returns what is said.
sub rebuild
{
	my ($where, $points, $act, @settings) = @_;
	my ($out, $err) = ('', '');
	my @commands = map { ('-c', $_) } (
		"SET vecdist.debug_points = '$points'", "SET maintenance_work_mem = '$memory{$where}'",
		@settings, 'REINDEX INDEX items_v');
	my $build = IPC::Run::start([ 'psql', '-XAtq', '-d', $server->connstr('postgres'), @commands ], '>', \$out, '2>', \$err);

	$act->() if $act;
	$build->finish;
	return $err;
}

my $files = relation_files($server);

sub all_as_before
{
	my ($name, $crashed) = @_;

	is($server->safe_psql('postgres', q{SELECT pg_relation_filepath('items_v')}), $old_file, "$name: the old index");
	return no_file_left($server, $name, \$files, $crashed);
}

# While rows are loaded, workers shall have come before the time is right;
# later, the leader waits in the phase for what happens to a worker.
sub points
{
	my ($phase, $action) = @_;
	my $point = "vhnsw-build-$phase";

	return "leader/vhnsw-build-load=wait, worker/$point=$action:22" if $phase eq 'worker-load';
	return "leader/$point=wait, worker/$point=$action";
}

sub hold_leader { return $gate->query_safe('SELECT pg_advisory_lock(29795, 0)'); }

sub let_load
{
	my ($phase) = @_;

	return if $phase ne 'worker-load';
	$server->poll_query_until('postgres', <<'SQL') or die 'workers do not come';
SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'parallel worker' AND wait_event = 'ParallelCreateIndexScan'
SQL
	$gate->query_safe('SELECT pg_advisory_unlock(29795, 0)');
	return;
}

sub release_gate { return $gate->query_safe('SELECT pg_advisory_unlock_all()'); }

foreach my $where (sort keys %memory)
{
	foreach my $phase (sort keys %phases)
	{
		my $name = "$where, $phase";

		# A worker fails.
		hold_leader();
		like(rebuild($where, points($phase, 'error'), sub { let_load($phase) }),
			qr/debug point "vhnsw-build-$phase" reached.*parallel worker/s, "$name: a worker fails");
		release_gate();
		all_as_before("$name: error");

		# The leader is canceled while workers wait.
		hold_leader();
		$gate->query_safe('SELECT pg_advisory_lock(29795, 1)');
		my ($temporary, $shown);
		my $said = rebuild($where, points($phase, 'hold'), sub {
			let_load($phase);
			$server->poll_query_until('postgres', <<'SQL') or die 'workers do not wait';
SELECT count(*) >= 1 FROM pg_stat_activity WHERE backend_type = 'parallel worker' AND wait_event = 'advisory'
SQL
			$temporary = $server->safe_psql('postgres', q{SELECT count(*) FROM pg_ls_dir('base/pgsql_tmp', true, false)});
			$shown = $server->safe_psql('postgres', q{SELECT phase FROM pg_stat_progress_create_index});
			$server->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index});
		});
		like($said, qr/canceling statement due to user request/, "$name: canceled");
		is($shown, "building index: $phases{$phase}", "$name: progress");
		cmp_ok($temporary, $where eq 'files' ? '>' : '==', 0, "$name: $temporary temporary files there were");
		release_gate();
		all_as_before("$name: canceled");

		# A worker is killed, then the leader.
		foreach my $victim (qw(worker leader))
		{
			my $log_end = -s $server->logfile;

			# Workers that wait leave something to do to the leader.
			$victim eq 'worker' ? hold_leader() : $gate->query_safe('SELECT pg_advisory_lock(29795, 1)');
			$said = rebuild($where,
				$victim eq 'worker' ? points($phase, 'crash') :
				$phase eq 'worker-load' ? 'leader/vhnsw-build-load=crash:93' :
				"leader/vhnsw-build-$phase=crash, worker/vhnsw-build-$phase=hold",
				sub { let_load($phase) if $victim eq 'worker' });
			like($said, qr/server closed the connection|terminating connection/, "$name: $victim killed");
			$server->wait_for_log(qr/all server processes terminated; reinitializing/, $log_end);
			wait_recovered($server) or die 'no recovery';
			$gate = $server->background_psql('postgres');
			all_as_before("$name: $victim killed", 1);
		}
	}
}

foreach my $where (sort keys %memory)
{
	like(rebuild($where, '', undef, q{SET statement_timeout = '100ms'}),
		qr/canceling statement due to statement timeout/, "$where: timeout");
	all_as_before("$where: timeout");
}

# Codes take 1.9 MB, the leaves of elements 0.6 for a time, lists 5.4, and
# projections some 2.
foreach my $limit (1000, 2300, 4000, 8000)
{
	like(rebuild('files', '', undef, "SET temp_file_limit = '${limit}kB'"),
		qr/temporary file size exceeds temp_file_limit/, "temp_file_limit of $limit kB");
	all_as_before("temp_file_limit of $limit kB");
}

is($server->safe_psql('postgres', q{SELECT count(*) FROM vhnsw_check('items_v', true)}), 0, 'the old index is whole');
is(rebuild('files', '', undef, "SET temp_file_limit = '20MB'"), '', 'and can be built anew');
is($server->safe_psql('postgres', q{SELECT build_method, build_workers FROM vhnsw_info('items_v')}),
	'blocked in files|2', 'by workers in files');

done_testing();

# CREATE INDEX by blocks keeps to maintenance_work_mem.
#
# A graph that does not fit goes to temporary files, and the index is the same,
# byte for byte, whatever the metric, the type, and the number of workers.  The
# process's own peak of memory is measured, without the pages of files and the
# shared buffers that it maps, and what it and workers have at a time.  Where
# memory does not suffice for all workers, fewer are taken.  Temporary files
# count against temp_file_limit, and go after that error, and after a cancel, an
# error and a crash in each phase.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use VecdistTest;

my $server = make_server('memory', conf => <<'CONF');
autovacuum = off
restart_after_crash = on
shared_buffers = 2MB
max_parallel_maintenance_workers = 0
CONF

# Clusters, rows that repeat others, NULLs
$server->safe_psql('postgres', 'CREATE EXTENSION vecdist');
load_clusters($server, 'items', 12000, 136, nulls => 301, workers => 4);
$server->safe_psql('postgres', 'INSERT INTO items SELECT id, v FROM items WHERE id % 100 = 0; CHECKPOINT');

# How the index was built
my $record = q{SELECT build_method, build_workers, build_memory_kb, build_inserted FROM vhnsw_info('items_v')};

my $l2 = 'CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops)';

# In which phase a build of files waits, or what it fails with
my @phases = qw(load assign hubs join choose choose-again project write);

# Of the session's own process, in kB
sub memory_of_process
{
	my $fields = join ' - ', map { "substring(status FROM '$_:\\s+(\\d+)')::integer" } @_;

	return "SELECT $fields FROM pg_read_file('/proc/' || pg_backend_pid() || '/status') status";
}

# Build with so much memory; returns what is said, the pages, and how many kB
# the leader and workers had at a time.
sub build
{
	my ($memory, $create, $settings) = @_;
	my $err;

	$settings //= '';
	$server->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');
	my $watch = start_watch();
	$server->psql(
		'postgres', qq{
SET client_min_messages = debug1;
SET maintenance_work_mem = '$memory';
$settings
$create;},
		stderr => \$err);
	my $most = end_watch($watch);
	return ($err, index_pages($server, 'items_v'), $most);
}

# By how many kB a build makes the private memory of its process grow.  The
# kernel keeps the peak of all memory, mapped code and shared buffers too, which
# come when they are first touched.  So the index is built twice: what a build
# touches has come before the second one has its peak, and is taken off as it is
# at the end.  (Missing may be what comes after that peak all the same, and a
# batch of pages for each processor and kind, in which the kernel counts.)
sub growth
{
	my ($memory, $create) = @_;

	$server->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');
	my ($before, $peak) = split /\n/, $server->safe_psql('postgres', join ';',
		memory_of_process('RssAnon'), "SET maintenance_work_mem = '$memory'",
		$create, 'DROP INDEX items_v', $create, memory_of_process(qw(VmHWM RssFile RssShmem)));
	return $peak - $before;
}

# What a process has besides once it has created any index (half a megabyte of
# catalogs), and what the kernel's batches may add
my $besides = 1000;

# See how much private memory, and how many segments that are shared, the
# processes have that the server starts from now on, every five milliseconds.
sub start_watch
{
	my ($postmaster) = slurp_file($server->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my $children = "/proc/$postmaster/task/$postmaster/children";
	my %others   = map { $_ => 1 } split ' ', slurp_file($children);
	my ($most, $done) = (0, 0);

	pipe(my $from, my $to) or die 'no pipe';
	my $pid = fork;
	return { pid => $pid, from => $from } if $pid;

	local $SIG{TERM} = sub { $done = 1 };
	while (!$done)
	{
		my ($kb, %segments) = (0);

		foreach my $process (grep { !$others{$_} } split ' ', slurp_file($children))
		{
			# It may end meanwhile.
			my ($status, $maps) = eval { map { slurp_file("/proc/$process/$_") } qw(status maps) };
			next unless ($status // '') =~ /^RssAnon:\s+(\d+)/m;
			$kb += $1;
			$segments{$3} = hex($2) - hex($1) while $maps =~ m{^(\w+)-(\w+) .*/dev/shm/PostgreSQL\.(\d+)}mg;
		}
		$kb += $_ / 1024 foreach grep { $_ != 16 * 1024 * 1024 } values %segments;
		$most = $kb if $kb > $most;
		usleep(5_000);
	}
	syswrite $to, int($most);
	require POSIX;
	POSIX::_exit(0);
}

# The most that was seen, in kB
sub end_watch
{
	my ($watch) = @_;

	kill 'TERM', $watch->{pid};
	sysread $watch->{from}, my $most, 100;
	waitpid $watch->{pid}, 0;
	return $most;
}

# What a build that ends early must not leave
my $files;

sub nothing_left
{
	my ($name, $killed) = @_;

	is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 'items_v'}),
		0, "$name: no index");
	return no_file_left($server, $name, \$files, $killed);
}

foreach my $create (
	$l2,
	'CREATE INDEX items_v ON items USING vhnsw (v vector_ip_ops)',
	'CREATE INDEX items_v ON items USING vhnsw (v vector_cosine_ops) WITH (m = 24)',
	'CREATE INDEX items_v ON items USING vhnsw ((v::halfvec(136)) halfvec_l2_ops)')
{
	my ($name) = $create =~ /(\w+)_ops/;
	my ($said, $in_memory) = build('200MB', $create);
	my $in_files;

	like($said, qr/planned for 1\d{4} rows.*, in memory, with 0 workers/, "$name: the plan");
	unlike($said, qr/temporary files|ERROR/, "$name: fits");
	like($server->safe_psql('postgres', $record), qr/^blocked\|0\|\d{5}\|0$/, "$name: vhnsw_info");
	($said, $in_files) = build('10MB', $create);
	like($said, qr/planned for 1\d{4} rows.*, in temporary files, with 0 workers/, "$name: the plan");
	like($said, qr/goes to temporary files/, "$name: does not fit");
	is($server->safe_psql('postgres', $record), 'blocked in files|0|10240|0', "$name: vhnsw_info");
	unlike($said, qr/ERROR|exceeds/, "$name: but can be built");
	is($in_files, $in_memory, "$name: the same index");
	cmp_ok($_, '<', 10240 + $besides, "$name: memory grew by $_ kB") foreach growth('10MB', $create);
	is($server->safe_psql('postgres', q{SELECT count(*) FROM vhnsw_check('items_v', true)}), 0, "$name: vhnsw_check");
	is(temporary_files($server), '', "$name: no temporary file");

	if ($name eq 'vector_l2' || $name eq 'vector_ip')
	{
		(undef, $in_files) = build('10MB', $create, q{SET vecdist.debug_pretend = 'vhnsw-many-links';});
		is($in_files, $in_memory, "$name: the same index, as if links were numbered past 2^32");
	}
	if ($create eq $l2)
	{
		(undef, $in_files) = build('10MB', $create, 'SET max_parallel_maintenance_workers = 2; SET max_parallel_workers = 0;');
		is($server->safe_psql('postgres', $record), 'blocked in files|0|10240|0', 'no worker started: vhnsw_info');
		is($in_files, $in_memory, 'no worker started: the same index');
	}
	foreach my $workers ($create eq $l2 ? (1, 2, 4) : 2)
	{
		my $memory = 10240 + 2048 * int($workers / 2);

		($said, $in_files, my $most) = build("${memory}kB", $create, "SET max_parallel_maintenance_workers = $workers;");
		cmp_ok($most, '<', $memory + 4000 * (1 + $workers), "$name: $workers workers and leader had $most kB");
		like($said, qr/planned for 1\d{4} rows.*, in temporary files, with $workers workers/, "$name: the plan with $workers");
		is($server->safe_psql('postgres', $record), "blocked in files|$workers|$memory|0", "$name: vhnsw_info of $workers");
		is($in_files, $in_memory, "$name: the same index with $workers workers");
		is(temporary_files($server), '', "$name: no temporary file with $workers workers");
	}
}

# Near the least that files need.  (Samples of codes, hubs, and what sketches are
# learned from would not fit beside the caches if they were not planned.)
foreach my $create ($l2, $l2 =~ s/l2/ip/r)
{
	my ($name) = $create =~ /(\w+)_ops/;
	my $most = (build('3200kB', $create))[2];

	is($server->safe_psql('postgres', $record), 'blocked in files|0|3200|0', "$name: in little memory");
	cmp_ok($most, '<', 3200 + 4300, "$name: in little memory, all in all $most kB");
	cmp_ok($_, '<', 3200 + $besides, "$name: in little memory it grew by $_ kB") foreach growth('3200kB', $create);
}

# Forty bytes for each row beside what a build takes anyway, some 2,200 kB, are
# enough for files.
load_clusters($server, 'small', 40000, 8, clusters => 90, width => 64, workers => 4);
my $small = 'CREATE INDEX items_v ON small USING vhnsw (v vector_l2_ops)';
my $in_memory = (build('200MB', $small))[1];
my ($said, $in_files) = build('3800kB', $small);
like($said, qr/planned for 4\d{4} rows.*, in temporary files/, 'short rows: the plan');
unlike($said, qr/ERROR|exceeds/, 'short rows: there is memory enough');
is($server->safe_psql('postgres', $record), 'blocked in files|0|3800|0', 'short rows: vhnsw_info');
is($in_files, $in_memory, 'short rows: the same index');
cmp_ok($_, '<', 3800 + $besides, "short rows: memory grew by $_ kB") foreach growth('3800kB', $small);

# With workers, of whom each has a process's own 3 to 4 MB
foreach my $case ([ 4600, 4, 0 ], [ 6200, 2, 1 ], [ 8600, 2, 2 ])
{
	my ($memory, $planned, $workers) = @$case;

	($said, $in_files, my $most) = build("${memory}kB", $small, "SET max_parallel_maintenance_workers = $planned;");
	is($server->safe_psql('postgres', $record), "blocked in files|$workers|$memory|0",
		"short rows: in $memory kB $workers of $planned workers");
	is($in_files, $in_memory, "short rows: the same index with $workers workers");
	cmp_ok($most, '<', $memory + 4000 * (1 + $workers), "short rows: $workers workers and leader had $most kB");
	cmp_ok($most, '>', $memory * 0.7, 'short rows: which was seen');
}

# TIDs of rows that are not in the graph, 3.6 MB of NULLs, are in a file too.
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE sparse (v vector(8)) WITH (parallel_workers = 0);
INSERT INTO sparse SELECT CASE WHEN n % 31 = 0 THEN (SELECT array_agg((hashint8extended(i, n) & 63)::float4)::vector FROM generate_series(1, 8) i) END
    FROM generate_series(1, 620000) n;
INSERT INTO sparse SELECT '[0,0,0,0,0,0,0,0]';
SQL
my $sparse = 'CREATE INDEX items_v ON sparse USING vhnsw (v vector_cosine_ops)';
cmp_ok($_, '<', 5200 + $besides, "NULLs: memory grew by $_ kB") foreach growth('5200kB', $sparse);
is($server->safe_psql('postgres', $record), 'blocked in files|0|5200|0', 'NULLs: vhnsw_info');
is($server->safe_psql('postgres', q{SELECT count(*) FROM vhnsw_check('items_v', true)}), 0, 'NULLs: vhnsw_check');

# Learning principal dimensions is part of the plan.  Without sketches there are
# none, and no room for the covariance of 1,500 dimensions (9 MB) is needed.
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE wide (v vector(600)) WITH (parallel_workers = 0);
INSERT INTO wide SELECT (SELECT array_agg((hashint8extended(i % 24, n) & 255)::float4 ORDER BY i)::vector FROM generate_series(1, 600) i)
    FROM generate_series(1, 4000) n;
CREATE TABLE wider (v vector(1500)) WITH (parallel_workers = 0);
INSERT INTO wider SELECT (SELECT array_agg((hashint8extended(i % 24, n) & 255)::float4 ORDER BY i)::vector FROM generate_series(1, 1500) i)
    FROM generate_series(1, 2000) n;
SQL
foreach my $case (
	[ 17900, 'wide',  '',                         1, 'enough' ],
	[ 7000,  'wide',  '',                         1, 'little' ],
	[ 17900, 'wide',  'WITH (storage = tiny)',    0, 'without sketches' ],
	[ 6000,  'wider', 'WITH (storage = tiny)',    0, 'tiny, many dimensions' ])
{
	my ($memory, $table, $options, $principal, $name) = @$case;
	my $create = "CREATE INDEX items_v ON $table USING vhnsw (v vector_l2_ops) $options";

	($said) = build("${memory}kB", $create);
	is($said =~ /principal dimensions keep/ ? 1 : 0, $principal, "principal dimensions: $name");
	cmp_ok($_, '<', $memory + $besides, "principal dimensions: $name: memory grew by $_ kB")
	  foreach growth("${memory}kB", $create);
}
$server->safe_psql('postgres', 'DROP TABLE wide, wider');

# ----------------------------------------------------------------------
# Builds that end early
# ----------------------------------------------------------------------

$server->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');
$files = relation_files($server);

my ($ret, $out, $err) = $server->psql('postgres', <<"SQL");
\\set VERBOSITY verbose
SET maintenance_work_mem = '10MB';
SET temp_file_limit = '1MB';
$l2
SQL
like($err, qr/53400.*temporary file size exceeds temp_file_limit/, 'temp_file_limit');
nothing_left('temp_file_limit');

# Only inner product has hubs.
sub build_with
{
	my ($point, $act) = @_;
	my $create = $point =~ /hubs/ ? $l2 =~ s/l2/ip/r : $l2;
	my ($said, $complaint) = ('', '');
	my $build = IPC::Run::start(
		[
			'psql', '-XAtq', '-d', $server->connstr('postgres'),
			'-c', "SET vecdist.debug_points = '$point'",
			'-c', q{SET maintenance_work_mem = '10MB'}, '-c', $create
		],
		'>', \$said, '2>', \$complaint);

	$act->() if $act;
	$build->finish;
	return $complaint;
}

# The debug point of a phase, and when it is in the middle of it.  All rows are
# loaded when 93 times 128 are.
sub point_of
{
	my ($phase) = @_;

	return ("vhnsw-build-$phase", $phase eq 'load' ? 93 : 3);
}

my $gate = $server->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(29795, 0)');
foreach my $phase (@phases)
{
	my ($point, $when) = point_of($phase);

	like(
		build_with(
			"$point=wait:$when",
			sub {
				$server->poll_query_until('postgres',
					q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE 'CREATE%'})
				  or die "$point is not reached";
				isnt(temporary_files($server), '', "$point: there are temporary files");
				$server->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index');
			}),
		qr/canceling statement due to user request/,
		"$point: canceled");
	nothing_left("$point, canceled");
	like(build_with("$point=error:$when"), qr/debug point "$point" reached/, "$point: error");
	nothing_left("$point, error");
}
$gate->quit;

foreach my $phase (@phases)
{
	my ($point, $when) = point_of($phase);
	my $log_end = -s $server->logfile;

	like(build_with("$point=crash:$when"), qr/server closed the connection|terminating connection/, "$point: killed");
	$server->wait_for_log(qr/all server processes terminated; reinitializing/, $log_end);
	wait_recovered($server) or die 'no recovery';
	nothing_left("$point, killed", 1);
}

done_testing();

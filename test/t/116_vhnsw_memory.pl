# CREATE INDEX by blocks keeps to maintenance_work_mem.
#
# A graph that does not fit goes to temporary files, and the index is the same,
# byte for byte, whatever the metric, the type, and the number of workers that
# were planned.  The process's own peak of memory is measured.  Temporary files
# count against temp_file_limit, and go after that error, after a cancel and an
# error in each phase, and after a crash.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $server = make_server('memory', conf => <<'CONF');
autovacuum = off
restart_after_crash = on
shared_buffers = 2MB
max_parallel_maintenance_workers = 0
CONF

# Clusters, rows that repeat others, NULLs
$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE TABLE items (id integer, v vector(136)) WITH (parallel_workers = 2);
INSERT INTO items SELECT n, (SELECT CASE WHEN n % 301 > 0 THEN
        array_agg((hashint8extended(i, n % 60) & 255)::float4 + (hashint8extended(i, n) & 127)::float4 ORDER BY i) END::vector
    FROM generate_series(1, 136) i) FROM generate_series(1, 12000) n;
INSERT INTO items SELECT id, v FROM items WHERE id % 100 = 0;
CHECKPOINT;
SQL

# How the index was built
my $record = q{SELECT build_method, build_workers, build_memory_kb, build_inserted FROM vhnsw_info('items_v')};

my $l2 = 'CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops)';

# In which phase a build of files waits, or what it fails with
my @phases = qw(load assign join choose choose-again project write);

# Build with so much memory; returns what is said, by how many kB memory grew,
# and the pages.
sub build
{
	my ($memory, $create, $settings) = @_;
	my $peak = q{SELECT (regexp_match(pg_read_file('/proc/' || pg_backend_pid() || '/status'), 'VmHWM:\s+(\d+)'))[1]};
	my ($out, $err);

	$settings //= '';
	$server->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');
	$server->psql(
		'postgres', qq{
SELECT count(*) FROM (SELECT v <-> v FROM items) s;
SET client_min_messages = debug1;
SET maintenance_work_mem = '$memory';
$settings
$peak;
$create;
$peak;},
		stdout => \$out,
		stderr => \$err);
	my (undef, $before, $after) = split /\n/, $out;
	return ($err, defined $after ? $after - $before : undef, index_pages($server, 'items_v'));
}

# What a build that ends early must not leave
sub nothing_left
{
	my ($name) = @_;

	is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 'items_v'}),
		0, "$name: no index");
	is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_ls_tmpdir()}), 0, "$name: no temporary file");
	return;
}

foreach my $create (
	$l2,
	'CREATE INDEX items_v ON items USING vhnsw (v vector_ip_ops)',
	'CREATE INDEX items_v ON items USING vhnsw (v vector_cosine_ops) WITH (m = 24)',
	'CREATE INDEX items_v ON items USING vhnsw ((v::halfvec(136)) halfvec_l2_ops)')
{
	my ($name) = $create =~ /(\w+)_ops/;
	my ($said, undef, $in_memory) = build('200MB', $create);
	my ($in_files, $grown);

	like($said, qr/planned for 1\d{4} rows.*, in memory, with 0 workers/, "$name: the plan");
	unlike($said, qr/temporary files|ERROR/, "$name: fits");
	like($server->safe_psql('postgres', $record), qr/^blocked\|0\|\d{5}\|0$/, "$name: vhnsw_info");
	($said, $grown, $in_files) = build('10MB', $create);
	like($said, qr/planned for 1\d{4} rows.*, in temporary files, with 0 workers/, "$name: the plan");
	like($said, qr/goes to temporary files/, "$name: does not fit");
	is($server->safe_psql('postgres', $record), 'blocked in files|0|10240|0', "$name: vhnsw_info");
	unlike($said, qr/ERROR|exceeds/, "$name: but can be built");
	is($in_files, $in_memory, "$name: the same index");
	cmp_ok($grown, '<', 10240 + 3000, "$name: memory grew by $grown kB");
	is($server->safe_psql('postgres', q{SELECT count(*) FROM vhnsw_check('items_v', true)}), 0, "$name: vhnsw_check");
	is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_ls_tmpdir()}), 0, "$name: no temporary file");

	if ($create eq $l2)
	{
		(undef, undef, $in_files) = build('10MB', $create, <<'SQL');
SET max_parallel_maintenance_workers = 2;
SET min_parallel_table_scan_size = 0;
SQL
		is($in_files, $in_memory, 'the same index where workers are allowed');
	}
}

# Sixty bytes for each row beside what a build takes anyway, some 3,300 kB, are
# enough for files.  (What malloc keeps of freed leaves counts in the peak.)
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE small (v vector(8));
INSERT INTO small SELECT (SELECT array_agg((hashint8extended(i, n % 90) & 255)::float4 + (hashint8extended(i, n) & 63)::float4 ORDER BY i)::vector
    FROM generate_series(1, 8) i) FROM generate_series(1, 40000) n;
SQL
my $small = 'CREATE INDEX items_v ON small USING vhnsw (v vector_l2_ops)';
my $in_memory = (build('200MB', $small))[2];
my ($said, $grown, $in_files) = build('5700kB', $small);
like($said, qr/planned for 4\d{4} rows.*, in temporary files/, 'short rows: the plan');
unlike($said, qr/ERROR|exceeds/, 'short rows: there is memory enough');
is($server->safe_psql('postgres', $record), 'blocked in files|0|5700|0', 'short rows: vhnsw_info');
is($in_files, $in_memory, 'short rows: the same index');
cmp_ok($grown, '<', 5700 + 5000, "short rows: memory grew by $grown kB");

# ----------------------------------------------------------------------
# Builds that end early
# ----------------------------------------------------------------------

$server->safe_psql('postgres', 'DROP INDEX items_v');

my ($ret, $out, $err) = $server->psql('postgres', <<"SQL");
\\set VERBOSITY verbose
SET maintenance_work_mem = '10MB';
SET temp_file_limit = '1MB';
$l2
SQL
like($err, qr/53400.*temporary file size exceeds temp_file_limit/, 'temp_file_limit');
nothing_left('temp_file_limit');

sub build_with
{
	my ($point, $act) = @_;
	my ($said, $complaint) = ('', '');
	my $build = IPC::Run::start(
		[
			'psql', '-XAtq', '-d', $server->connstr('postgres'),
			'-c', "SET vecdist.debug_points = '$point'",
			'-c', q{SET maintenance_work_mem = '10MB'}, '-c', $l2
		],
		'>', \$said, '2>', \$complaint);

	$act->() if $act;
	$build->finish;
	return $complaint;
}

my $gate = $server->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(29795, 0)');
foreach my $phase (@phases)
{
	my $point = "vhnsw-build-$phase";

	# All rows are loaded when 93 times 128 are.
	my $when = $phase eq 'load' ? 93 : 3;

	like(
		build_with(
			"$point=wait:$when",
			sub {
				$server->poll_query_until('postgres',
					q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE 'CREATE%'})
				  or die "$point is not reached";
				cmp_ok($server->safe_psql('postgres', q{SELECT count(*) FROM pg_ls_tmpdir()}),
					'>', 0, "$point: there are temporary files");
				$server->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index');
			}),
		qr/canceling statement due to user request/,
		"$point: canceled");
	nothing_left("$point, canceled");
	like(build_with("$point=error:$when"), qr/debug point "$point" reached/, "$point: error");
	nothing_left("$point, error");
}
$gate->quit;

foreach my $phase (qw(join write))
{
	my $point   = "vhnsw-build-$phase";
	my $log_end = -s $server->logfile;

	like(build_with("$point=crash:3"), qr/server closed the connection|terminating connection/, "$point: killed");
	$server->wait_for_log(qr/all server processes terminated; reinitializing/, $log_end);
	wait_recovered($server) or die 'no recovery';
	nothing_left("$point, killed");
}

done_testing();

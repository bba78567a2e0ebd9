# Workers help to build an index, which is the same without them.
#
# Builds with 0 to 4 workers give the same pages, byte for byte, by CREATE
# INDEX, REINDEX and CONCURRENTLY, of values in line, out of line and made by an
# expression; vhnsw_check() finds nothing.  Workers that
# do not start are not missed.  A cancel, an error in a worker and a worker
# that is killed end the build and leave nothing behind, after which the same
# build succeeds.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $server = make_server('parallel', conf => <<'CONF');
autovacuum = off
restart_after_crash = on
max_worker_processes = 8
max_parallel_workers = 8
CONF

# Clusters, rows that repeat others, NULLs, and zero vectors
$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE FUNCTION vec(n bigint) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN n % 11 = 0 THEN NULL WHEN n % 97 = 0 THEN array_fill(0::float4, '{16}')::vector
    ELSE array_agg(((hashint8extended(i, n % 20) & 1023) +
                    (hashint8extended(i, n - n % 5 * (n % 50 / 49)) & 255))::float4 / 1024)::vector END
    FROM generate_series(1, 16) i
$$;
CREATE TABLE items (id integer, v vector(16)) WITH (parallel_workers = 8);
INSERT INTO items SELECT n, vec(n) FROM generate_series(1, 7000) n;
INSERT INTO items SELECT id, v FROM items WHERE id % 3 = 0;
SQL

# Build with so many workers; returns what is said and the pages.
sub build
{
	my ($workers, $class, %params) = @_;
	my $create = $params{create} // "CREATE INDEX items_v ON items USING vhnsw (v $class)";
	my ($stdout, $stderr);

	$server->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v') unless $params{keep};
	$server->psql(
		'postgres', qq{
SET client_min_messages = debug1;
SET max_parallel_maintenance_workers = $workers;
SET maintenance_work_mem = '200MB';
@{[ $params{settings} // '' ]}
$create},
		stderr => \$stderr);
	unlike($stderr, qr/WARNING/, 'no warning');
	return ($stderr, index_pages($server, 'items_v'));
}

sub check_index
{
	my ($name) = @_;

	is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('items_v', true)}),
		'', "$name: vhnsw_check");
	is($server->safe_psql('postgres', q{SELECT unreachable FROM vhnsw_info('items_v')}),
		0, "$name: all reachable");
	return;
}

# What a build that ends early must not leave
sub check_nothing_left
{
	my ($name) = @_;

	ok( $server->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'parallel worker'}),
		"$name: no workers left");
	is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 'items_v'}),
		0, "$name: no index left");
	return;
}

# ----------------------------------------------------------------------
# The same index
# ----------------------------------------------------------------------

# L1 is linked by searching, the others by blocks.
my %first;
foreach my $class (qw(vector_l2_ops vector_cosine_ops vector_ip_ops vector_l1_ops))
{
	my ($said, $pages) = build(0, $class);

	$first{$class} = $pages;
	unlike($said, qr/planned workers/, "$class: no workers");
	like($said, qr/took [\d.]+ CPU seconds of the leader alone, [\d.]*[1-9]\d* of the leader during jobs, 0\.000 of workers/,
		"$class: CPU time");
	foreach my $workers ($class eq 'vector_l2_ops' ? (1, 2, 4) : 2)
	{
		($said, $pages) = build($workers, $class);
		like($said, qr/built with $workers of $workers planned/, "$class: $workers workers");
		like($said, qr/of the leader alone, .* of workers/, "$class: CPU time with $workers workers");
		is($pages, $first{$class}, "$class: the same index with $workers");
		is( $server->safe_psql('postgres', q{SELECT build_method, build_workers FROM vhnsw_info('items_v')}),
			($class eq 'vector_l1_ops' ? 'search' : 'blocked') . "|$workers",
			"$class: vhnsw_info knows of $workers workers");
	}
	check_index($class);
}

# Products of vectors that are equally long
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE directions (v vector(16)) WITH (parallel_workers = 8);
INSERT INTO directions SELECT l2_normalize(v) FROM items WHERE id % 97 <> 0;
SQL
my $directions = 'CREATE INDEX items_v ON directions USING vhnsw (v vector_ip_ops)';
my (undef, $unhelped) = build(0, '', create => $directions);
my (undef, $helped) = build(2, '', create => $directions);
is($helped, $unhelped, 'products of vectors that are equally long: the same index with 2');
check_index('products of vectors that are equally long');

# As if links were numbered past 2^32: in pieces, in one of which numbers begin
# anew
foreach my $class (qw(vector_l2_ops vector_ip_ops))
{
	foreach my $workers (0, 2)
	{
		my ($said, $pages) = build($workers, $class, settings => q{SET vecdist.debug_pretend = 'vhnsw-many-links';});

		is($pages, $first{$class}, "$class: the same index in pieces, with $workers");
	}
}

# As if no pair were left to another leaf: lists are the same
foreach my $class (qw(vector_l2_ops vector_ip_ops))
{
	my ($said, $pages) = build(2, $class, settings => q{SET vecdist.debug_pretend = 'vhnsw-pairs-twice';});

	is($pages, $first{$class}, "$class: the same index if pairs are compared twice");
}

# As if there were more vectors than leaves have places
foreach my $class (qw(vector_l2_ops vector_ip_ops))
{
	my $said;

	$server->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');
	$server->psql('postgres', <<"SQL", stderr => \$said);
\\set VERBOSITY verbose
SET vecdist.debug_pretend = 'vhnsw-many-members';
SET max_parallel_maintenance_workers = 2;
CREATE INDEX items_v ON items USING vhnsw (v $class);
SQL
	like($said, qr/54000.*too many vectors to build an index by clusters.*HINT:.*vhnsw.build_method/s,
		"$class: too many vectors");
	check_nothing_left("$class: too many vectors");
}

my %variants = (
	'REINDEX' => { create => 'REINDEX INDEX items_v', keep => 1 },
	'CREATE INDEX CONCURRENTLY' =>
	  { create => 'CREATE INDEX CONCURRENTLY items_v ON items USING vhnsw (v vector_l2_ops)' },
	'REINDEX CONCURRENTLY' => { create => 'REINDEX INDEX CONCURRENTLY items_v', keep => 1 },
	'in a transaction' => { settings => 'BEGIN;', create => <<'SQL' },
TRUNCATE items;
INSERT INTO items SELECT n, vec(n) FROM generate_series(1, 7000) n;
INSERT INTO items SELECT id, v FROM items WHERE id % 3 = 0;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
COMMIT;
SQL
);

build(0, 'vector_l2_ops');
foreach my $name (sort keys %variants)
{
	my ($said, $pages) = build(2, 'vector_l2_ops', %{ $variants{$name} });

	like($said, qr/built with 2 of 2 planned/, "$name: workers");
	is($pages, $first{vector_l2_ops}, "$name: the same index");
}
check_index('variants');

# Where clusters help little: several rounds, and large leaves divided again
my @settings = (settings => 'SET vhnsw.build_method = blocked;');
$server->safe_psql('postgres', <<'SQL');
TRUNCATE items;
INSERT INTO items SELECT n, (SELECT array_agg((hashint8extended(i, n) &
        CASE WHEN n % 8 = 0 THEN 255 ELSE 3 END)::float4)::vector FROM generate_series(1, 16) i) FROM generate_series(1, 9000) n;
SQL
my (undef, $alone) = build(0, 'vector_l2_ops', @settings);
is((build(3, 'vector_l2_ops', @settings))[1], $alone, 'uneven leaves: the same index');

# Where they do not help at all, elements are linked by searching, and have new
# numbers already; in files, by what lists hold after all rounds.
my $no_clusters = q{SET vhnsw.build_method = blocked; SET vecdist.debug_pretend = 'vhnsw-no-clusters';};
my %searched;
foreach my $case ([ '200MB', 0, 'search', '' ], [ '200MB', 2, 'search', '' ], [ '4MB', 0, 'blocked in files', 't' ])
{
	my ($memory, $workers, $method, $few) = @$case;
	my $name = "no clusters, $memory, $workers workers";

	my ($said, $pages) = build($workers, 'vector_l2_ops', settings => "$no_clusters SET maintenance_work_mem = '$memory';");
	is($server->safe_psql('postgres', q{SELECT build_method, build_workers, list_recall < 0.3 FROM vhnsw_info('items_v')}),
		"$method|$workers|$few", "$name: how it was built");
	my ($notice) = $said =~ /NOTICE: +(.* are linked by searching|vectors of .* were clustered 4 times)/;
	is($notice, $method eq 'search' ? 'elements of index "items_v" are linked by searching' :
		'vectors of index "items_v" were clustered 4 times', "$name: notice");
	check_index($name);
	is($pages, $searched{$method} //= $pages, "$name: the same index");
}

# Values out of line, which workers fetch, and values that an expression makes,
# of which few have room in a batch.
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE short AS SELECT * FROM items;
TRUNCATE items;
ALTER TABLE items ALTER v TYPE vector(2000), ALTER v SET STORAGE EXTERNAL, ADD s sparsevec(1000000);
INSERT INTO items SELECT n, CASE WHEN n % 10 > 0 THEN (SELECT array_agg((hashint8extended(i, n % 600) & 1023)::float4)::vector FROM generate_series(1, 2000) i) END,
    format('{%s}/1000000', (SELECT string_agg(i || ':' || n + i, ',') FROM generate_series(1, CASE n WHEN 700 THEN 16000 ELSE n % 7 END) i))::sparsevec
    FROM generate_series(1, 1500) n;
SQL
foreach my $indexed (
	'v vector_l2_ops',
	'(v + v)::vector(2000) vector_cosine_ops',
	's sparsevec_ip_ops',
	'binary_quantize(v - array_fill(512::float4, ARRAY[2000])::vector)::bit(2000) bit_hamming_ops')
{
	my $column = $indexed =~ s/^(.*) (\w+)$/($1) $2/r;
	my $create = "CREATE INDEX items_v ON items USING vhnsw ($column)";

	(undef, $alone) = build(0, '', create => $create);
	my ($said, $pages) = build(2, '', create => $create);
	like($said, qr/built with 2 of 2 planned/, "$indexed: workers");
	is($pages, $alone, "$indexed: the same index");
	check_index($indexed);
}
$server->safe_psql('postgres', <<'SQL');
DROP INDEX items_v;
TRUNCATE items;
ALTER TABLE items ALTER v TYPE vector(16), DROP s;
INSERT INTO items SELECT * FROM short;
SQL
(undef, $alone) = build(0, 'vector_l2_ops', @settings);

# Workers have logged the pages that they wrote.
(undef, $alone) = build(0, 'vector_l2_ops');
$server->safe_psql('postgres', <<'SQL');
DROP INDEX items_v;
CHECKPOINT;
SET max_parallel_maintenance_workers = 2;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
SQL
$server->stop('immediate');
$server->start;
is(index_pages($server, 'items_v'), $alone, 'the same index after a crash');
check_index('after a crash');

# ----------------------------------------------------------------------
# No workers
# ----------------------------------------------------------------------

my ($said, $pages) = build(2, 'vector_l2_ops', settings => 'SET max_parallel_workers = 0;');
like($said, qr/built with 0 of 2 planned/, 'no worker started');
is($pages, $alone, 'no worker started: the same index');

# Workers that the system has no process for: the build does not go on to its
# end before it says so.
{
	my $session = $server->background_psql('postgres', on_error_stop => 0);
	my ($postmaster) = slurp_file($server->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my ($limit) = slurp_file("/proc/$postmaster/limits") =~ /^Max processes\s+(\w+)/m;

	$server->safe_psql('postgres', 'DROP INDEX items_v');
	$session->query_safe(q{SET max_parallel_maintenance_workers = 2; SET vecdist.debug_points = 'vhnsw-build-write=error'});
	system_or_bail('prlimit', '--pid', $postmaster, '--nproc=1:');
	$session->query('CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops)');
	system_or_bail('prlimit', '--pid', $postmaster, "--nproc=$limit:");
	like($session->{stderr}, qr/parallel worker of an index build could not be started/, 'no process for workers');
	$session->quit;
	check_nothing_left('no process for workers');
}

# Without parallel_workers each process shall have 32 MB.
$server->safe_psql('postgres', 'ALTER TABLE items RESET (parallel_workers)');
foreach my $case ([ '63MB', 0 ], [ '64MB', 1 ], [ '96MB', 2 ], [ '1GB', 2 ])
{
	my ($memory, $workers) = @$case;

	($said) = build(2, 'vector_l2_ops',
		settings => "SET maintenance_work_mem = '$memory'; SET min_parallel_table_scan_size = 0;");
	like($said, qr/is planned for .* with $workers workers/, "$memory: $workers workers");
}

# With it so many come, if max_parallel_maintenance_workers allows it.
foreach my $case ([ 0, 0 ], [ 1, 1 ], [ 8, 2 ])
{
	my ($wanted, $workers) = @$case;

	$server->safe_psql('postgres', "ALTER TABLE items SET (parallel_workers = $wanted)");
	build(2, 'vector_l2_ops', settings => 'SET min_parallel_table_scan_size = 0;');
	is($server->safe_psql('postgres', q{SELECT build_workers FROM vhnsw_info('items_v')}), $workers, "parallel_workers = $wanted");
}

($said, $pages) = build(2, 'vector_l2_ops', create => <<'SQL');
CREATE TEMP TABLE temporary (id integer, v vector(16)) WITH (parallel_workers = 2);
INSERT INTO temporary SELECT * FROM items;
CREATE INDEX temporary_v ON temporary USING vhnsw (v vector_l2_ops);
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
SELECT 1 / count(*)::int FROM (SELECT 1 FROM vhnsw_check('temporary_v', true) HAVING count(*) = 0) s;
SQL
unlike($said, qr/"temporary_v" is built with/, 'temporary table: no workers');
unlike($said, qr/ERROR/, 'temporary table: vhnsw_check');

# A function that parallel mode forbids does not run in it.
($said) = build(2, '', create => <<'SQL');
CREATE FUNCTION unsafe(vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE
    AS 'BEGIN RETURN $1 + $1; END';
CREATE INDEX items_v ON items USING vhnsw ((unsafe(v)::vector(16)) vector_l2_ops) WHERE id > 10;
SQL
unlike($said, qr/planned workers|ERROR/, 'unsafe expression: no workers');
check_index('unsafe expression');

# Rows that do not fit are inserted into pages, when workers have gone home.
# (By blocks, they would go to temporary files: 116_vhnsw_memory.pl.)
($said) = build(2, 'vector_l2_ops', settings => q{SET maintenance_work_mem = '2MB'; SET vhnsw.build_method = search;});
like($said, qr/built with 2 of 2 planned/, 'little memory: workers');
like($said, qr/exceeds maintenance_work_mem after \d+ rows/, 'little memory: notice');
my ($planned) = $said =~ /takes at most (\d+) kB of 2048 kB/;
cmp_ok($planned, '<=', 2048, 'little memory: what is in memory fits');
cmp_ok($planned, '>',  1600, 'little memory: it is used');
my ($fitting) = $said =~ /exceeds maintenance_work_mem after (\d+) rows/;
is($server->safe_psql('postgres', <<'SQL'), "search|2|$planned|$fitting|t", 'little memory: vhnsw_info');
SELECT build_method, build_workers, build_memory_kb, rows - build_inserted, build_seconds > 0 FROM vhnsw_info('items_v')
SQL
check_index('little memory');
my ($enough) = $said =~ /HINT:  Set maintenance_work_mem to (\d+) MB or more/;
cmp_ok($enough, '>', 2, 'little memory: what would be enough');
cmp_ok($enough, '<', 20, 'little memory: and not much more');
($said) = build(2, 'vector_l2_ops', settings => qq{SET maintenance_work_mem = '${enough}MB'; SET vhnsw.build_method = search;});
unlike($said, qr/exceeds maintenance_work_mem/, 'as much memory as the hint says');

# ----------------------------------------------------------------------
# Cancel, error, crash
# ----------------------------------------------------------------------

my $create = 'CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops)';
my $gate   = $server->background_psql('postgres');
my ($kb) = (build(2, 'vector_l2_ops'))[0] =~ /takes at most (\d+) kB/;

# Start a build that stops at a point, let "$act" find it there, and say what
# became of it.
sub interrupt
{
	my ($points, $act) = @_;
	my ($out, $err) = ('', '');

	$server->safe_psql('postgres', 'DROP INDEX IF EXISTS items_v');
	my $build = IPC::Run::start(
		[
			'psql', '-XAtq', '-d', $server->connstr('postgres'),
			'-c', "SET vecdist.debug_points = '$points'",
			'-c', 'SET max_parallel_maintenance_workers = 2',
			'-c', $create
		],
		'>', \$out, '2>', \$err);
	$act->() if $act;
	$build->finish;
	return $err;
}

# Once the leader waits after the launch, workers wait for the first job, so
# that what shall happen to them does.
sub release_leader
{
	my ($crash) = @_;

	ok( $server->poll_query_until('postgres', <<'SQL'), 'workers wait for the leader');
SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'parallel worker'
    AND wait_event = 'ParallelCreateIndexScan'
SQL
	return $gate->query_safe('SELECT pg_advisory_unlock(29795, 0)') if !$crash;

	# The server may be down before anybody has an answer.
	$server->psql('postgres', <<'SQL');
SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 29795 AND objid = 0 AND granted
SQL
	return;
}

sub hold_leader { return $gate->query_safe('SELECT pg_advisory_lock(29795, 0)'); }

# In the first job, and in a later one
foreach my $time (1, 15)
{
	hold_leader();
	like(interrupt("vhnsw-build-launched=wait, vhnsw-build-worker=error:$time", \&release_leader),
		qr/debug point "vhnsw-build-worker" reached.*parallel worker/s,
		"an error in job $time of a worker");
	check_nothing_left('error');
}

# While rows are loaded
hold_leader();
like(interrupt('vhnsw-build-launched=wait, vhnsw-build-worker-load=error:2', \&release_leader),
	qr/debug point "vhnsw-build-worker-load" reached.*parallel worker/s,
	'an error in a worker that loads');
check_nothing_left('error while loading');

# What the leader shares with workers in the job that takes most is within what
# was planned; leaves in work take the rest.
sub check_shared_memory
{
	my $pid = $server->safe_psql('postgres',
		q{SELECT leader_pid FROM pg_stat_activity WHERE backend_type = 'parallel worker' LIMIT 1});
	my $bytes = 0;

	foreach my $line (split /\n/, slurp_file("/proc/$pid/maps"))
	{
		# All but the one that tells workers what to do
		next unless $line =~ m{^(\w+)-(\w+) .*/dev/shm/PostgreSQL\.};
		my $size = hex($2) - hex($1);
		$bytes += $size if $size != 16 * 1024 * 1024;
	}
	note("$bytes of $kb kB");
	cmp_ok($bytes, '<', $kb * 1024,       'shared memory is less than planned');
	cmp_ok($bytes, '>', $kb * 1024 * 0.3, 'shared memory is a good part of it');
	return;
}

# The leader is canceled where it waits for a worker that does not end its job.
foreach my $victim ('client backend', 'parallel worker')
{
	hold_leader();
	$gate->query_safe('SELECT pg_advisory_lock(29795, 1)');
	my $said = interrupt(
		'vhnsw-build-launched=wait, vhnsw-build-worker=hold:14',
		sub {
			release_leader();
			$server->poll_query_until('postgres', <<'SQL') or die 'workers do not wait';
SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'parallel worker' AND wait_event = 'advisory'
SQL
			check_shared_memory();
			$server->safe_psql('postgres', $victim eq 'client backend' ?
				q{SELECT pg_cancel_backend(leader_pid) FROM pg_stat_activity WHERE backend_type = 'parallel worker'} :
				q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'parallel worker' LIMIT 1});
		});
	$gate->query_safe('SELECT pg_advisory_unlock(29795, 1)');
	like($said, qr/canceling statement due to user request|terminating .* due to administrator command/,
		"a $victim is stopped");
	check_nothing_left("$victim stopped");
}

# Killed as if by the kernel for want of memory
foreach my $point ('vhnsw-build-worker=crash:5', 'vhnsw-build-worker-load=crash:2')
{
	hold_leader();
	my $log_end = -s $server->logfile;
	like(interrupt("vhnsw-build-launched=wait, $point", sub { release_leader(1) }),
		qr/server closed the connection|terminating connection/, "$point: a worker is killed");
	$server->wait_for_log(qr/all server processes terminated; reinitializing/, $log_end);
	wait_recovered($server) or die 'no recovery';
	check_nothing_left("$point: killed");
	$gate = $server->background_psql('postgres');
}

($said, $pages) = build(2, 'vector_l2_ops');
like($said, qr/built with 2 of 2 planned/, 'built after all that');
is($pages, $alone, 'the same index after all that');
check_index('after all that');

done_testing();

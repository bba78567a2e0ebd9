# CREATE INDEX by blocks can be watched, canceled, and killed in each phase.
#
# A build waits at a debug point in each phase: pg_stat_progress_create_index
# names the phase and has counted some of it, a cancel ends the build, and
# nothing is left.  So after an error, and after the backend was killed, there.
# WAL is as large as the index, and with wal_level = minimal there is none, and yet
# an index that workers helped to build is there after a crash.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $server = make_server('build', conf => <<'CONF');
autovacuum = off
restart_after_crash = on
max_parallel_maintenance_workers = 0
CONF

$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE TABLE items (id integer, v vector(160));
INSERT INTO items SELECT n, (SELECT array_agg((hashint8extended(i, n % 40) & 1023)::float4 +
                                              (hashint8extended(i, n) & 127)::float4 ORDER BY i)::vector
                             FROM generate_series(1, 160) i)
    FROM generate_series(1, 3000) n;
CHECKPOINT;
SQL

my $create = 'CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops)';

# Build with this debug point; "$act", if given, is called meanwhile.  Returns
# what the build says.  Only inner product has hubs.
sub build_with
{
	my ($point, $act) = @_;
	my $command = $point =~ /hubs/ ? $create =~ s/l2/ip/r : $create;
	my ($out, $err) = ('', '');
	my $build = IPC::Run::start(
		[
			'psql', '-XAtq', '-d', $server->connstr('postgres'),
			'-c', "SET vecdist.debug_points = '$point'", '-c', $command
		],
		'>', \$out, '2>', \$err);

	$act->() if $act;
	$build->finish;
	return $err;
}

# Neither in the catalogs nor in files
my $files = relation_files($server);

sub nothing_left
{
	my ($name, $killed) = @_;

	is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 'items_v'}),
		0, "$name: no index");
	return no_file_left($server, $name, \$files, $killed);
}

my @phases = (
	[ 'load',         'loading tuples' ],
	[ 'assign',       'clustering' ],
	[ 'hubs',         'clustering' ],
	[ 'join',         'computing neighbors' ],
	[ 'choose',       'linking lists' ],
	[ 'choose-again', 'linking lists' ],
	[ 'project',      'learning sketches' ],
	[ 'write',        'writing pages' ],
);

my $gate = $server->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(29795, 0)');

foreach my $phase (@phases)
{
	my ($point, $name) = ("vhnsw-build-$phase->[0]", $phase->[1]);
	my $said = build_with(
		"$point=wait:3",
		sub {
			ok( $server->poll_query_until('postgres', <<"SQL"), "$point: progress");
SELECT count(*) = 1 FROM pg_stat_progress_create_index JOIN pg_stat_activity USING (pid)
WHERE phase = 'building index: $name' AND tuples_done > 0
    AND (tuples_done < tuples_total OR tuples_total = 0) AND wait_event = 'advisory'
SQL
			$server->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index');
		});
	like($said, qr/canceling statement due to user request/, "$point: canceled");
	nothing_left("$point, canceled");
	like(build_with("$point=error:3"), qr/debug point "$point" reached/, "$point: error");
	nothing_left("$point, error");
}
$gate->quit;

# When pages are written, before and after the last WAL
my @last = map { "vhnsw-build-$_" } qw(pages wal);
foreach my $point (@last)
{
	like(build_with("$point=error"), qr/debug point "$point" reached/, "$point: error");
	nothing_left("$point, error");
}

foreach my $at ((map { "vhnsw-build-$_->[0]=crash:3" } @phases), map { "$_=crash" } @last)
{
	my ($point) = $at =~ /(.*)=/;
	my $log_end = -s $server->logfile;

	like(build_with($at), qr/server closed the connection|terminating connection/,
		"$point: killed");
	$server->wait_for_log(qr/all server processes terminated; reinitializing/, $log_end);
	wait_recovered($server) or die 'no recovery';
	nothing_left("$point, killed", 1);
}

# The WAL of a build that succeeds, and its index, in bytes
sub wal_and_size
{
	return split /\|/, ($server->safe_psql('postgres', <<"SQL") =~ s/\n/|/r);
DROP INDEX IF EXISTS items_v;
SELECT pg_current_wal_insert_lsn() - '0/0' AS before \\gset
$create;
SELECT pg_current_wal_insert_lsn() - '0/0' - :before;
SELECT pg_relation_size('items_v');
SQL
}

my ($wal, $size) = wal_and_size();
cmp_ok($wal, '<=', 1.03 * $size, "WAL: $wal bytes for $size");
is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('items_v', true)}), '', 'vhnsw_check');

$server->append_conf('postgresql.conf', <<'CONF');
wal_level = minimal
max_wal_senders = 0
archive_mode = off
max_parallel_maintenance_workers = 2
CONF
$server->restart;
$server->safe_psql('postgres', 'ALTER TABLE items SET (parallel_workers = 2)');
($wal, $size) = wal_and_size();
cmp_ok($wal, '<', 0.05 * $size, "minimal WAL: $wal bytes for $size");

# What leader and workers wrote is on disk nevertheless.
$server->stop('immediate');
$server->start;
is($server->safe_psql('postgres', q{SELECT build_method, build_workers, rows FROM vhnsw_info('items_v')}),
	'blocked|2|3000', 'minimal WAL: after a crash');
is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('items_v', true)}), '', 'minimal WAL: vhnsw_check');

done_testing();

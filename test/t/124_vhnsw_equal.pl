# An index does not depend on how many processes build it, nor on whether they
# have memory enough.
#
# Each kind of codes, of 8 and 4 bits, under each metric that is linked by
# blocks, for vectors and halfvecs: built alone in memory, and then, in memory
# and in files, with 1, 2 or 4 workers, the pages are the same, byte for byte.
# Each class is tried in each storage, with one number of workers in memory and
# another one in files; over all classes each storage meets each number in both.
# (Of other rows: 106_vhnsw_parallel.pl, 116_vhnsw_memory.pl; of more
# dimensions, 120_vhnsw_principal.pl.)
#
# And likewise where processes make parts of one block, in another order.

use strict;
use warnings;

use Test::More;
use VecdistTest;

my $server = make_server('equal', conf => <<'CONF');
autovacuum = off
max_worker_processes = 8
max_parallel_workers = 8
CONF

# Clusters, rows that repeat others, NULLs
$server->safe_psql('postgres', 'CREATE EXTENSION vecdist');
load_clusters($server, 'items', 12000, 48, clusters => 40, from => -128, nulls => 97, repeats => 50, workers => 4);

my @classes = (
	[ 'v',                 'vector_l2_ops' ],
	[ 'v',                 'vector_cosine_ops' ],
	[ 'v',                 'vector_ip_ops' ],
	[ '(v::halfvec(48))', 'halfvec_l2_ops' ]);
my @storages = ([ 'auto', 8 ], [ 'compact', 4 ], [ 'tiny', 4 ]);
my @workers  = (1, 2, 4);

# Not enough for a graph in memory, but for so many workers in files: one MB more
# than that takes, two with four workers.
my %little = (1 => '7MB', 2 => '9MB', 4 => '14MB');

# Build with so many workers; returns the pages, and how it was built.
sub build
{
	my ($create, $workers, $memory) = @_;

	$server->safe_psql('postgres', <<"SQL");
SET client_min_messages = warning;
DROP INDEX IF EXISTS items_v;
SET maintenance_work_mem = '$memory';
SET max_parallel_maintenance_workers = $workers;
$create;
SQL
	return (
		index_pages($server, 'items_v'),
		$server->safe_psql('postgres', q{SELECT build_method, build_workers, bits_per_dimension FROM vhnsw_info('items_v')}));
}

foreach my $i (0 .. $#classes)
{
	my ($value, $class) = @{ $classes[$i] };

	foreach my $j (0 .. $#storages)
	{
		my ($storage, $bits) = @{ $storages[$j] };
		my $create = "CREATE INDEX items_v ON items USING vhnsw ($value $class) WITH (storage = $storage, code_bits = $bits)";
		my $name   = "$class, $storage";
		my ($alone, $how) = build($create, 0, '200MB');

		is($how, "blocked|0|$bits", "$name: alone, in memory");
		foreach my $method ('blocked', 'blocked in files')
		{
			my $in_files = $method =~ /files/ ? 1 : 0;
			my $workers  = $workers[ ($i + $j + $in_files) % @workers ];

			(my $pages, $how) = build($create, $workers, $in_files ? $little{$workers} : '200MB');
			is($how,   "$method|$workers|$bits", "$name: $method, $workers workers");
			is($pages, $alone,                   "$name: $method, $workers workers: the same index");
		}
	}
}

# Nor does the basis of sketches depend on who makes which dimensions of the
# sample, and when.  The leader stops before it makes some; a worker makes all of
# the others, the last ones too, before the leader goes on.
my $create = 'CREATE INDEX items_v ON wide USING vhnsw (v vector_l2_ops)';
my $gate   = $server->background_psql('postgres');
my $points = 'leader/vhnsw-build-sample=wait, worker/vhnsw-build-sample=hold';

# In so few dimensions that half as many are worth a basis
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE wide (v vector(128)) WITH (parallel_workers = 1);
INSERT INTO wide SELECT (SELECT array_agg(CASE WHEN i % 4 = 0 THEN hashint8extended(i, n) & 255 ELSE 0 END::float4)::vector FROM generate_series(1, 128) i)
FROM generate_series(1, 2000) n;
SQL
my ($alone) = build($create, 0, '200MB');
is($server->safe_psql('postgres', q{SELECT sketch_dimensions FROM vhnsw_info('items_v')}), 64, 'sample: there is a basis');

$gate->query_safe('SELECT pg_advisory_lock(29795, 0), pg_advisory_lock(29795, 1)');
$server->safe_psql('postgres', 'DROP INDEX items_v');
my $session = $server->background_psql('postgres');

$session->query_safe("SET vecdist.debug_points = '$points'; SET max_parallel_maintenance_workers = 1");
$session->query_until(qr/begins/, "\\echo begins\n$create;\n");
ok( $server->poll_query_until('postgres', <<'SQL'), 'sample: leader and worker have some dimensions each');
SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND classid = 29795 AND NOT granted
SQL
$gate->query_safe('SELECT pg_advisory_unlock(29795, 1)');
ok( $server->poll_query_until('postgres', <<'SQL'), 'sample: the worker has all the others');
SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'parallel worker' AND wait_event = 'ParallelCreateIndexScan'
SQL
$gate->query_safe('SELECT pg_advisory_unlock(29795, 0)');
$session->query_safe('SELECT 1');
is($server->safe_psql('postgres', q{SELECT build_workers FROM vhnsw_info('items_v')}), 1, 'sample: built with a worker');
is(index_pages($server, 'items_v'), $alone, 'sample: the same index');
$session->quit;
$gate->quit;

done_testing();

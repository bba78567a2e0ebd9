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

done_testing();

# Indexes take the bytes for a vector that the README of vhnsw says, section
# "Edges", for each number of dimensions and each storage, with the dimensions
# of sketches that it says.
#
# Vectors that vary in few dimensions only, so that the usual sketches do, with
# 2 bits; the numbers are read from that table.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my @storages = qw(auto fast compact tiny);
my $rows = 1100;    # four for each dimension of the largest sketches

# dims => [ bytes and d' of each storage ]
my %expected;
my $readme = slurp_file('src/vhnsw/README');
my ($table) = $readme =~ /^Bytes for a vector \(8,192.*?\n\n(.*?)\n\n/ms
  or die 'the table is not in the README';
foreach my $line (split /\n/, $table)
{
	next if $line !~ /^\s*(\d+)\s{2,}(.*\d)\s*$/;
	my ($dims, @cells) = ($1, split /\s{2,}/, $2);
	my @numbers = map { [/[\d,]+/g] } "@cells";
	@numbers = map { tr/,//dr } @{ $numbers[0] };

	# bytes, d' with 2 bits and with 1 for three of them; tiny has no sketches
	is(scalar @numbers, 10, "$dims dimensions: a row of the table");
	$expected{$dims} = {
		auto    => join('|', @numbers[ 0, 1 ]),
		fast    => join('|', @numbers[ 3, 4 ]),
		compact => join('|', @numbers[ 6, 7 ]),
		tiny    => "$numbers[9]|0" };
}
cmp_ok(scalar keys %expected, '>=', 7, 'the table has been read');

my $server = make_server('sizes', conf => "autovacuum = off\nmax_parallel_maintenance_workers = 0\n");
$server->safe_psql('postgres', <<"SQL");
CREATE EXTENSION vecdist;
CREATE TABLE few AS
SELECT n, (SELECT array_agg(sin(i * i * n * 0.37::float8) / i) FROM generate_series(1, 24) i) AS x
FROM generate_series(1, $rows) n;
SQL

foreach my $dims (sort { $a <=> $b } keys %expected)
{
	$server->safe_psql('postgres', <<"SQL");
DROP TABLE IF EXISTS items;
CREATE TABLE items AS
SELECT (x || array_fill(0::float8, ARRAY[$dims - 24]))::vector($dims) AS v FROM few;
SQL
	foreach my $storage (@storages)
	{
		$server->safe_psql('postgres', <<"SQL");
DROP INDEX IF EXISTS items_v;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops) WITH (storage = $storage);
SQL
		is( $server->safe_psql('postgres', <<"SQL"),
SELECT round(8192.0 / elements_per_page), sketch_dimensions FROM vhnsw_info('items_v')
SQL
			$expected{$dims}{$storage}, "$dims dimensions, $storage: bytes and dimensions of sketches");
	}
	my ($bytes, $tids) = split /\|/, $server->safe_psql('postgres',
		"SELECT bytes_per_row, 8192.0 / elements_per_page FROM vhnsw_info('items_v')");
	cmp_ok($bytes, '<', $tids * 1.5 + 200, "$dims dimensions, tiny: $bytes with all other pages");
}

done_testing();

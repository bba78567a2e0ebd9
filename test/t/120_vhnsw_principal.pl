# CREATE INDEX by blocks compares elements of many dimensions by the few in which
# they vary most, where these tell which are near.
#
# Where nearly all of the vectors lies in 24 of 600 dimensions, lists by these
# hold the exact neighbors: of codes of 8 and 4 bits, halfvecs, by L2 and cosine,
# in memory and in temporary files.  Where these dimensions tell clusters apart
# but not the elements of one, whole codes are compared after all.  The index is
# the same with workers and in files, vhnsw_check() finds nothing, and searches
# find what an exact scan does.  Under inner product, where a vector varies in all
# dimensions alike, without sketches, and with too few rows, whole codes are
# compared at once.

use strict;
use warnings;

use List::Util qw(sum);
use Test::More;
use VecdistTest;

my $server = make_server('principal', conf => <<'CONF');
autovacuum = off
max_worker_processes = 8
max_parallel_workers = 8
CONF

$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE TABLE items (id integer, v vector(600)) WITH (parallel_workers = 4);
CREATE TABLE queries (id integer, v vector(600));
SQL

# Vectors of 600 dimensions that repeat one of 24, with some noise
sub wide_vectors
{
	my ($n, $seed) = @_;
	my $random = VecdistTest::generator($seed + 100);
	my @vectors;

	foreach my $vector (@{ random_vectors($n, 24, seed => $seed) })
	{
		my @few = split /,/, $vector =~ tr/[]//dr;
		push @vectors,
		  '[' . join(',', map { sprintf '%.4f', $few[ $_ % 24 ] + 0.1 * $random->() } 1 .. 600) . ']';
	}
	return \@vectors;
}

sub load
{
	my ($items, $queries) = @_;

	$server->safe_psql('postgres', 'TRUNCATE items; TRUNCATE queries; DROP INDEX IF EXISTS items_v');
	load_vectors($server, 'items', $items, columns => 'id, v');
	load_vectors($server, 'queries', $queries, columns => 'id, v');
	return;
}

# Build with so many workers; returns what is said and the pages.
sub build
{
	my ($class, $workers, %params) = @_;
	my $memory  = $params{memory}  // '200MB';
	my $options = $params{options} // '';
	my $value   = $class =~ /halfvec/ ? '(v::halfvec(600))' : 'v';
	my $stderr;

	$server->psql(
		'postgres', qq{
SET client_min_messages = debug1;
DROP INDEX IF EXISTS items_v;
SET max_parallel_maintenance_workers = $workers;
SET maintenance_work_mem = '$memory';
CREATE INDEX items_v ON items USING vhnsw ($value $class) $options},
		stderr => \$stderr);
	unlike($stderr, qr/ERROR|WARNING/, "$class, $workers workers: no error");
	return ($stderr, index_pages($server, 'items_v'));
}

sub check_index
{
	my ($name, $operator, $least, $cast) = @_;
	my $column = $cast ? 'v' . $cast : 'v';
	my ($found, $exact) =
	  map { nearest_of_queries($server, $operator, "SET enable_seqscan = $_; SET enable_indexscan = "
			. ($_ eq 'on' ? 'off' : 'on') . '; SET vhnsw.enable_scan = off;', $column) } qw(off on);
	my $recall = sum(map { recall_at_k($found->{$_}, $exact->{$_}) } keys %$exact) / keys %$exact;

	cmp_ok($recall, '>=', $least, "$name: recall");
	is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('items_v', true)}), '', "$name: vhnsw_check");
	is($server->safe_psql('postgres', q{SELECT unreachable FROM vhnsw_info('items_v')}), 0, "$name: all reachable");
	return;
}

my $principal = qr/principal dimensions keep (\d+)/;
my $again     = qr/lists by principal dimensions hold/;
my $held      = qr/lists of index "items_v" hold (\d+)/;

# ----------------------------------------------------------------------
# Few dimensions tell all
# ----------------------------------------------------------------------

load(wide_vectors(4000, 1), wide_vectors(40, 2));
foreach my $case (
	[ 'vector_l2_ops',      '<->' ],
	[ 'vector_l2_ops',      '<->', 'WITH (storage = compact, m = 40, ef_construction = 80)' ],
	[ 'halfvec_cosine_ops', '<=>' ])
{
	my ($class, $operator, $options) = @$case;
	my $name = join ' ', $class, $options // ();
	my ($said, $alone) = build($class, 0, options => $options);

	like($said, $principal, "$name: by principal dimensions");
	cmp_ok(($said =~ $principal)[0], '>', 90, "$name: which keep most");
	unlike($said, $again, "$name: and tell what is near");
	cmp_ok(($said =~ $held)[0], '>=', 95, "$name: lists hold the neighbors");
	check_index($name, $operator, 0.97, $class =~ /halfvec/ ? '::halfvec(600)' : undef);
	foreach my $workers (1, 2, 4)
	{
		($said, my $pages) = build($class, $workers, options => $options);
		like($said, qr/built with $workers of $workers planned/, "$name: $workers workers");
		is($pages, $alone, "$name: the same index");
	}
	($said, my $pages) = build($class, 2, options => $options, memory => '11500kB');
	like($said, qr/goes to temporary files/, "$name: in files");
	like($said, $principal, "$name: in files by principal dimensions");
	is($pages, $alone, "$name: the same index in files");
}

# In files, with as many workers as there is room for
my (undef, $in_memory) = build('vector_l2_ops', 0);
my ($said, $alone);
foreach my $case ([ 0, '9000kB' ], [ 1, '10500kB' ], [ 2, '12000kB' ])
{
	my ($workers, $memory) = @$case;

	($said, my $in_files) = build('vector_l2_ops', $workers, memory => $memory);
	like($said, qr/goes to temporary files/, 'in files');
	like($said, qr/built with $workers of $workers planned/, "in files: $workers workers") if $workers > 0;
	like($said, $principal, 'in files: by principal dimensions');
	is($in_files, $in_memory, "in files: the same index with $workers workers");
}
check_index('in files', '<->', 0.97);
is(temporary_files($server), '', 'in files: none is left');

# The least memory is enough to learn from the same sample.
($said, my $in_little) = build('vector_l2_ops', 2, memory => '4MB');
like($said, qr/goes to temporary files/, 'little memory: in files');
like($said, $principal, 'little memory: by principal dimensions');
is($in_little, $in_memory, 'little memory: the same index');

# Without sketches nothing else needs the basis.
($said) = build('vector_l2_ops', 0, options => 'WITH (storage = tiny)');
unlike($said, $principal, 'tiny: by whole codes');

# Lengths count under inner product.
($said) = build('vector_ip_ops', 0);
unlike($said, $principal, 'inner product: by whole codes');

# ----------------------------------------------------------------------
# Few dimensions tell clusters apart, and no more
# ----------------------------------------------------------------------

load(
	random_vectors(4000, 600, seed => 3, clusters => 30, spread => 0.2),
	random_vectors(40,   600, seed => 3, clusters => 30, spread => 0.2));
($said, $alone) = build('vector_l2_ops', 0);
cmp_ok(($said =~ $principal)[0], '>=', 65, 'clusters: principal dimensions keep enough');
like($said, $again, 'clusters: but do not tell what is near');
cmp_ok(($said =~ $held)[0], '>=', 93, 'clusters: lists hold the neighbors');
check_index('clusters', '<->', 0.95);
(undef, my $pages) = build('vector_l2_ops', 2);
is($pages, $alone, 'clusters: the same index with 2 workers');
($said) = build('vector_l2_ops', 0, memory => '9000kB');
like($said, qr/goes to temporary files/, 'clusters in files');
like($said, $again, 'clusters in files: whole codes after all');
cmp_ok(($said =~ $held)[0], '>=', 93, 'clusters in files: lists hold the neighbors');
check_index('clusters in files', '<->', 0.95);

# ----------------------------------------------------------------------
# All dimensions are alike
# ----------------------------------------------------------------------

load(random_vectors(3700, 600, seed => 4), []);
($said) = build('vector_l2_ops', 0);
cmp_ok(($said =~ $principal)[0], '<', 65, 'uniform: principal dimensions keep little');
unlike($said, $again, 'uniform: which is known before comparing');

# ----------------------------------------------------------------------
# Few rows
# ----------------------------------------------------------------------

load(wide_vectors(3500, 1), []);
($said) = build('vector_l2_ops', 0);
unlike($said, $principal, 'few rows: learning would not pay');

done_testing();

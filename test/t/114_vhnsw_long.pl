# Vectors of 8,057 dimensions and more, whose codes have 4 bits, are searched,
# inserted, checked and vacuumed as others are.  (Shorter ones with such codes:
# 103_vhnsw_storage.pl.)
#
# Clustered vectors of the least and the largest number of dimensions with such
# codes, made in SQL.  With a large ef answers are those of an exact scan, in
# their order, under each metric and for vectors as for halfvecs; with a small
# one recall stays above a floor, and the graph answers.

use strict;
use warnings;

use List::Util qw(sum);
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $server  = make_server('long', conf => "autovacuum = off\n");
my $queries = 10;

$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;

-- Pieces of 1,000 dimensions: 20 centers of 16 pieces, and 97 of noise
CREATE TABLE pieces AS
SELECT n, (SELECT array_agg(sin(i::float8 * i * (n + 0.5::float8) * 0.0071::float8))::vector
           FROM generate_series(1, 1000) i) AS piece
FROM generate_series(0, 416) n;
CREATE UNIQUE INDEX ON pieces (n);

-- near one of the centers; other pieces of noise for each n
CREATE FUNCTION long_vector(dims integer, n integer) RETURNS vector LANGUAGE plpgsql AS $$
DECLARE
    result vector;
    following vector;
BEGIN
    FOR j IN 0 .. (dims - 1) / 1000 LOOP
        SELECT center.piece + noise.piece INTO following FROM pieces center, pieces noise
        WHERE center.n = long_vector.n % 20 * 16 + j AND noise.n = 320 + (long_vector.n * (j + 3) + long_vector.n / 97 * j * j) % 97;
        result := CASE WHEN j = 0 THEN following
            ELSE result || subvector(following, 1, least(1000, dims - 1000 * j)) END;
    END LOOP;
    RETURN result;
END $$;
SQL

my $by_index = 'SET enable_seqscan = off; SET enable_sort = off;';
my $by_table = 'SET enable_indexscan = off; SET vhnsw.enable_scan = off;';

sub no_problems
{
	my ($name) = @_;
	is($server->safe_psql('postgres', "SELECT count(*) FROM vhnsw_check('items_v', true)"),
		0, "$name: no violated invariant");
	return;
}

sub make_tables
{
	my ($type, $dims, $n) = @_;
	$server->safe_psql('postgres', <<"SQL");
DROP TABLE IF EXISTS items, queries;
CREATE TABLE items (id integer, v $type($dims));
ALTER TABLE items ALTER v SET STORAGE external;
CREATE TABLE queries (LIKE items INCLUDING STORAGE);
INSERT INTO items SELECT n, long_vector($dims, n) FROM generate_series(1, $n) n;
INSERT INTO queries SELECT n, long_vector($dims, n)
FROM generate_series($n + 1, $n + $queries) n;
SQL
	return;
}

# ----------------------------------------------------------------------
# Exact order: two thirds of the rows are there at first, the others inserted;
# then a fifth goes
# ----------------------------------------------------------------------

foreach my $case (
	[ 'vector',  8057,  'vector_l2_ops',     '<->' ],
	[ 'vector',  8057,  'vector_ip_ops',     '<#>' ],
	[ 'halfvec', 8057,  'halfvec_l1_ops',    '<+>' ],
	[ 'vector',  16000, 'vector_cosine_ops', '<=>' ],
	[ 'vector',  16000, 'vector_l1_ops',     '<+>' ],
	[ 'halfvec', 16000, 'halfvec_l2_ops',    '<->' ])
{
	my ($type, $dims, $class, $operator) = @$case;
	my $name = "$class, $dims dimensions";

	make_tables($type, $dims, 120);
	is( $server->safe_psql('postgres', <<"SQL"),
CREATE TABLE later AS SELECT * FROM items WHERE id % 3 = 0;
DELETE FROM items WHERE id % 3 = 0;
CREATE INDEX items_v ON items USING vhnsw (v $class);
INSERT INTO items SELECT * FROM later;
DROP TABLE later;
SELECT bits_per_dimension, degree, elements_per_page, sketch_dimensions FROM vhnsw_info('items_v')
SQL
		$dims == 16000 ? '4|24|1|0' : $class =~ /l1/ ? '4|32|1|0' : '4|32|1|256',
		"$name: the index is of codes of 4 bits");
	is_deeply(nearest_of_queries($server, $operator, "$by_index SET vhnsw.ef_search = 1000;"),
		nearest_of_queries($server, $operator, $by_table), "$name: the exact answer");
	no_problems($name);

	$server->safe_psql('postgres', 'DELETE FROM items WHERE id % 5 = 1');
	$server->safe_psql('postgres', 'VACUUM items');
	is_deeply(nearest_of_queries($server, $operator, "$by_index SET vhnsw.ef_search = 1000;"),
		nearest_of_queries($server, $operator, $by_table), "$name: the exact answer after vacuum");
	no_problems("$name, after vacuum");
}

# ----------------------------------------------------------------------
# Recall
# ----------------------------------------------------------------------

# Of L1 the bounds of 4 bits prove so little that a strict search would sweep the
# index: its graph is tried without a proof.
foreach my $case (
	[ 8057,  'vector_l2_ops', '<->', 'SET vhnsw.ef_search = 10;' ],
	[ 16000, 'vector_l1_ops', '<+>', 'SET vhnsw.ef_search = 40; SET vhnsw.iterative_scan = off;' ])
{
	my ($dims, $class, $operator, $settings) = @$case;
	my $n    = 1000;
	my $name = "$class, $dims dimensions, $n rows";

	make_tables('vector', $dims, $n);
	$server->safe_psql('postgres', "CREATE INDEX items_v ON items USING vhnsw (v $class)");

	my $exact = nearest_of_queries($server, $operator, $by_table);
	my $got   = nearest_of_queries($server, $operator, "$by_index $settings");
	my $recall =
	  sum(map { recall_at_k($got->{$_}, $exact->{$_}) } keys %$exact) / $queries;

	cmp_ok($recall, '>=', 0.9, sprintf '%s: recall %.3f', $name, $recall);

	my ($searches, $visited, $sweeps) = split /\|/,
	  $server->safe_psql('postgres', <<"SQL");
$by_index $settings
SELECT count(*) FROM queries q,
    LATERAL (SELECT id FROM items ORDER BY v $operator q.v LIMIT 10) near
\\g /dev/null
SELECT scans, expanded + evaluated, sweeps FROM vhnsw_session_stats()
SQL
	is($sweeps, 0, "$name: the graph answered");
	cmp_ok($visited / $searches, '<', $n / 2, '... after '
		  . $visited / $searches . ' elements');
}

# ----------------------------------------------------------------------
# Damaged codes: a number that none has, half a byte and bytes behind the code
# ----------------------------------------------------------------------

make_tables('vector', 8057, 30);
$server->safe_psql('postgres', 'CREATE INDEX items_v ON items USING vhnsw (v vector_l1_ops)');

my $path = $server->data_dir . '/'
  . $server->safe_psql('postgres', q{SELECT pg_relation_filepath('items_v')});

$server->stop;
my $image = slurp_file($path);

# The last page of elements; the code follows 32 places of a list.
my ($block) = grep { unpack('C', substr $image, $_ * 8192 + 8176 + 4, 1) == 4 }
  reverse 0 .. length($image) / 8192 - 1;
my $code = $block * 8192 + 24 + 32 + 4 * 32;

foreach my $case (
	[ 'a lower half of -8',   0,    "\x18" ],
	[ 'an upper half of -8',  100,  "\x81" ],
	[ 'the half not used',    4028, "\x11" ],
	[ 'bytes not used',       4029, "\x01" ],
	[ 'another number',       50,   "\x77\x77\x77" ])
{
	my ($name, $offset, $bytes) = @$case;
	my $damaged = $image;

	substr $damaged, $code + $offset, length $bytes, $bytes;
	open my $fh, '>:raw', $path or die "$path: $!";
	print $fh $damaged;
	close $fh or die "$path: $!";
	$server->start;
	like($server->safe_psql('postgres', q{SELECT severity, message FROM vhnsw_check('items_v', true)}),
		qr/^damage/m, "$name: is found");
	is($server->safe_psql('postgres', <<"SQL"), 10, "$name: searches answer");
$by_index SELECT count(*) FROM (SELECT id FROM items ORDER BY v <+> (SELECT v FROM queries LIMIT 1) LIMIT 10) s
SQL
	$server->stop;
}

# 6 dimensions take 8 bytes with 8 bits as with 4; only one of them is right.
$server->start;
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE short AS SELECT n AS id, subvector(long_vector(100, n), 1, 6)::vector(6) AS v
FROM generate_series(1, 100) n;
CREATE INDEX short_v ON short USING vhnsw (v vector_l2_ops) WITH (storage = tiny);
SQL
$path = $server->data_dir . '/'
  . $server->safe_psql('postgres', q{SELECT pg_relation_filepath('short_v')});
$server->stop;
$image = slurp_file($path);
substr $image, 24 + 7, 1, "\x04";
open my $fh, '>:raw', $path or die "$path: $!";
print $fh $image;
close $fh or die "$path: $!";
$server->start;
my ($ret, $stdout, $stderr) =
  $server->psql('postgres', q{SELECT * FROM vhnsw_check('short_v')});
like($stderr, qr/DETAIL:  The metapage names another metric or type/,
	'8 bits read as 4: is found');

# ----------------------------------------------------------------------
# Format version 2 does not tell what codes of 4 bits mean, but where all do
# mean the same: under L1, and where 8 bits would have had room
# ----------------------------------------------------------------------

make_tables('vector', 8057, 30);
$server->safe_psql('postgres', <<'SQL');
DROP TABLE short;
CREATE TABLE short AS SELECT id, subvector(v, 1, 100)::vector(100) AS v FROM items;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
CREATE INDEX items_l1 ON items USING vhnsw (v vector_l1_ops);
CREATE INDEX short_v ON short USING vhnsw (v vector_l2_ops) WITH (storage = tiny);
CREATE INDEX short_cosine ON short USING vhnsw (v vector_cosine_ops) WITH (m = 100, ef_construction = 200);
SQL
my @indexes = qw(items_v items_l1 short_v short_cosine);
my @paths   = map {
	$server->data_dir . '/'
	  . $server->safe_psql('postgres', "SELECT pg_relation_filepath('$_')")
} @indexes;
is($server->safe_psql('postgres', "SELECT bits_per_dimension, format_version FROM vhnsw_info('$_')"),
	($_ eq 'short_cosine' ? 8 : 4) . '|3', "$_: bits and format version") foreach @indexes;
$server->stop;
foreach $path (@paths)
{
	$image = slurp_file($path);
	substr $image, 24 + 4, 2, pack 'v', 2;
	open $fh, '>:raw', $path or die "$path: $!";
	print $fh $image;
	close $fh or die "$path: $!";
}
$server->start;
foreach my $use (
	"$by_index SELECT id FROM items ORDER BY v <-> (SELECT v FROM queries LIMIT 1) LIMIT 10",
	'INSERT INTO items SELECT * FROM queries',
	q{SELECT * FROM vhnsw_check('items_v', true)})
{
	($ret, $stdout, $stderr) = $server->psql('postgres', "\\set VERBOSITY verbose\n$use");
	like(
		$stderr,
		qr/ERROR:  55000: index "items_v" has codes of 4 bits of format version 2, .*DETAIL:  .* more than 8056 dimensions .*HINT:  REINDEX the index/s,
		"4 bits of format version 2 are refused: $use");
}
is($server->safe_psql('postgres', "SELECT count(*) FROM vhnsw_check('$_', true)"),
	0, "$_ of format version 2 is used") foreach @indexes[ 1 .. 3 ];
$server->safe_psql('postgres', 'REINDEX INDEX items_v');
$server->safe_psql('postgres', 'INSERT INTO items SELECT * FROM queries');
no_problems('4 bits after REINDEX');

done_testing();

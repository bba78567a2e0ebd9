# Recall of vhnsw indexes over other types than vectors stays above floors.
#
# 1,500 clustered values and 30 queries for each operator class, generated in
# SQL from hashes; recall of the nearest 10 against an exact scan, in an index
# built at once and in one filled by inserts.

use strict;
use warnings;

use List::Util qw(sum);
use Test::More;
use VecdistTest;

my $n       = 1500;
my $queries = 30;
my $server  = make_server('types', conf => "autovacuum = off\n");

# Of row n: strings and sparse vectors near one of 40 of their kind
my $bits = <<'SQL';
(SELECT string_agg(CASE WHEN hash(i, n) % 100 < 12 THEN 1 - c ELSE c END::text, '' ORDER BY i)
 FROM (SELECT i, (hash(i, 1000000 + n % 40) % 3 = 0)::integer AS c FROM generate_series(1, 256) i) s)::bit(256)
SQL
my $sparse = <<'SQL';
(SELECT '{' || string_agg(i || ':' || 1 + hash(i, n) % 100 / 25.0, ',' ORDER BY i) || '}/90000'
 FROM generate_series(1, 300) i
 WHERE hash(i, 1000000 + n % 40) % 6 = 0 AND hash(i, 2000000 + n) % 3 > 0
     OR hash(i, 3000000 + n) % 30 = 0)::sparsevec(90000)
SQL

# [type, value, { operator class => operator }]
my @types = (
	[ 'bit(256)', $bits, { bit_hamming_ops => '<~>', bit_jaccard_ops => '<%>' } ],
	[
		'sparsevec(90000)',
		$sparse,
		{
			sparsevec_l2_ops     => '<->',
			sparsevec_ip_ops     => '<#>',
			sparsevec_cosine_ops => '<=>',
			sparsevec_l1_ops     => '<+>'
		}
	]);
my %floors = (10 => 0.78, 40 => 0.92, 100 => 0.97);

$server->safe_psql('postgres', <<"SQL");
CREATE EXTENSION vecdist;
CREATE FUNCTION hash(i integer, n integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS
    'SELECT hashint8extended(i, n) & 65535';
SQL

sub check_recall
{
	my ($class, $operator, $state) = @_;
	my $exact = nearest_of_queries($server, $operator, 'SET enable_indexscan = off;');

	foreach my $ef (sort { $a <=> $b } keys %floors)
	{
		my $got = nearest_of_queries($server, $operator,
			"SET enable_seqscan = off; SET enable_sort = off; SET vhnsw.ef_search = $ef;");
		my $recall =
		  sum(map { recall_at_k($got->{$_}, $exact->{$_}) } keys %$exact) /
		  $queries;

		cmp_ok($recall, '>=', $floors{$ef},
			sprintf '%s, %s: recall %.4f at ef %d',
			$class, $state, $recall, $ef);
	}
	is($server->safe_psql('postgres', "SELECT count(*) FROM vhnsw_check('items_v', true)"),
		0, "$class, $state: no violated invariant");
	return;
}

foreach my $type (@types)
{
	my ($name, $value, $classes) = @$type;

	$server->safe_psql('postgres', <<"SQL");
DROP TABLE IF EXISTS items, queries, reserve;
CREATE TABLE items (id integer, v $name);
CREATE TABLE reserve AS SELECT n AS id, $value AS v FROM generate_series(1, $n) n;
CREATE TABLE queries AS SELECT n AS id, $value AS v FROM generate_series($n + 1, $n + $queries) n;
SQL
	foreach my $class (sort keys %$classes)
	{
		$server->safe_psql('postgres', <<"SQL");
TRUNCATE items;
DROP INDEX IF EXISTS items_v;
INSERT INTO items SELECT * FROM reserve;
CREATE INDEX items_v ON items USING vhnsw (v $class);
SQL
		check_recall($class, $classes->{$class}, 'built');
		$server->safe_psql('postgres', <<"SQL");
TRUNCATE items;
INSERT INTO items SELECT * FROM reserve;
SQL
		check_recall($class, $classes->{$class}, 'inserted');
	}
}

done_testing();

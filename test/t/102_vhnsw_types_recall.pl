# Recall of vhnsw indexes over other types than vectors stays above floors.
#
# 3,000 clustered values and 50 queries for each operator class, generated in
# SQL from hashes; recall of the nearest 10 against an exact scan, in an index
# built at once and in one filled by inserts.

use strict;
use warnings;

use List::Util qw(sum);
use Test::More;
use VecdistTest;

my $n       = 3000;
my $queries = 50;
my $server  = make_server('types', conf => "autovacuum = off\n");

# operator class => type, operator, value of (row n, hash function h(i))
my $bits = <<'SQL';
(SELECT string_agg(CASE WHEN hash(i, n) % 100 < 12 THEN 1 - c ELSE c END::text, '' ORDER BY i)
 FROM (SELECT i, (hash(i, 1000000 + n % 40) % 3 = 0)::integer AS c FROM generate_series(1, 256) i) s)::bit(256)
SQL
my %classes = (
	bit_hamming_ops => [ 'bit(256)', '<~>', $bits ],
	bit_jaccard_ops => [ 'bit(256)', '<%>', $bits ]);
my %floors = (10 => 0.80, 40 => 0.93, 100 => 0.97);

$server->safe_psql('postgres', <<"SQL");
CREATE EXTENSION vecdist;
CREATE FUNCTION hash(i integer, n integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS
    'SELECT hashint8extended(i, n) & 65535';
SQL

# The 10 nearest of all queries: { query => [[id, distance], ...] }
sub answers
{
	my ($operator, $settings) = @_;
	my %answers;

	foreach my $row (
		@{
			rows($server, <<"SQL")
SET extra_float_digits = 3;
$settings
SELECT q.id, near.id, near.d FROM queries q,
    LATERAL (SELECT id, v $operator q.v AS d FROM items ORDER BY v $operator q.v LIMIT 10) near
SQL
		})
	{
		my ($query, $id, $distance) = split /\|/, $row;
		push @{ $answers{$query} }, [ $id, $distance ];
	}
	return \%answers;
}

sub check_recall
{
	my ($class, $operator, $state) = @_;
	my $exact = answers($operator, 'SET enable_indexscan = off;');

	foreach my $ef (sort { $a <=> $b } keys %floors)
	{
		my $got = answers($operator,
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

foreach my $class (sort keys %classes)
{
	my ($type, $operator, $value) = @{ $classes{$class} };

	$server->safe_psql('postgres', <<"SQL");
DROP TABLE IF EXISTS items, queries;
CREATE TABLE items (id integer, v $type);
INSERT INTO items SELECT n, $value FROM generate_series(1, $n) n;
CREATE TABLE queries AS SELECT n AS id, $value AS v FROM generate_series($n + 1, $n + $queries) n;
CREATE INDEX items_v ON items USING vhnsw (v $class);
SQL
	check_recall($class, $operator, 'built');
	$server->safe_psql('postgres', <<"SQL");
CREATE TEMP TABLE kept AS SELECT * FROM items;
TRUNCATE items;
INSERT INTO items SELECT * FROM kept;
SQL
	check_recall($class, $operator, 'inserted');
}

done_testing();

# Recall of vhnsw indexes stays above floors.
#
# 4,000 clustered vectors and 100 queries, half from the same clusters and half
# from anywhere, for each metric: in an index built at once, in one filled by
# inserts, and after rounds of deletes, vacuum and inserts.  Recall is measured
# against an exact scan of the same server.  The counters of the session show
# that the graph answered, not a pass over all pages.

use strict;
use warnings;

use List::Util qw(sum);
use Test::More;
use VecdistTest;

my $n      = 4000;
my $dims   = 24;
my $server = make_server('recall', conf => "autovacuum = off\n");
my %operators = (l2 => '<->', ip => '<#>', cosine => '<=>', l1 => '<+>');

# Least recall at an ef: of an index built at once, and of one that was changed.
my %floors = (
	built   => { 10 => 0.83, 40 => 0.96, 100 => 0.985 },
	changed => { 10 => 0.77, 40 => 0.94, 100 => 0.98 });

# Mean recall at each ef, compared with the floors.
sub check_recall
{
	my ($metric, $state) = @_;
	my $operator = $operators{$metric};
	my $least    = $floors{ $state eq 'built' ? 'built' : 'changed' };
	my $exact    = nearest_of_queries($server, $operator, 'SET enable_indexscan = off;', 'embedding');

	is(scalar keys %$exact, 100, 'every query has an answer');
	foreach my $ef (sort { $a <=> $b } keys %$least)
	{
		my $got    = nearest_of_queries($server, $operator,
			"SET enable_seqscan = off; SET enable_sort = off; SET vhnsw.ef_search = $ef;", 'embedding'
		);
		my $recall =
		  sum(map { recall_at_k($got->{$_}, $exact->{$_}) } keys %$exact) /
		  keys %$exact;

		cmp_ok($recall, '>=', $least->{$ef},
			sprintf '%s, %s: recall %.4f at ef %d',
			$metric, $state, $recall, $ef);
	}
	is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('items_v', true)}),
		'', "$metric, $state: no violated invariant");
	return;
}

# Searches with a small ef must not read the whole index.
sub check_counters
{
	my ($metric) = @_;
	my ($scans, $expanded, $evaluated, $sweeps) =
	  split /\|/, $server->safe_psql('postgres', <<"SQL");
SET enable_seqscan = off;
SET enable_sort = off;
SELECT count(*) FROM queries q,
    LATERAL (SELECT id FROM items ORDER BY embedding $operators{$metric} q.embedding LIMIT 10) near
\\g /dev/null
SELECT scans, expanded, evaluated, sweeps FROM vhnsw_session_stats()
SQL

	is($scans,  100, "$metric: one scan for each query");
	is($sweeps, 0,   "$metric: the graph answered");
	cmp_ok($evaluated / $scans,
		'<', $n / 3, "$metric: a scan evaluates a part of the index");
	return;
}

$server->safe_psql('postgres', <<"SQL");
CREATE EXTENSION vecdist;
CREATE TABLE queries (id integer, embedding vector($dims));
CREATE TABLE reserve (id integer, embedding vector($dims));
CREATE TABLE items (id integer PRIMARY KEY, embedding vector($dims));
SQL
my @vectors =
  @{ random_vectors(2 * $n + 50, $dims, seed => 11, clusters => 60, spread => 0.2) };
load_vectors($server, 'queries', [ splice(@vectors, 0, 50) ]);
load_vectors($server, 'queries', random_vectors(50, $dims, seed => 12),
	first => 51);
load_vectors($server, 'reserve', \@vectors);

foreach my $metric (sort keys %operators)
{
	# built
	$server->safe_psql('postgres', <<"SQL");
TRUNCATE items;
DROP INDEX IF EXISTS items_v;
INSERT INTO items SELECT * FROM reserve WHERE id <= $n;
CREATE INDEX items_v ON items USING vhnsw (embedding vector_${metric}_ops);
VACUUM ANALYZE items;
SQL
	check_recall($metric, 'built');
	check_counters($metric);

	# churned
	foreach my $round (0 .. 2)
	{
		$server->safe_psql('postgres', <<"SQL");
DELETE FROM items WHERE id % 10 = $round;
VACUUM items;
INSERT INTO items SELECT * FROM reserve WHERE id > $n AND id % 10 = $round;
SQL
	}
	check_recall($metric, 'churned');

	# inserted
	$server->safe_psql('postgres', <<"SQL");
TRUNCATE items;
INSERT INTO items SELECT * FROM reserve WHERE id <= $n;
SQL
	check_recall($metric, 'inserted');
}

done_testing();

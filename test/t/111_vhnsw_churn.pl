# Ten rounds of deleting a tenth of the rows, vacuum and inserting as many leave
# an index as good and as big as one built anew.
#
# Recall of 200 queries against an exact scan, at three values of ef, in the
# index that went through the rounds and after REINDEX, over the same rows.  The
# largest loss allowed is one point at ef 40, which is the default; less ef
# shows more of it.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims   = 32;
my $n      = 4000;
my $server = make_server('churn', conf => "autovacuum = off\n");

# Least recall, and how much less than after REINDEX is allowed
my %floors = (10 => [ 0.75, 0.03 ], 20 => [ 0.85, 0.02 ], 40 => [ 0.95, 0.01 ]);

$server->safe_psql('postgres', <<"SQL");
CREATE EXTENSION vecdist;
CREATE TABLE queries (id int, embedding vector($dims));
CREATE TABLE items (id int PRIMARY KEY, embedding vector($dims));
SQL
load_vectors($server, 'queries', random_vectors(200, $dims, seed => 1));
my $vectors = random_vectors(2 * $n, $dims, seed => 2);
load_vectors($server, 'items', [ @$vectors[ 0 .. $n - 1 ] ]);
$server->safe_psql('postgres',
	'CREATE INDEX i ON items USING vhnsw (embedding vector_l2_ops)');

# The ids of the ten nearest of every query, as "query id"
sub answers
{
	my ($settings) = @_;
	return rows($server, <<"SQL");
$settings
SELECT q.id, near.id FROM queries q,
    LATERAL (SELECT id FROM items ORDER BY embedding <-> q.embedding LIMIT 10) near
SQL
}

sub recalls
{
	my %exact = map { $_ => 1 } @{ answers('SET enable_indexscan = off;') };
	my %recall;

	foreach my $ef (keys %floors)
	{
		my $found = answers("SET enable_seqscan = off; SET vhnsw.ef_search = $ef;");
		$recall{$ef} = grep({ $exact{$_} } @$found) / keys %exact;
	}
	return \%recall;
}

sub info
{
	my ($column) = @_;
	return $server->safe_psql('postgres', "SELECT $column FROM vhnsw_info('i')");
}

my $pages = info('pages');
foreach my $round (0 .. 9)
{
	my $tenth = $n / 10;
	my $first = $n + $round * $tenth;

	# Old rows and new ones, spread over the index
	$server->safe_psql('postgres', <<"SQL");
DELETE FROM items WHERE id IN (SELECT id FROM items ORDER BY hashint4(id + $round) LIMIT $tenth);
VACUUM (INDEX_CLEANUP on) items;
SQL
	load_vectors($server, 'items', [ @$vectors[ $first .. $first + $tenth - 1 ] ],
		first => $first + 1);
}
is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('i', true)}), '',
	'vhnsw_check finds nothing');
cmp_ok(info('pages'), '<=', 1.1 * $pages, 'the index has not grown by more than a tenth');

my $churned = recalls();
$server->safe_psql('postgres', 'REINDEX INDEX i');
my $fresh = recalls();

foreach my $ef (sort { $a <=> $b } keys %floors)
{
	my ($floor, $loss) = @{ $floors{$ef} };

	note "recall at ef $ef: $churned->{$ef} after ten rounds, $fresh->{$ef} built anew";
	cmp_ok($churned->{$ef}, '>=', $floor, "recall at ef $ef");
	cmp_ok($churned->{$ef}, '>=', $fresh->{$ef} - $loss, "recall at ef $ef against REINDEX");
}

done_testing();

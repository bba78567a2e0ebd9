# Every form in which distributed searches lose rows in silence, tried on us.
#
# Letters and numbers are those of docs/architecture/recall.md.  Each form is a
# function that returns what was got and what should have been got, over rows
# placed so that a careless merge fails.  In the second half the same functions
# run while servers make the mistake on purpose (vecdist.debug_mistake): each
# must notice.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims        = 4;
my $cluster     = make_cluster(workers => 2, conf => "jit = off\n");
my $coordinator = $cluster->coordinator;
my @servers     = $cluster->servers;
my $q           = '[0.5,0.5,0.5,0.5]';
my $by          = "ORDER BY embedding <-> '$q'";

# "near": 8 hash partitions, all rows of partition 3 nearer than all others;
# "indexed" and "coarse" are the same with an index of exact and rounded vectors.
# "twins": 800 copies of one vector, and rows with zero and NULL vectors.
# "far": list partitions; a lone row on w1, its rivals on w2.  Plain tables with
# the same rows have the prefix "plain_".
$coordinator->safe_psql('postgres', <<"SQL");
CREATE TABLE near (id bigint NOT NULL, cat int, embedding vector($dims)) PARTITION BY HASH (id);
CREATE TABLE indexed (LIKE near) PARTITION BY HASH (id);
CREATE TABLE twins (LIKE near) PARTITION BY HASH (id);
CREATE TABLE far (LIKE near) PARTITION BY LIST (cat);
SELECT vecdist.create_distributed_table(t, 8) FROM unnest('{near,indexed,twins}'::regclass[]) t;
SELECT vecdist.create_distributed_table('far');
SELECT vecdist.create_partition('far', 'far_1', 'FOR VALUES IN (1)', 'w1');
SELECT vecdist.create_partition('far', 'far_2', 'FOR VALUES IN (2)', 'w2');
CREATE INDEX ON indexed USING vhnsw (embedding vector_l2_ops);
CREATE TABLE coarse (LIKE near) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table('coarse', 8);
CREATE INDEX ON coarse USING vhnsw (embedding vector_l2_ops) WITH (storage = tiny);
CREATE TABLE plain_near AS @{[ rows_near_in_one('near', 8, 3, 6000, $dims) ]};
CREATE TABLE plain_twins AS
    SELECT g::bigint AS id, g % 100 AS cat,
        CASE WHEN g <= 800 THEN '[1,2,3,4]'::vector WHEN g <= 850 THEN '[0,0,0,0]'
             WHEN g <= 900 THEN NULL ELSE '[4,3,2,1]' END AS embedding
    FROM generate_series(1, 1000) g;
CREATE TABLE plain_far AS
    SELECT g::bigint AS id, CASE WHEN g = 1 THEN 1 ELSE 2 END AS cat,
        ARRAY[g, 0, 0, 0]::vector AS embedding FROM generate_series(1, 300) g
    UNION ALL SELECT 1000 + g, 1, ARRAY[1000 + g, 0, 0, 0]::vector FROM generate_series(1, 300) g;
CREATE VIEW plain_indexed AS SELECT * FROM plain_near;
CREATE VIEW plain_coarse AS SELECT * FROM plain_near;
INSERT INTO near SELECT * FROM plain_near;
INSERT INTO indexed SELECT * FROM plain_near;
INSERT INTO coarse SELECT * FROM plain_near;
INSERT INTO twins SELECT * FROM plain_twins;
INSERT INTO far SELECT * FROM plain_far;
SQL

# Output of statements on a distributed table, and on the plain one.
sub both
{
	my ($table, $sql, $set) = @_;
	my ($distributed, $plain);

	($distributed = $sql) =~ s/\bTABLE\b/$table/g;
	($plain       = $sql) =~ s/\bTABLE\b/plain_$table/g;
	return (
		$coordinator->safe_psql('postgres', ($set // '') . $distributed),
		$coordinator->safe_psql('postgres', $plain));
}

my %form = (
	A1 => [
		'all near rows in one partition, K = 700',
		sub { both('near', "SELECT id FROM TABLE $by, id LIMIT 700") }
	],
	A2 => [
		'every partition has K rows, one has the good ones',
		sub { both('near', "SELECT id, embedding <-> '$q' FROM TABLE $by LIMIT 650") }
	],
	A3 => [
		'as many rows as LIMIT says, through indexes with a small ef',
		sub {
			both(
				'indexed',
				join('', map { "SELECT count(*) FROM (SELECT id FROM TABLE $by LIMIT $_) s;\n" }
					  10, 40, 41, 100, 700, 1001, 5999, 7000),
				"SET enable_seqscan = off; SET vhnsw.ef_search = 5;\n");
		}
	],
	A5 => [
		'settings of the session reach the workers',
		sub {
			my @ef;

			# Of a search, and of a stream.
			foreach my $where ('true', 'id > -random()')
			{
				my $explain = $coordinator->safe_psql('postgres',
					"SET enable_seqscan = off; SET vhnsw.ef_search = 77;
					 EXPLAIN ANALYZE SELECT id FROM indexed WHERE $where $by LIMIT 5");
				push @ef, $explain =~ /index \w+, ef (\d+)\)/g;
			}
			return ("@ef", join ' ', (77) x 16);
		}
	],
	A6 => [
		'LIMIT is known only when the search begins',
		sub {
			both('near', <<"SQL", "SET plan_cache_mode = force_generic_plan;\n");
PREPARE p(int, int) AS SELECT id FROM TABLE $by, id LIMIT \$1 OFFSET \$2;
EXECUTE p(5, 0); EXECUTE p(700, 0); EXECUTE p(1, 699);
SELECT id FROM TABLE $by, id LIMIT (SELECT 600);
SQL
		}
	],
	A7 => [
		'pages put together are one big page',
		sub {
			both('near', join '', map { "SELECT id FROM TABLE $by, id LIMIT 150 OFFSET $_;\n" }
				  0, 150, 300, 450, 600, 750);
		}
	],
	A8 => [
		'searches with K of their own at the same time',
		sub {
			both('near', <<"SQL");
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM TABLE $by, id LIMIT 3;
DECLARE b CURSOR FOR SELECT id FROM TABLE $by, id LIMIT 700;
FETCH 2 FROM b; FETCH 2 FROM a; FETCH 600 FROM b; FETCH 9 FROM a; FETCH 200 FROM b;
COMMIT;
SELECT r.k, s.id FROM (VALUES (600), (1), (0), (650), (2)) r (k),
    LATERAL (SELECT id FROM TABLE $by, id LIMIT r.k) s;
(SELECT id FROM TABLE $by, id LIMIT 2) UNION ALL (SELECT id FROM TABLE $by, id LIMIT 600);
SQL
		}
	],
	B1 => [
		'filters, on workers and here, that all near rows fail',
		sub {
			both('near', join '', map { "SELECT id FROM TABLE WHERE $_ $by, id LIMIT 50;\n" }
				  "embedding <-> '$q' > 0.5",
				'cat = 7', 'cat = 7 AND id + 0 * random() > 100');
		}
	],
	B4 => [
		'near rows that are deleted, or fail the condition, make no bound',
		sub {
			both('near', <<"SQL");
BEGIN;
DELETE FROM TABLE WHERE id % 10 <> 0 AND embedding <-> '$q' < 0.5;
SELECT id FROM TABLE $by, id LIMIT 650;
SELECT id FROM TABLE WHERE embedding <-> '$q' > 0.3 OR cat = 50 $by, id LIMIT 650;
SELECT id FROM TABLE WHERE id + 0 * random() <> 7 AND cat < 50 $by, id LIMIT 100;
ROLLBACK;
SQL
		}
	],
	B5 => [
		'joins, UNION ALL, DISTINCT and GROUP BY between the search and LIMIT',
		sub {
			both('near', <<"SQL");
SELECT t.id FROM TABLE t JOIN plain_near p ON p.id = t.id AND p.cat = 9
    ORDER BY t.embedding <-> '$q', t.id LIMIT 20;
SELECT id, cat FROM (SELECT * FROM TABLE UNION ALL SELECT id, -cat, embedding FROM TABLE) s
    WHERE cat > -50 $by, id, cat LIMIT 150;
SELECT DISTINCT cat, min(embedding <-> '$q') FROM TABLE GROUP BY cat ORDER BY 2, 1 LIMIT 20;
SELECT id FROM TABLE t WHERE NOT EXISTS (SELECT FROM plain_near p WHERE p.id = t.id AND cat < 90)
    $by, id LIMIT 20
SQL
		}
	],
	C1 => [
		'inner product: larger is nearer, and the distance says so',
		sub { both('near', "SELECT id FROM TABLE ORDER BY embedding <#> '[1,2,3,4]', id LIMIT 30") }
	],
	C2 => [
		'distances that an index only estimates do not reach the merge',
		sub {
			both('coarse', "SELECT id, embedding <-> '$q', embedding <-> '$q' = l2_distance(embedding, '$q')
			    FROM TABLE $by, id LIMIT 650", 'SET enable_seqscan = off; SET vhnsw.ef_search = 1000;');
		}
	],
	C7 => [
		'800 equal distances: a unique key decides, and runs agree',
		sub {
			my ($got, $expected) = both('twins', <<"SQL");
SELECT id FROM TABLE ORDER BY embedding <-> '[1,2,3,4]', id LIMIT 20;
SELECT id FROM TABLE ORDER BY embedding <-> '[1,2,3,4]', id DESC LIMIT 500;
SQL
			my $ties = "SELECT id FROM twins ORDER BY embedding <-> '[1,2,3,4]' LIMIT 100";

			return (
				$got . $coordinator->safe_psql('postgres', $ties),
				$expected . $coordinator->safe_psql('postgres', $ties));
		}
	],
	C10 => [
		'zero vectors under cosine distance are NaN, and come before NULL only',
		sub {
			both('twins', join '', map { "SELECT id, embedding <=> '[1,2,3,4]' FROM TABLE
			    ORDER BY embedding <=> '[1,2,3,4]', id LIMIT $_;\n" } 10, 920, 1000);
		}
	],
	D1 => [
		'the bound of one partition does not end the walk through the graph of another',
		sub {
			both('indexed', join('', map { "SELECT id FROM TABLE WHERE $_ $by, id LIMIT 650;\n" }
				  'true', 'cat <> 3', "embedding <-> '$q' > 0.05"),
				"SET enable_seqscan = off; SET vhnsw.ef_search = 1000;\n");
		}
	],
	D2 => [
		'a lone row at the front must not become the bound',
		sub { both('far', "SELECT id FROM TABLE ORDER BY embedding <-> '[0,0,0,0]' LIMIT 250") }
	],
	D3 => [
		'bounds are distances of the operator where the index holds rounded vectors',
		sub {
			both('coarse', join('', map { "SELECT id FROM TABLE WHERE $_ $by, id LIMIT 600;\n" }
				  'true', 'cat > 10'), 'SET enable_seqscan = off; SET vhnsw.ef_search = 1000;');
		}
	],
	D5 => [
		'a partition is added between PREPARE and EXECUTE',
		sub {
			my @result = both('far', <<"SQL");
PREPARE p AS SELECT count(*), max(id) FROM (SELECT id FROM TABLE
    ORDER BY embedding <-> '[0,0,0,0]' LIMIT 500) s;
EXECUTE p;
PREPARE s AS SELECT count(*), max(id) FROM (SELECT id FROM TABLE WHERE id > -random()
    ORDER BY embedding <-> '[0,0,0,0]' LIMIT 500) s;
EXECUTE s;
SQL
			my $sql = <<"SQL";
SET plan_cache_mode = force_generic_plan;
PREPARE p AS SELECT id FROM far ORDER BY embedding <-> '[9999,0,0,0]' LIMIT 1;
PREPARE s AS SELECT id FROM far WHERE id > -random() ORDER BY embedding <-> '[9999,0,0,0]' LIMIT 1;
EXECUTE p;
EXECUTE s;
BEGIN;
SELECT FROM vecdist.create_partition('far', 'far_3', 'FOR VALUES IN (3)', 'w1');
INSERT INTO far VALUES (5000, 3, '[9999,0,0,0]');
EXECUTE p;
EXECUTE s;
ROLLBACK;
SQL
			$result[0] .= $coordinator->safe_psql('postgres', $sql);
			$result[1] .= "1300\n1300\n5000\n5000";
			return @result;
		}
	],
	E11 => [
		'what was committed on several workers is seen whole afterwards, from every server',
		sub {
			my $got = '';

			# One row on each worker, written together.
			foreach my $i (1 .. 5)
			{
				$coordinator->safe_psql('postgres', "INSERT INTO far VALUES
				    (7000 + $i, 1, '[$i,7,7,7]'), (7100 + $i, 2, '[$i,7,7,7]')");
				$got .= $_->safe_psql('postgres', "SELECT id FROM far
				    ORDER BY embedding <-> '[$i,7,7,7]', id LIMIT 2") . "\n"
				  foreach @servers;
			}
			$coordinator->safe_psql('postgres', 'DELETE FROM far WHERE id > 7000');
			return ($got, join '', map { my $i = $_; map { "700$i\n710$i\n" } @servers } 1 .. 5);
		}
	],
	E12 => [
		'a cursor whose worker is gone does not go on elsewhere',
		sub {
			my $session = $coordinator->background_psql('postgres', on_error_stop => 0);
			my ($w2)    = $cluster->worker('w2');
			my $got     = '';

			$session->query("BEGIN; DECLARE c CURSOR FOR SELECT id FROM near $by");
			$got .= scalar(split ' ', $session->query('FETCH 30 FROM c')) . "\n";
			$w2->restart;
			my $rows = $session->query('FETCH 2000 FROM c');
			$got .= $rows =~ /\d/ ? 'rows' : 'none';
			$session->quit;
			return ($got, "30\nnone");
		}
	]);

foreach my $name (sort keys %form)
{
	my ($what, $run) = @{ $form{$name} };
	my ($got, $expected) = $run->();

	is($got, $expected, "$name: $what");
}

# ----------------------------------------------------------------------
# The tests notice mistakes
# ----------------------------------------------------------------------

my %mistake = (
	'dist-trust-share'      => ['A1'],
	'dist-count-rows'       => [ 'A1', 'A2' ],
	'dist-search-for-first' => ['A3'],
	'dist-keep-settings'    => ['A5'],
	'dist-forget-offset'    => ['A7'],
	'dist-filter-late'      => ['B1'],
	'dist-emit-early'       => ['B5'],
	'dist-larger-first'     => ['C1'],
	'dist-cut-ties'         => ['C7'],
	'dist-nan-first'        => ['C10'],
	'dist-bound-is-best'    => ['D2'],
	'dist-lose-partition'   => [ 'D5', 'A7' ]);

SKIP:
{
	# Builds for users do not know the setting.
	skip 'not a test build', scalar(map { @$_ } values %mistake)
	  if $coordinator->psql('postgres', 'SHOW vecdist.debug_mistake') != 0;

	foreach my $mistake (sort keys %mistake)
	{
		foreach my $server (@servers)
		{
			$server->safe_psql('postgres', "ALTER SYSTEM SET vecdist.debug_mistake = '$mistake'");
			$server->reload;
			$server->poll_query_until('postgres',
				"SELECT current_setting('vecdist.debug_mistake') = '$mistake'")
			  or die 'the setting does not arrive';
		}
		foreach my $name (@{ $mistake{$mistake} })
		{
			my @result = eval { $form{$name}[1]->() };

			ok(!@result || $result[0] ne $result[1], "$name notices $mistake");
		}
	}
}

done_testing();

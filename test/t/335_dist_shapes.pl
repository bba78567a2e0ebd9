# Every shape of query is searched, streamed, or planned by core, and EXPLAIN
# says which and why; the answer is that of one table.
#
# One row of the table in docs/reference/distributed_search.md after the other,
# over rows without index, of which all near ones are on one worker.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims        = 4;
my $cluster     = make_cluster(workers => 2, conf => "jit = off\n");
my $coordinator = $cluster->coordinator;
my $q           = '[0.5,0.5,0.5,0.5]';
my $d           = "embedding <-> '$q'";

sub query { return $coordinator->safe_psql('postgres', $_[0]); }

query(<<"SQL");
CREATE TABLE items (id bigint NOT NULL, cat int, embedding vector($dims)) PARTITION BY HASH (id);
CREATE TABLE more (LIKE items) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table(t, 8) FROM unnest('{items,more}'::regclass[]) t;
CREATE TABLE plain_items AS @{[ rows_near_in_one('items', 8, 3, 4000, $dims) ]};
CREATE TABLE plain_more AS SELECT id + 5000 AS id, cat + 1 AS cat, embedding FROM plain_items WHERE id % 3 = 0;
INSERT INTO items SELECT * FROM plain_items;
INSERT INTO more SELECT * FROM plain_more;
CREATE TABLE docs AS SELECT g::bigint AS id, g % 10 AS grade FROM generate_series(1, 4000, 3) g;
ALTER TABLE docs ADD PRIMARY KEY (id);
CREATE TABLE asked AS SELECT id, embedding FROM plain_items WHERE id % 700 = 1;
ANALYZE items, more, plain_items, plain_more, docs, asked;
SQL

# A statement and what is looked at after it, with ITEMS and MORE replaced.
sub answers
{
	my ($sql, $prefix) = @_;

	$sql =~ s/\bITEMS\b/${prefix}items/g;
	$sql =~ s/\bMORE\b/${prefix}more/g;
	return $sql;
}

# How the scan of a distributed table in a statement is done.
sub how
{
	my ($sql, $set) = @_;
	my $plan = query(($set // '') . 'EXPLAIN (COSTS OFF) ' . answers($sql, ''));

	return "stream: $1" if $plan =~ /Mode: streaming\n\s+Top-K Not Possible: ([^\n]*)/;
	return 'search' if $plan =~ /Distributed Top-K/;
	return "core: $1" if $plan =~ /Top-K Scan Not Used: ([^\n]*)/;
	return $plan;
}

sub shape
{
	my ($name, $how, $sql, $look) = @_;
	my ($distributed, $plain) =
	  map { query('BEGIN;' . answers($sql . ';' . ($look // ''), $_) . ';ROLLBACK') } '', 'plain_';

	is(how($sql), $how, "$name: $how");
	isnt($distributed, '', "$name: rows");
	is($distributed, $plain, "$name: the answer of one table");
	return;
}

# ----------------------------------------------------------------------
# Searches, each by itself
# ----------------------------------------------------------------------

my $near = "SELECT id, cat, $d AS d FROM ITEMS ORDER BY $d, id LIMIT 20";

shape('a sub-select in FROM', 'search',
	"SELECT s.id, grade FROM ($near) s LEFT JOIN docs USING (id) ORDER BY d, s.id");
shape('LIMIT within LIMIT', 'search',
	"SELECT id FROM (SELECT * FROM ($near OFFSET 3) a ORDER BY d, id LIMIT 9 OFFSET 2) b ORDER BY id LIMIT 4");
shape("CTE $_", 'search', "WITH near AS $_ ($near) SELECT a.id, b.id FROM near a, near b WHERE a.id < b.id ORDER BY 1, 2")
  foreach '', 'MATERIALIZED', 'NOT MATERIALIZED';
shape('a recursive CTE', 'search',
	"WITH RECURSIVE walk AS (SELECT 1 AS n, '$q'::vector AS v UNION ALL
	 SELECT n + 1, s.embedding FROM walk, LATERAL (SELECT embedding FROM ITEMS t WHERE t.id % 5 = n
		ORDER BY t.embedding <-> walk.v, t.id LIMIT 1) s WHERE n < 4) SELECT * FROM walk");
shape('a correlated sub-select in the select list', 'search',
	"SELECT id, (SELECT t.id FROM ITEMS t WHERE t.id <> asked.id ORDER BY t.embedding <-> asked.embedding, t.id LIMIT 1) FROM asked ORDER BY asked.id");
shape('a correlated sub-select in WHERE', 'search',
	"SELECT id FROM asked WHERE id % 2 = (SELECT t.id % 2 FROM ITEMS t ORDER BY t.embedding <-> asked.embedding, t.id OFFSET 1 LIMIT 1) OR id = 1 ORDER BY id");
shape('an array', 'search', "SELECT ARRAY(SELECT id FROM ITEMS ORDER BY $d, id LIMIT 20)");
shape('a sub-select of IN', 'search', "SELECT id FROM docs WHERE id IN (SELECT id FROM ITEMS ORDER BY $d LIMIT 200) ORDER BY id");
shape('aggregates over a search', 'search', "SELECT cat % 3, count(*), avg(d) FROM ($near) s GROUP BY ROLLUP (1) ORDER BY 1");
shape('a page after the last row of the one before', 'search',
	"SELECT id FROM ITEMS WHERE ($d, id) > (0.1::float8, 7::bigint) ORDER BY $d, id LIMIT 20");
shape('arms of UNION ALL with a LIMIT each', 'search',
	"(SELECT id, $d FROM ITEMS ORDER BY $d, id LIMIT 7) UNION ALL (SELECT id, $d FROM MORE ORDER BY $d, id LIMIT 7)");
shape('arms of UNION with a LIMIT each, ordered as a whole', 'search',
	"(SELECT id, $d AS d FROM ITEMS ORDER BY $d, id LIMIT 7) UNION (SELECT id, $d FROM MORE ORDER BY $d, id LIMIT 7) ORDER BY d, id LIMIT 9");

# Statements that write what a search finds.
query('CREATE TABLE found (id bigint PRIMARY KEY, d float8)');
my $look = 'SELECT * FROM found ORDER BY d, id';
shape('INSERT ... SELECT', 'search', "INSERT INTO found SELECT id, $d FROM ITEMS ORDER BY $d, id LIMIT 20", $look);
shape('CREATE TABLE AS', 'search', "CREATE TABLE made AS SELECT id, $d AS d FROM ITEMS ORDER BY $d, id LIMIT 20", 'SELECT * FROM made ORDER BY d, id');
shape('MERGE', 'search', "MERGE INTO docs USING (SELECT id FROM ITEMS ORDER BY $d, id LIMIT 50) s ON docs.id = s.id
	WHEN MATCHED THEN UPDATE SET grade = -1 WHEN NOT MATCHED THEN INSERT VALUES (s.id, -2)",
	'SELECT * FROM docs WHERE grade < 0 ORDER BY id');
shape('DELETE', 'search', "DELETE FROM docs WHERE id = ANY (ARRAY(SELECT id FROM ITEMS ORDER BY $d, id LIMIT 50))", 'SELECT sum(id) FROM docs');
shape('UPDATE of the table that is searched', 'search',
	"UPDATE ITEMS SET cat = -1 WHERE id = ANY (ARRAY(SELECT id FROM ITEMS ORDER BY $d, id LIMIT 50))",
	'SELECT id FROM ITEMS WHERE cat = -1 ORDER BY id');
shape('INSERT into another distributed table', 'search',
	"INSERT INTO MORE SELECT id + 9000, cat, embedding FROM ITEMS ORDER BY $d, id LIMIT 50",
	'SELECT id FROM MORE WHERE id > 9000 ORDER BY id');
shape('INSERT into the table that is searched', 'search',
	"INSERT INTO ITEMS SELECT id + 9000, cat, embedding FROM ITEMS ORDER BY $d, id LIMIT 50",
	"SELECT id FROM ITEMS ORDER BY $d, id LIMIT 60");

# ----------------------------------------------------------------------
# Streams
# ----------------------------------------------------------------------

my $several = 'the rows of several queries are ordered together';
my $tables = 'FROM has more than one table';

shape('WITH TIES', 'stream: WITH TIES may need more rows than LIMIT says',
	"SELECT id FROM ITEMS ORDER BY $d FETCH FIRST 20 ROWS WITH TIES");
shape('UNION ALL ordered as a whole', "stream: $several",
	"SELECT id, $d AS d FROM ITEMS UNION ALL SELECT id, $d FROM MORE ORDER BY d, id LIMIT 20");
shape('UNION ALL with conditions around it', "stream: $several",
	"SELECT id FROM (SELECT * FROM ITEMS UNION ALL SELECT * FROM MORE) s WHERE cat > 9 AND id + 0 * random() > 700 ORDER BY $d, id LIMIT 20 OFFSET 4");
shape('UNION ALL with a local table', "stream: $several",
	"SELECT id, $d AS d FROM ITEMS UNION ALL SELECT id, $d FROM asked ORDER BY d, id LIMIT 20");
shape('UNION ALL below ORDER BY', "stream: $several",
	"SELECT id, cat FROM (SELECT * FROM ITEMS UNION ALL SELECT * FROM MORE WHERE cat < 50) s ORDER BY $d, id LIMIT 20");
shape('UNION ALL in a join', "stream: $several",
	"SELECT s.id, grade FROM (SELECT * FROM ITEMS UNION ALL SELECT * FROM MORE) s JOIN docs USING (id) ORDER BY $d, s.id LIMIT 20");
shape('UNION ALL of one table with itself', "stream: $several",
	"SELECT id, cat, $d AS d FROM ITEMS UNION ALL SELECT id, -cat, $d FROM ITEMS WHERE cat > 0 ORDER BY d, id, cat LIMIT 20");
shape('DISTINCT ON the distance', 'stream: DISTINCT may drop rows',
	"SELECT DISTINCT ON ($d) id, cat FROM ITEMS ORDER BY $d, id LIMIT 20");
shape('a join with a search below', "stream: $tables",
	"SELECT t.id FROM ITEMS t JOIN ($near) s ON s.cat = t.cat AND t.id <> s.id ORDER BY t.$d, t.id, s.id LIMIT 20");
shape('an inequality of rows with a random part', 'stream: function random is not immutable',
	"SELECT id FROM ITEMS WHERE ($d, id) > (0.1 + 0 * random(), 7::bigint) ORDER BY $d, id LIMIT 20");

# ----------------------------------------------------------------------
# Core's plan, and why
# ----------------------------------------------------------------------

my $groups = 'groups and aggregates need all rows';

shape('GROUP BY', "core: $groups", "SELECT cat, min($d) FROM ITEMS GROUP BY cat ORDER BY min($d), cat LIMIT 20");
shape('GROUPING SETS', "core: $groups",
	"SELECT cat, id % 2, min($d) FROM ITEMS GROUP BY GROUPING SETS ((cat), (id % 2), ()) ORDER BY min($d), 1, 2 LIMIT 20");
shape('CUBE', "core: $groups", "SELECT cat % 2, id % 2, max($d) FROM ITEMS GROUP BY CUBE (1, 2) ORDER BY max($d), 1, 2");
shape('HAVING', "core: $groups", "SELECT cat FROM ITEMS GROUP BY cat HAVING min($d) > 0.3 ORDER BY min($d), cat LIMIT 20");
shape('two windows', 'core: window functions need all rows, or several orders',
	"SELECT id, rank() OVER (ORDER BY $d), rank() OVER (ORDER BY cat) FROM ITEMS ORDER BY $d, id LIMIT 20");
shape('a window by another order', 'core: window functions need most rows, or in another order',
	"SELECT id, row_number() OVER (ORDER BY id) FROM ITEMS ORDER BY $d, id LIMIT 20");
shape('DISTINCT ON another column', 'core: DISTINCT needs most rows, or in another order',
	"SELECT * FROM (SELECT DISTINCT ON (cat) cat, id, $d FROM ITEMS ORDER BY cat, $d, id) s LIMIT 20");
foreach my $operation (qw(UNION INTERSECT EXCEPT), 'INTERSECT ALL', 'EXCEPT ALL')
{
	shape("$operation ordered as a whole", "core: $several",
		"SELECT cat, $d AS d FROM ITEMS $operation SELECT cat, $d FROM ITEMS WHERE cat > 50 ORDER BY d, cat LIMIT 20");
}
shape('UNION ALL of types that differ', "core: $several",
	"SELECT id, $d AS d FROM ITEMS UNION ALL SELECT cat, $d FROM ITEMS ORDER BY d, id LIMIT 20");
shape('UNION ALL with conditions in its arms', "core: $several",
	"SELECT id, $d AS d FROM ITEMS WHERE cat > 9 UNION ALL SELECT id, $d FROM MORE WHERE id > 5700 ORDER BY d, id LIMIT 20");
shape('UNION ALL in an arm of UNION', "core: $several",
	"SELECT id, $d AS d FROM ITEMS UNION ALL SELECT id, $d FROM MORE UNION SELECT id, $d FROM MORE ORDER BY d, id LIMIT 20");
shape('locked', 'core: rows are to be locked',
	"SELECT id FROM ITEMS ORDER BY $d, id LIMIT 3 FOR NO KEY UPDATE");
shape('descending', 'core: ORDER BY is not by ascending distance', "SELECT id FROM ITEMS ORDER BY $d DESC, id LIMIT 20");
shape('NULLS FIRST', 'core: ORDER BY is not by ascending distance', "SELECT id FROM ITEMS ORDER BY $d NULLS FIRST, id LIMIT 20");
shape('a row as key', 'core: ORDER BY is not by ascending distance', "SELECT id FROM ITEMS ORDER BY ($d, id) LIMIT 20");
shape('an outer join that keeps the other side', "core: $tables",
	"SELECT t.id, docs.id FROM ITEMS t FULL JOIN docs USING (id) ORDER BY $d, 1, 2 LIMIT 20");
shape('all rows', 'core: there is no LIMIT', "SELECT id FROM ITEMS ORDER BY $d, id");

# ----------------------------------------------------------------------
# What is refused, and what is done instead
# ----------------------------------------------------------------------

my (undef, undef, $error) = $coordinator->psql('postgres',
	"\\set VERBOSITY verbose\nSELECT id FROM items TABLESAMPLE BERNOULLI (50) ORDER BY $d LIMIT 20");
like($error, qr/ERROR:  0A000: cannot sample partition "items_0" of a worker.*WHERE random/s, 'TABLESAMPLE');
cmp_ok(query("SELECT count(*) FROM items WHERE random() < 0.01"), '<', 400, 'a share of the rows');

done_testing();

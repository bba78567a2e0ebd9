# Tables placed by centroid: routing, sets of centroids, and how many
# partitions a search asks.
#
# Every answer of a search that calls itself certified is compared with the
# exact one of a plain table.  Sets of centroids must be the same on all servers
# and never change.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster = make_cluster(workers => 2, conf => "jit = off\n");
my $coordinator = $cluster->coordinator;
my ($w1, $w2) = map { $cluster->worker($_) } qw(w1 w2);
my $dims = 8;

sub query { return $coordinator->safe_psql('postgres', $_[0]); }

# A statement on a server must fail with a SQLSTATE and a message.
sub fails
{
	my ($sql, $sqlstate, $message, $name, $server) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (undef, undef, $stderr) = ($server // $coordinator)->psql('postgres',
		"\\set VERBOSITY verbose\n$sql");

	return like($stderr, qr/ERROR:  $sqlstate: .*$message/s, $name);
}

# Clusters as k-means finds them, with a few strange rows.
my $vectors = random_vectors(3000, $dims, clusters => 8, spread => 0.15);
query("CREATE TABLE plain (id bigint, embedding vector($dims))");
load_vectors($coordinator, 'plain', $vectors);
my $zero = '[' . join(',', (0) x $dims) . ']';
query("INSERT INTO plain VALUES (10001, NULL), (10002, '$zero'), (10003, NULL)");

# ----------------------------------------------------------------------
# Sets of centroids
# ----------------------------------------------------------------------

my $l2 = query("SELECT vecdist.train_centroids('items', 'SELECT embedding FROM plain', 8)");
my $cosine = query(
	"SELECT vecdist.train_centroids('items', 'SELECT embedding FROM plain', 6, 'cosine')");
is( query('SELECT id, name, version, metric, centroids, dimensions FROM vecdist.centroid_sets ORDER BY id'),
	"$l2|items|1|l2|8|$dims\n$cosine|items|2|cosine|6|$dims",
	'two versions stand beside each other');
my $sets = 'SELECT * FROM vecdist.centroid_set ORDER BY id';
is($_->safe_psql('postgres', $sets), query($sets), 'the worker has the same sets')
  foreach $w1, $w2;
is( query("SELECT sum(s) FROM vecdist.centroid_set, unnest(sampled) s WHERE id = $l2"),
	2048, 'trained from 256 rows for each centroid');

# Cells are even because the clusters are.
cmp_ok(
	query("SELECT min(n) FROM (SELECT count(*) AS n FROM plain
	       WHERE embedding IS NOT NULL GROUP BY vecdist.nearest_centroid(embedding, $l2)) s"),
	'>', 100, 'k-means finds all clusters');
is( query("SELECT count(*) FROM plain,
	LATERAL (SELECT i - 1 AS nearest FROM vecdist.centroid_set s, generate_subscripts(s.centroids, 1) i
		WHERE s.id = $l2 ORDER BY plain.embedding <-> s.centroids[i], i LIMIT 1) c
	WHERE vecdist.nearest_centroid(embedding, $l2) IS DISTINCT FROM nearest AND embedding IS NOT NULL"),
	0, 'nearest_centroid is the nearest by L2');
is( query("SELECT count(*) FROM plain,
	LATERAL (SELECT i - 1 AS nearest FROM vecdist.centroid_set s, generate_subscripts(s.centroids, 1) i
		WHERE s.id = $cosine ORDER BY plain.embedding <=> s.centroids[i], i LIMIT 1) c
	WHERE vecdist.nearest_centroid(embedding, $cosine) <> nearest AND id < 10000"),
	0, 'nearest_centroid is the nearest by angle');

# Values at which single precision overflows or underflows.
my $given = query("SELECT vecdist.create_centroids('given', '{\"[1e30,0]\",\"[0,0]\",\"[3e-30,0]\"}')");
is( query("SELECT vecdist.nearest_centroid(v::vector, $given) FROM unnest('{\"[1e30,1e20]\",\"[1e29,0]\",\"[1e-30,0]\",\"[2e-30,0]\"}'::text[]) v"),
	"0\n1\n1\n2", 'distances out of the range of single precision');
is( query("SELECT vecdist.nearest_centroid(NULL, $given) IS NULL"),
	't', 'NULL has no nearest centroid');

foreach my $server ($coordinator, $w1)
{
	my $where = $server->name;

	fails("UPDATE vecdist.centroid_set SET centroids = centroids[2:]",
		'55000', 'cannot be changed.*new version', "$where: UPDATE", $server);
	fails("SET session_replication_role = replica; UPDATE vecdist.centroid_set SET name = 'x'",
		'55000', 'cannot be changed', "$where: UPDATE by replication", $server);
	fails('TRUNCATE vecdist.centroid_set', '55000', 'cannot be changed',
		"$where: TRUNCATE", $server);
	fails("INSERT INTO vecdist.centroid_set VALUES ($l2, 'items', 3, 'l2', '{\"[1]\"}')",
		'23505', "another centroid set $l2 exists", "$where: another set of the same id", $server);
}
$w1->safe_psql('postgres', "INSERT INTO vecdist.centroid_set SELECT * FROM vecdist.centroid_set");
pass('the same set again is skipped');

fails("SELECT vecdist.nearest_centroid('[1,2]', $l2)", '22000', "expected $dims dimensions, not 2", 'wrong length');
fails("SELECT vecdist.nearest_centroid('[1,2]', 99)", '42704', 'centroid set 99 does not exist', 'no such set');
fails("SELECT vecdist.create_centroids('', '{\"[1]\"}')", '42602', 'cannot be empty', 'no name');
fails("SELECT vecdist.create_centroids('x', '{}')", '22023', 'between 1 and 1024', 'no centroids');
fails("SELECT vecdist.create_centroids('x', '{\"[1]\",NULL}')", '22004', 'centroid 1 cannot be null', 'NULL centroid');
fails("SELECT vecdist.create_centroids('x', '{\"[1]\",\"[1,2]\"}')", '22000', 'different numbers of dimensions', 'lengths differ');
fails("SELECT vecdist.create_centroids('x', '{\"[1]\",\"[2]\",\"[1]\"}')", '22023', 'centroids 0 and 2 are equal', 'equal centroids');
fails("SELECT vecdist.create_centroids('x', '{\"[0,0]\",\"[1,2]\"}', 'cosine')", '22023', 'centroid 0 is zero', 'zero centroid');
fails("SELECT vecdist.create_centroids('x', '{\"[1]\"}', 'ip')", '22023', 'invalid metric "ip".*cosine', 'metric');
fails("SELECT vecdist.train_centroids('x', 'SELECT embedding FROM plain', 0)", '22023', 'between 1 and 1024', 'zero centroids');
fails("SELECT vecdist.train_centroids('x', 'SELECT embedding FROM plain WHERE id < 5', 8)", '22023', '4 vectors are too few', 'few rows');
fails("SELECT vecdist.train_centroids('x', 'SELECT ''[1]''::vector FROM plain', 2)", '22023', 'only 1 different vectors', 'equal rows');
fails("SELECT vecdist.train_centroids('x', 'SELECT id FROM plain', 2)", '42804', 'one column of type vector.*Cast', 'not vectors');
fails("SELECT vecdist.train_centroids('x', 'DELETE FROM plain', 2)", '22023', 'is not a query', 'not a query');
fails("SELECT vecdist.create_centroids('x', '{\"[1]\"}')", '55000', 'on a worker', 'on a worker', $w1);

# What was made in a transaction that is rolled back leaves nothing behind, not
# even in the memory of the session.
fails("BEGIN;
	SAVEPOINT s;
	SELECT vecdist.create_centroids('gone', '{\"[1]\"}') AS id \\gset
	SELECT vecdist.nearest_centroid('[1]', :id);
	ROLLBACK TO s;
	SELECT vecdist.nearest_centroid('[1]', :id);",
	'42704', 'centroid set \d+ does not exist', 'a set that was rolled back is forgotten');

# ----------------------------------------------------------------------
# Tables
# ----------------------------------------------------------------------

sub make_table
{
	my ($name, $set, $index) = @_;

	query("CREATE TABLE $name (id bigint, embedding vector($dims))
		PARTITION BY LIST (vecdist.nearest_centroid(embedding, $set));
	SELECT vecdist.create_distributed_table('$name', strategy => 'centroid');
	" . ($index ? "CREATE INDEX ON $name USING vhnsw (embedding $index);" : '') . "
	INSERT INTO $name SELECT * FROM plain WHERE id % 2 = 0;");
	load_vectors($coordinator, $name,
		[ map { $vectors->[ 2 * $_ ] } 0 .. @$vectors / 2 - 1 ], first => 20001);
	query("INSERT INTO $name SELECT id, embedding FROM plain WHERE id > 10000 AND id % 2 = 1");
	return;
}

query('CREATE TABLE other (id bigint, tenant int, v vector(2)) PARTITION BY LIST (tenant)');
fails("SELECT vecdist.create_distributed_table('other', strategy => 'centroid')",
	'22023', 'partitioned by list, not by centroid.*nearest_centroid', 'not placed by centroid');
fails("SELECT vecdist.create_distributed_table('other', strategy => 'hash')",
	'22023', 'partitioned by list, not by hash', 'another strategy');
fails("SELECT vecdist.create_distributed_table('other', strategy => 'magic')",
	'22023', 'invalid strategy "magic".*hash, list, range and centroid', 'no strategy');
query("SELECT vecdist.create_distributed_table('other', strategy => 'list')");
query("CREATE TABLE wrong (embedding vector) PARTITION BY LIST (vecdist.nearest_centroid(embedding, $l2))");
fails("SELECT vecdist.create_distributed_table('wrong', 4)",
	'22023', 'cannot be given.*Each centroid', 'number of partitions');
query('DROP TABLE wrong');

make_table('items', $l2, 'vector_l2_ops');
make_table('angles', $cosine, '');
# The rows loaded by COPY have ids of their own: bring them back.
query("UPDATE $_ SET id = 2 * (id - 20000) - 1 WHERE id > 20000") foreach qw(items angles);

is( query("SELECT count(*) FROM vecdist.partitions WHERE relation = 'items'::regclass"),
	8, 'a partition for each centroid');
my @load = split /\n/, query(
	"SELECT sum(s) FROM vecdist.centroid_set, unnest(sampled) WITH ORDINALITY AS u (s, i)
	 JOIN vecdist.partitions p ON p.relation = 'items'::regclass AND p.partition = ('items_' || i - 1)::regclass
	 WHERE id = $l2 GROUP BY worker ORDER BY 1");
cmp_ok($load[1], '<', 1.3 * $load[0], 'sampled rows are spread over the workers evenly');
is( query("SELECT count(*) FROM items WHERE tableoid <> ('items_' || coalesce(vecdist.nearest_centroid(embedding, $l2), 0))::regclass"),
	0, 'INSERT and COPY put each row where it belongs');
is( query('SELECT count(*), count(embedding) FROM items'), "3003|3001", 'and lose none');
is( query('SELECT id FROM items EXCEPT SELECT id FROM plain'), '', 'nor make any up');
foreach my $worker ($w1, $w2)
{
	like(
		$worker->safe_psql('postgres',
			"SELECT string_agg(format('%s', (xpath('/row/n/text()', query_to_xml(format(
				'SELECT count(*) AS n FROM %s WHERE coalesce(vecdist.nearest_centroid(embedding, $l2), 0) <> %s',
				partition, substring(partition::text from '\\d+\$')), false, true, '')))[1]), ',')
			 FROM vecdist.partitions WHERE relation = 'items'::regclass AND bytes IS NOT NULL"),
		qr/^(0,)*0$/, $worker->name . ' agrees about every row');
}
like(
	query("EXPLAIN (COSTS OFF) SELECT * FROM items WHERE vecdist.nearest_centroid(embedding, $l2) = 3"),
	qr/^Foreign Scan on items_3 items/, 'a condition on the key touches one partition');

# A row may not move; it stays as it was.
my ($id) = split /\|/, query('SELECT id FROM items WHERE embedding IS NOT NULL ORDER BY id LIMIT 1');
fails("UPDATE items SET embedding = '$zero' WHERE id = $id",
	'0A000', 'update of the partition key.*DETAIL:  A row with another key may belong.*HINT:  Delete the rows.*INSERT INTO public.items SELECT',
	'UPDATE of the vector');
is( query("BEGIN;
	DELETE FROM items WHERE id = $id; INSERT INTO items VALUES ($id, '$zero');
	COMMIT;
	SELECT embedding FROM items WHERE id = $id"),
	$zero, 'DELETE and INSERT in one transaction move it');
query("BEGIN; DELETE FROM items WHERE id = $id; INSERT INTO items SELECT * FROM plain WHERE id = $id; COMMIT;");

# As the hint says, many rows at once, while others write.
{
	my $mover = $coordinator->background_psql('postgres');
	my $other = $coordinator->background_psql('postgres');

	$mover->query_safe("BEGIN; CREATE TEMP TABLE moved ON COMMIT DROP AS
		SELECT id, l2_normalize(embedding) AS embedding FROM items WHERE id BETWEEN 1 AND 1000 FOR UPDATE");
	$other->query_until(qr/start/, "\\echo start\nBEGIN; UPDATE items SET id = 20000 WHERE id = 77; \\echo done\n");
	ok( $coordinator->poll_query_until('postgres',
			"SELECT bool_or(result::int > 0) FROM vecdist.run_on_workers('SELECT count(*) FROM pg_locks WHERE NOT granted')"),
		'a row that moves is locked');
	$mover->query_safe("DELETE FROM items WHERE id = ANY (ARRAY(SELECT id FROM moved));
		INSERT INTO items SELECT * FROM moved; COMMIT");
	$other->query_safe('COMMIT');
	$_->quit foreach $mover, $other;
	is( query("SELECT count(*), count(DISTINCT i.id), bool_and(i.embedding = l2_normalize(p.embedding)) FROM items i JOIN plain p USING (id) WHERE id BETWEEN 1 AND 1000"),
		'1000|1000|t', 'all rows have moved, and each is there once');
	is( query("SELECT count(*) FROM items WHERE tableoid <> ('items_' || coalesce(vecdist.nearest_centroid(embedding, $l2), 0))::regclass OR id = 20000"),
		0, 'where they belong; who waited has changed nothing');
	query("BEGIN; DELETE FROM items WHERE id BETWEEN 1 AND 1000;
		INSERT INTO items SELECT * FROM plain WHERE id BETWEEN 1 AND 1000; COMMIT");
}

fails("SELECT vecdist.drop_centroids($l2)", '2BP01', 'Table "items" places its rows', 'a set in use is not dropped');
query("SELECT vecdist.drop_centroids($given)");
is($_->safe_psql('postgres', "SELECT count(*) FROM vecdist.centroid_set WHERE id = $given"),
	0, $_->name . ': a set that no table uses is dropped')
  foreach $coordinator, $w1, $w2;

# ----------------------------------------------------------------------
# Searches
# ----------------------------------------------------------------------

# The certificate, partitions asked and answer of one search.
sub search
{
	my ($table, $operator, $vector, $k, $probes, $where, $mistake) = @_;
	my $sql = "SELECT id, embedding $operator '$vector' FROM $table " . ($where // '') .
	  " ORDER BY embedding $operator '$vector' LIMIT $k";
	my $output = query("SET extra_float_digits = 3; SET vecdist.probes = $probes;
		" . ($mistake ? "SET vecdist.debug_mistake = '$mistake';" : '') . "
		EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) $sql;
		\\echo ---
		$sql");
	my ($plan, $rows) = split /---\n?/, $output;
	my ($certificate) = $plan =~ /Merge Certified: (.*)/;
	my $asked = () = $plan =~ /Partition: \S+ \(rows/g;

	return ($certificate, $asked, [ map { [split /\|/] } split /\n/, $rows // '' ]);
}

query('SELECT vecdist.stat_search_reset()');
my %seen;
my $queries = random_vectors(12, $dims, clusters => 8, spread => 0.15, seed => 1);
push @$queries, @{ random_vectors(6, $dims, seed => 5) }, $zero;
foreach my $case (
	[ 'items', '<->', 8 ], [ 'items', '<#>', 8 ], [ 'items', '<+>', 8 ], [ 'items', '<=>', 8 ],
	[ 'angles', '<=>', 6 ], [ 'angles', '<->', 6 ])
{
	my ($table, $operator, $n) = @$case;

	foreach my $i (0 .. $#$queries)
	{
		my $q      = $queries->[$i];
		my $k      = (5, 1, 40)[ $i % 3 ];
		my $exact  = exact_topk($coordinator, 'plain', $q, $k, operator => $operator);
		my $probes = (1, 2, 3)[ ($i / 3) % 3 ];
		my ($certificate, $asked, $rows) = search($table, $operator, $q, $k, $probes);

		if ($i < 2)
		{
			my ($all, $all_asked, $all_rows) = search($table, $operator, $q, $k, 0);
			is("$all $all_asked", "yes $n", "$table $operator: all partitions are asked");
			same_topk($all_rows, $exact, "$table $operator: all partitions, query $i");
		}
		is($asked, $probes, "$table $operator: $probes partitions asked");
		if ($certificate =~ /^yes \($probes of $n partitions asked, the others are farther\)$/)
		{
			$seen{"$table $operator yes"}++;
			same_topk($rows, $exact, "$table $operator: certified, query $i");
		}
		else
		{
			like($certificate, qr/^no \($probes of $n partitions asked, [1-$n] more may have nearer rows: vecdist.probes\)$/,
				"$table $operator: not certified");
			$seen{"$table $operator no"}++;
			is(scalar @$rows, $k, 'but as many rows as asked for');
		}
	}
}
note join ', ', map { "$_ $seen{$_}" } sort keys %seen;
# Each search ran twice, with EXPLAIN and without; vecdist.stat_search counts both.
is(query(q{SELECT string_agg(relation || ' ' || not_certified, ' ' ORDER BY relation::text)
		FROM vecdist.stat_search WHERE relation IN ('items'::regclass, 'angles'::regclass)}),
	join(' ', map {
		my $table = $_;
		my $n = 0;
		/^$table .* no$/ and $n += $seen{$_} foreach keys %seen;
		"$table " . 2 * $n
	} qw(angles items)),
	'vecdist.stat_search: answers that are not certified');
ok($seen{'items <-> yes'} && $seen{'items <-> no'}, 'L2 is proved for some queries and not for others');
ok($seen{'angles <=> yes'} && $seen{'angles <=> no'}, 'and so is cosine');
ok(!grep({ $seen{$_} } 'items <#> yes', 'items <+> yes', 'items <=> yes', 'angles <-> yes'),
	'nothing is proved by the borders of another metric');

# The comparison notices a bound that takes a cell for its center.
SKIP:
{
	skip 'not a test build', 1
	  if $coordinator->psql('postgres', 'SHOW vecdist.debug_mistake') != 0;
	my $wrong = 0;
	foreach my $q (@$queries)
	{
		my ($certificate, undef, $rows) = search('items', '<->', $q, 40, 1, '', 'dist-center-bound');
		$wrong++ if $certificate =~ /^yes/ && recall_at_k($rows,
			exact_topk($coordinator, 'plain', $q, 40)) < 1;
	}
	cmp_ok($wrong, '>', 0, "a false bound is noticed ($wrong times)");
}

# Short answers are not given while partitions were not asked.
my ($certificate, $asked, $rows) = search('items', '<->', $queries->[0], 5000, 2);
is("$certificate $asked " . scalar @$rows, 'yes 8 3003', 'all rows wanted: all partitions asked');
($certificate, $asked, $rows) = search('items', '<->', $queries->[0], 3, 1, 'WHERE id = 10002');
is("$certificate $asked $rows->[0][0]", 'yes 8 10002', 'short answer: the others are asked, too');
($certificate, $asked) = search('items', '<->', $queries->[0], 3, 1,
	"WHERE vecdist.nearest_centroid(embedding, $l2) IN (2, 4, 5)");
is("$asked of 3", '1 of 3', 'of what the condition leaves, the nearest partition is asked');
like($certificate, qr/\(1 of 3 partitions/, 'and the others are counted');
is( query("SET vecdist.probes = 1; SELECT count(*) FROM (SELECT * FROM items ORDER BY embedding <-> NULL::vector LIMIT 7) s"),
	7, 'no query vector');
fails("SET vecdist.probes = 1; SELECT id FROM items ORDER BY embedding <-> '[1,2]' LIMIT 3",
	'22000', 'different vector dimensions', 'query vector of another length');
is( query("SET vecdist.probes = 2; SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT id FROM items ORDER BY embedding <-> \$1 LIMIT 1;
	EXECUTE p ('$vectors->[9]'); EXECUTE p ('$vectors->[19]')"),
	"10\n20", 'the query vector is a parameter');

# A worker asks its own partitions and those of others alike.
foreach my $q (@$queries[ 0 .. 3 ])
{
	my $sql = "SET vecdist.probes = 1; SELECT id FROM items ORDER BY embedding <-> '$q' LIMIT 3";
	is($w1->safe_psql('postgres', $sql), query($sql), 'the same from a worker');
}

# ----------------------------------------------------------------------
# Streams
# ----------------------------------------------------------------------

query("CREATE TABLE grades AS SELECT id, id % 5 AS grade FROM plain; ALTER TABLE grades ADD PRIMARY KEY (id); ANALYZE grades, plain, items, angles");

# Shapes that are streamed: what is before and what is behind "ORDER BY distance".
my %shape = (
	condition => [ 'FROM TABLE t WHERE t.id > -random()', 'LIMIT K' ],
	ties      => [ 'FROM TABLE t', 'FETCH FIRST K ROWS WITH TIES' ],
	join      => [ 'FROM TABLE t JOIN grades USING (id) WHERE grade < 3', 'LIMIT K' ],
	set       => [ ', generate_series(1, 2) FROM TABLE t', 'LIMIT K' ],
	window    => [ ', row_number() OVER (ORDER BY D) FROM TABLE t', 'LIMIT K' ]);

# Certificate, partitions asked, and rows of a stream; and the rows of a plain table.
sub stream
{
	my ($name, $table, $operator, $vector, $k, $probes, $mistake) = @_;
	my ($from, $limit) = @{ $shape{$name} };
	my $d   = "embedding $operator '$vector'";
	my $sql = "SELECT t.id, $d $from ORDER BY $d, t.id $limit";
	my $set = "SET extra_float_digits = 3; SET vecdist.probes = $probes;";

	$set .= "SET vecdist.debug_mistake = '$mistake';" if $mistake;
	$sql =~ s/\bK\b/$k/;
	$sql =~ s/\bD\b/$d/;
	my ($plan, $got, $expected) = split /\n?---\n?/, query("$set
		EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) @{[ $sql =~ s/TABLE/$table/r ]};
		\\echo ---
		@{[ $sql =~ s/TABLE/$table/r ]};
		\\echo ---
		@{[ $sql =~ s/TABLE/plain/r ]}");
	my ($certificate) = $plan =~ /Mode: streaming.*Merge Certified: ([^\n]*)/s;
	my $asked = () = $plan =~ /Partition: \S+ \(rows/g;

	return ($certificate // 'not streamed', $asked, $got, $expected);
}

query('SELECT vecdist.stat_search_reset()');
my %streamed;
foreach my $case ([ 'items', '<->', 8 ], [ 'items', '<#>', 8 ], [ 'angles', '<=>', 6 ])
{
	my ($table, $operator, $n) = @$case;
	my $i = 0;

	foreach my $name (sort keys %shape)
	{
		my $where = "stream, $table $operator, $name";
		my ($all, $all_asked, $got, $expected) = stream($name, $table, $operator, $queries->[3], 20, 0);
		is("$all $all_asked", "yes $n", "$where: without probes all partitions are asked");
		is($got, $expected, "$where: and the answer is that of one table");

		foreach my $q (@$queries[ 0 .. 5, 12, 13 ])
		{
			my $probes = 1 + $i++ % 3;
			my ($certificate, $asked);

			($certificate, $asked, $got, $expected) =
			  stream($name, $table, $operator, $q, (3, 12)[ $i % 2 ], $probes);
			is($asked, $probes, "$where: $probes partitions are asked");
			my ($answer) = $certificate =~ /^(yes|no) \($probes of $n partitions asked, /;
			$streamed{"$table $operator " . ($answer // $certificate)}++;
			is($got, $expected, "$where: certified") if ($answer // '') eq 'yes';
			is(scalar(split /\n/, $got), scalar(split /\n/, $expected), "$where: as many rows")
			  if $name ne 'ties';
		}
	}
}
note join ', ', map { "$_ $streamed{$_}" } sort keys %streamed;
is(join(', ', sort keys %streamed),
	'angles <=> no, angles <=> yes, items <#> no, items <-> no, items <-> yes',
	'streams: some are proved, others are not, and nothing else happens');
is( query(q{SELECT not_certified FROM vecdist.stat_search WHERE relation = 'items'::regclass}),
	2 * ($streamed{'items <-> no'} + $streamed{'items <#> no'}),
	'vecdist.stat_search: streams that are not certified');

SKIP:
{
	skip 'not a test build', 1
	  if $coordinator->psql('postgres', 'SHOW vecdist.debug_mistake') != 0;
	my $wrong = 0;
	foreach my $q (@$queries)
	{
		my ($certificate, undef, $got, $expected) =
		  stream('condition', 'items', '<->', $q, 40, 1, 'dist-center-bound');
		$wrong++ if $certificate =~ /^yes/ && $got ne $expected;
	}
	cmp_ok($wrong, '>', 0, "streams: a false bound is noticed ($wrong times)");
}

# The more rows are read, the more partitions are asked.  What one that is asked
# later has before the rows that were returned is left out, and counted; nothing
# else is missing, and all is in order.
foreach my $server ($coordinator, $w1)
{
	my $where = 'streams, ' . $server->name;
	my $sql = "SELECT id, embedding <-> '$queries->[1]' AS d FROM items WHERE id > -random() ORDER BY d";
	my $set = 'SET vecdist.probes = 1; SET cursor_tuple_fraction = 0.01;';
	my $explained = sub {
		return $server->safe_psql('postgres', "$set EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) $_[0]");
	};
	my @asked = map { scalar(() = $explained->("$sql LIMIT $_") =~ /Partition: \S+ \(rows/g) } 50, 51, 101, 201;

	is("@asked", '1 2 4 8', "$where: partitions asked for 50, 51, 101, 201 rows");
	my $plan = $explained->("DECLARE c CURSOR FOR $sql");
	my ($returned) = $plan =~ /Distributed Top-K\) \(actual rows=(\d+)/;
	my ($late) = $plan =~ /Merge Certified: no: (\d+) rows? (?:was|were) found after/;
	is($returned + ($late // 0), 3003, "$where: a cursor read to the end: $returned rows, and those counted");
	cmp_ok($late // 0, '<=', 400, "$where: rows left out");
	is( $server->safe_psql('postgres', "$set BEGIN; DECLARE c CURSOR FOR $sql;
			CREATE TEMP TABLE fetched (n serial, id bigint, d float8);
			DO \$\$ DECLARE c refcursor := 'c'; r record; BEGIN
				LOOP FETCH c INTO r; EXIT WHEN NOT FOUND; INSERT INTO fetched (id, d) VALUES (r.id, r.d); END LOOP;
			END \$\$;
			SELECT count(*), count(DISTINCT id), bool_and(coalesce(d >= before, true)) FROM
				(SELECT id, d, lag(d) OVER (ORDER BY n) AS before FROM fetched) s;
			ROLLBACK"),
		"$returned|$returned|t", "$where: in order, none twice");
}

# Only the worker of the partition asked gets a message.
foreach my $condition ('true', 'id > -random()')
{
	my $plan = query("SET vecdist.probes = 1; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF)
		SELECT id FROM items WHERE $condition ORDER BY embedding <-> '$queries->[1]' LIMIT 5");
	is(join(' ', $plan =~ /round trips (\d+)/g), '1', "one partition: one message, $condition");
}

# Where the asked ones have too few rows the others are asked.
my $few = query("SET vecdist.probes = 1; SET extra_float_digits = 3;
	EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
	SELECT id FROM items WHERE id > 10001 - random() ORDER BY embedding <-> '$queries->[1]' LIMIT 3");
like($few, qr/Limit \(actual rows=3 .*Merge Certified: yes/s, 'streams: a short answer: the others are asked, too');
is( query("SET vecdist.probes = 1; BEGIN ISOLATION LEVEL REPEATABLE READ;
		DECLARE c CURSOR FOR SELECT id FROM items ORDER BY embedding <-> '$queries->[1]';
		FETCH 1 FROM c; SAVEPOINT s; MOVE 500 FROM c; ROLLBACK TO s;
		SELECT 1; ROLLBACK") =~ s/^\d+\n//r,
	'1', 'streams: partitions asked within a savepoint');
is( query("SET vecdist.probes = 1; SELECT count(*) FROM (SELECT id FROM items WHERE id > -random() ORDER BY embedding <-> NULL::vector LIMIT 7) s"),
	7, 'streams: no query vector');
# What EXPLAIN says of several searches is about all, not about the last.
{
	my ($sure, $unsure) = (random_vector($dims, seed => 77), undef);
	foreach my $q (@$queries)
	{
		my ($certificate) = search('items', '<->', $q, 20, 1);
		$sure = $q if $certificate =~ /^yes/;
		$unsure //= $q if $certificate =~ /^no/;
	}
	foreach my $condition ('true', 't.id > -random()')
	{
		like(query("SET vecdist.probes = 1; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)
			SELECT s.id FROM unnest(ARRAY['$unsure', '$sure']::vector[]) WITH ORDINALITY AS r (v, n),
			LATERAL (SELECT t.id FROM items t WHERE $condition ORDER BY t.embedding <-> r.v LIMIT 20) s"),
			qr/Searches: 2\n.*Merge Certified: no \(in 1 of 2 searches partitions that were not asked/s,
			"one of two searches is not certified, $condition");
	}
}
# A generic plan leaves partitions by its values; of these the nearest are asked.
like(query("SET vecdist.probes = 2; SET plan_cache_mode = force_generic_plan;
	PREPARE p (int, int, int) AS SELECT id FROM items WHERE vecdist.nearest_centroid(embedding, $l2) IN (\$1, \$2, \$3)
		ORDER BY embedding <-> '$queries->[2]' LIMIT 5;
	EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE p (1, 3, 6)"),
	$coordinator->safe_psql('postgres', 'SHOW server_version_num') < 180000 ?
	qr/\(2 of 3 partitions.*Partitions Removed: 5\n/s : qr/2 of 8/,
	'of what the values leave, the nearest partitions are asked');
# A loop of searches with parameters, of streams that widen.
is( query("SET vecdist.probes = $_; SELECT count(*), count(DISTINCT s.id) > 200 FROM (SELECT id, embedding FROM plain WHERE id IN (3, 500, 999)) r,
	LATERAL (SELECT t.id FROM items t WHERE t.id > -random() ORDER BY t.embedding <-> r.embedding LIMIT 130) s"),
	'390|t', "streams: LATERAL, $_ probes") foreach 1, 2, 0;

# ----------------------------------------------------------------------
# Keys that are no plain column
# ----------------------------------------------------------------------

# By a cast of a column of halfvec, a cast to a length, a rounded column, and a
# part of the vector.
query("CREATE TABLE plain_half AS SELECT id, embedding::halfvec($dims) AS embedding FROM plain WHERE embedding IS NOT NULL");
my $first_half = query("SELECT vecdist.train_centroids('half', 'SELECT subvector(embedding, 1, 4) FROM plain WHERE embedding IS NOT NULL', 6)");
my %other_key = (
	half   => [ "halfvec($dims)", "embedding::vector", $l2 ],
	cast   => [ 'vector',         "embedding::vector($dims)", $l2 ],
	rounded => [ 'vector',        "embedding::halfvec($dims)::vector", $l2 ],
	part   => [ 'vector',         'subvector(embedding, 1, 4)', $first_half ]);
foreach my $name (sort keys %other_key)
{
	my ($type, $key, $set) = @{ $other_key{$name} };

	query("CREATE TABLE key_$name (id bigint, embedding $type) PARTITION BY LIST (vecdist.nearest_centroid($key, $set));
		SELECT vecdist.create_distributed_table('key_$name', strategy => 'centroid');
		INSERT INTO key_$name SELECT id, embedding FROM plain WHERE embedding IS NOT NULL");
}
my $no_match = 'rows are placed by something else than they are ordered by';
foreach my $case (
	# table, distance, with V for the vector; is anything proved, or why are all asked
	[ 'half',    "embedding <-> 'V'::halfvec",                'yes' ],
	[ 'half',    "embedding::vector <-> 'V'",                 'yes' ],
	[ 'half',    "embedding::vector($dims) <-> 'V'",          'yes' ],
	[ 'half',    "'V'::halfvec($dims) <-> embedding",         'yes' ],
	[ 'half',    "embedding <#> 'V'::halfvec",                'no' ],
	[ 'half',    "l2_normalize(embedding) <-> 'V'::halfvec",  $no_match ],
	[ 'cast',    "embedding <-> 'V'",                         'yes' ],
	[ 'cast',    "embedding::vector($dims) <-> 'V'",          'yes' ],
	[ 'cast',    "embedding::halfvec($dims) <-> 'V'",         'no' ],
	[ 'rounded', "embedding <-> 'V'",                         'no' ],
	[ 'rounded', "embedding::halfvec($dims) <-> 'V'",         'yes' ],
	[ 'part',    "subvector(embedding, 1, 4) <-> subvector('V'::vector, 1, 4)", 'yes' ],
	[ 'part',    "embedding <-> 'V'",                         $no_match ])
{
	my ($name, $distance, $proof) = @$case;
	my %proved = (yes => 0, no => 0);
	my %asked;

	foreach my $q (@$queries[ 0 .. 5 ])
	{
		my $d = $distance =~ s/V/$q/r;
		my $sql = "SELECT id, $d FROM TABLE ORDER BY $d, id LIMIT 5";
		my ($plan, $got, $expected) = split /\n?---\n?/,
		  query("SET vecdist.probes = 2; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) @{[ $sql =~ s/TABLE/key_$name/r ]};
			\\echo ---
			@{[ $sql =~ s/TABLE/key_$name/r ]};
			\\echo ---
			@{[ $sql =~ s/TABLE/@{[ $name eq 'half' ? 'plain_half' : '(SELECT * FROM plain WHERE embedding IS NOT NULL) p' ]}/r ]}");
		my ($certificate) = $plan =~ /Merge Certified: (\w+)/;

		$proved{$certificate}++;
		$asked{ scalar(() = $plan =~ /Partition: \S+ \(rows/g) }++;
		is($got, $expected, "key_$name, $distance: certified") if $certificate eq 'yes';
		next if $proof !~ /^rows/;
		like($plan, qr/Probes Not Used: $proof\n/, "key_$name, $distance: why all are asked");
	}
	is(join(' ', keys %asked), $proof =~ /^rows/ ? ($name eq 'part' ? 6 : 8) : 2, "key_$name, $distance: partitions asked");
	is($proved{no}, 0, "key_$name, $distance: proved") if $proof =~ /^rows/;
	is($proved{yes}, 0, "key_$name, $distance: nothing is proved") if $proof eq 'no';
	cmp_ok($proved{yes}, '>', 0, "key_$name, $distance: $proved{yes} are proved") if $proof eq 'yes';
}
unlike(query("EXPLAIN (COSTS OFF) SELECT id FROM key_part ORDER BY embedding <-> '$queries->[0]' LIMIT 5"),
	qr/Probes/, 'without probes nothing is said about them');

# ----------------------------------------------------------------------
# Other strategies: a condition on the key touches one partition
# ----------------------------------------------------------------------

query("SELECT vecdist.create_partition('other', 'other_' || t, format('FOR VALUES IN (%s)', t), CASE t % 2 WHEN 0 THEN 'w1' ELSE 'w2' END)
	FROM generate_series(1, 3) t");
query("INSERT INTO other SELECT i, 1 + i % 3, ARRAY[i, i % 7]::vector FROM generate_series(1, 30000) i; ANALYZE other");
like(query('EXPLAIN (COSTS OFF) SELECT * FROM other WHERE tenant = 2'),
	qr/^Foreign Scan on other_2 other/, 'list');

# A prepared statement goes on being planned for its value.
my $prepared = query("PREPARE p AS SELECT id FROM other WHERE tenant = \$1 ORDER BY v <-> \$2 LIMIT 2;"
	  . 'EXECUTE p (1, \'[9,2]\');' x 8
	  . "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE p (3, '[9,2]');
	SELECT generic_plans FROM pg_prepared_statements");
my $others = () = $prepared =~ /Partition: other_\d/g;
is($others, 1, 'a prepared search with the key asks one partition');
like($prepared, qr/^(?:9\n12\n){8}/, 'which has the rows');
like($prepared, qr/\n0$/, 'and has no generic plan');

# ----------------------------------------------------------------------
# A new worker, and a dump
# ----------------------------------------------------------------------

my $w3 = VecdistTest::make_server('w3', conf => "jit = off\n");
$w3->safe_psql('postgres', 'CREATE EXTENSION vecdist');
query("SELECT vecdist.add_worker('w3', '127.0.0.1:" . $w3->port . "')");
is($w3->safe_psql('postgres', $sets), query($sets), 'a new worker gets the sets');
is($w3->safe_psql('postgres', 'SELECT count(*) FROM items'), 3003, 'and sees the rows');
query("SELECT vecdist.remove_worker('w3')");
is($w3->safe_psql('postgres', 'SELECT count(*) FROM vecdist.centroid_set'), 0, 'and forgets them when it leaves');

# The data of the sets first, then all: rows are checked as they come.
my $dump = $w1->basedir . '/w1.dump';
$w1->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'postgres' ], 'pg_dump of a worker');
$w3->safe_psql('postgres', 'CREATE DATABASE restored');
$w3->safe_psql('restored', "ALTER DATABASE restored SET vecdist.enable_ddl_propagation = off");
foreach my $part ([ '--section=pre-data' ], [ qw(--data-only --schema=vecdist --table=centroid_set) ],
	[ qw(--section=data --section=post-data) ])
{
	$w3->command_ok([ 'pg_restore', '-d', 'restored', '--no-owner', '--exit-on-error', @$part, $dump ],
		"pg_restore @$part");
}
is($w3->safe_psql('restored', $sets), query($sets), 'the restored sets are the same');
my $leaf = $w1->safe_psql('postgres', "SELECT min(partition::text) FROM vecdist.partitions WHERE relation = 'items'::regclass AND bytes IS NOT NULL");
is($w3->safe_psql('restored', "SELECT count(*) FROM $leaf"),
	$w1->safe_psql('postgres', "SELECT count(*) FROM $leaf"), 'and so are the rows');

done_testing();

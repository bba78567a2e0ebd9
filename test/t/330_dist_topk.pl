# A distributed top-K search gives the answer of one server holding all rows.
#
# One cluster of a coordinator and two workers; tables of several layouts with
# the same rows; every query is compared with an exact search of a plain table.
# Where vhnsw exists the partitions are indexed and searched through their
# indexes, with an ef that makes them exact.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims    = 6;
my $cluster = make_cluster(
	workers  => 2,
	proxies  => 1,
	register => 0,
	conf     => 'jit = off');
my $coordinator = $cluster->coordinator;
my @servers     = $cluster->servers;
my $columns =
  "(id bigint NOT NULL, cat int, tags text[], embedding vector($dims))";

my $indexed = $coordinator->safe_psql('postgres',
	q{SELECT count(*) FROM pg_am WHERE amname = 'vhnsw'});

# Small tables are indexed for the test's sake, so the planner is told.
my %exact = $indexed ? (enable_seqscan => 'off', 'vhnsw.ef_search' => 1000) : ();

# ----------------------------------------------------------------------
# Tables
# ----------------------------------------------------------------------

# Every server knows the other ones' groups.
sub connect_servers
{
	foreach my $server (@servers)
	{
		foreach my $group ($cluster->groups)
		{
			next if $server == $cluster->worker($group);
			my $hosts = $cluster->hosts($group);
			$server->safe_psql('postgres', <<"SQL");
CREATE SERVER $group FOREIGN DATA WRAPPER vecdist_fdw
    OPTIONS (hosts '$hosts', dbname 'postgres');
CREATE USER MAPPING FOR PUBLIC SERVER $group
    OPTIONS (user '@{[ $coordinator->safe_psql('postgres', 'SELECT current_user') ]}',
             password_required 'false');
SQL
		}
	}
	return;
}

# create_table(NAME, KEY, [PARENT, PARTITION, BOUND, GROUP or undef, KEY], ...):
# a partitioned table on every server, in the symmetric layout.  A partition
# without group is itself partitioned, by KEY.
sub create_table
{
	my ($table, $key, @partitions) = @_;

	foreach my $server (@servers)
	{
		my $sql = "CREATE TABLE $table $columns PARTITION BY $key;\n";

		foreach my $partition (@partitions)
		{
			my ($parent, $name, $bound, $group, $subkey) = @$partition;
			my $of = "$name PARTITION OF $parent $bound";

			if (!defined $group)
			{
				$sql .= "CREATE TABLE $of PARTITION BY $subkey;\n";
			}
			elsif ($server == $cluster->worker($group))
			{
				$sql .= "CREATE TABLE $of;\n";
				$sql .= "CREATE INDEX ON $name USING vhnsw (embedding vector_l2_ops);\n"
				  if $indexed;
			}
			else
			{
				$sql .= "CREATE FOREIGN TABLE $of SERVER $group;\n";
			}
		}
		$server->safe_psql('postgres', $sql);
	}
	return;
}

sub hash_partitions
{
	my ($table, $n, @groups) = @_;

	return map {
		[
			$table, "${table}_$_",
			"FOR VALUES WITH (MODULUS $n, REMAINDER $_)",
			$groups[ $_ % @groups ]
		]
	} 0 .. $n - 1;
}

# Fill the partitions of a table, each on its own worker, with the rows of
# "reference", or of another table, that belong there.
sub fill_table
{
	my ($table, $source) = @_;

	$source //= 'reference';

	$cluster->worker($_)->safe_psql('postgres', <<"SQL") foreach $cluster->groups;
DO \$\$
DECLARE leaf regclass;
BEGIN
    FOR leaf IN SELECT relid FROM pg_partition_tree('$table') t
        JOIN pg_class c ON c.oid = t.relid WHERE isleaf AND relkind = 'r'
    LOOP
        EXECUTE format('INSERT INTO %s SELECT * FROM $source WHERE %s',
            leaf, pg_get_partition_constraintdef(leaf));
    END LOOP;
END
\$\$;
SQL
	return;
}

sub on_all_workers
{
	my ($sql) = @_;
	$cluster->worker($_)->safe_psql('postgres', $sql) foreach $cluster->groups;
	return;
}

# ----------------------------------------------------------------------
# Comparisons
# ----------------------------------------------------------------------

# The search of a distributed table equals that of the reference.
sub same_search
{
	my ($server, $table, $query, $k, $name, %params) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return same_topk(
		topk($server, $table, $query, $k, %params, set => \%exact),
		exact_topk($coordinator, 'reference', $query, $k, %params), $name);
}

# The same statements with TABLE replaced give the same output.
sub same_output
{
	my ($table, $sql, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $set = join '', map { "SET $_ = $exact{$_};\n" } sort keys %exact;
	my ($got, $expected);

	($got      = $sql) =~ s/\bTABLE\b/$table/g;
	($expected = $sql) =~ s/\bTABLE\b/reference/g;
	return is(
		$coordinator->safe_psql('postgres', $set . $got),
		$coordinator->safe_psql('postgres', "SET enable_indexscan = off;\n$expected"),
		$name);
}

# Does the plan of a query contain the scan?
sub uses_scan
{
	my ($sql) = @_;
	return $coordinator->safe_psql('postgres', "EXPLAIN (COSTS OFF) $sql") =~
	  /Custom Scan \(Distributed Top-K\)/;
}

connect_servers();

# 1000 vectors in clusters, 40 copies of one vector, and 5 NULLs.
my $vectors = random_vectors(1000, $dims, clusters => 20, seed => 3);
my $twin = random_vector($dims, seed => 4);
foreach my $server (@servers)
{
	$server->safe_psql('postgres', "CREATE TABLE reference $columns");
	load_vectors($server, 'reference', $vectors);
	$server->safe_psql('postgres', <<"SQL");
INSERT INTO reference
    SELECT g, 0, NULL::text[], '$twin'::vector FROM generate_series(1001, 1040) g
    UNION ALL SELECT g, NULL, NULL, NULL FROM generate_series(1041, 1045) g;
UPDATE reference SET cat = id % 1000, tags = ARRAY['t' || id % 3, NULL, '"'];
SQL
}
my @queries = (
	random_vector($dims, seed => 5),
	$vectors->[17],
	random_vector($dims, seed => 6));

# ----------------------------------------------------------------------
# Layouts
# ----------------------------------------------------------------------

my %layout = (
	one     => [ 1,  'w1' ],
	two     => [ 2,  'w1', 'w2' ],
	eight   => [ 8,  'w1', 'w2' ],
	sixteen => [ 16, 'w1', 'w2' ],
	pair    => [ 2,  'w1' ],
	octet   => [ 8,  'w2' ],
	stacked => [ 16, 'w2' ]);

foreach my $table (sort keys %layout)
{
	my ($n, @groups) = @{ $layout{$table} };

	create_table($table, 'HASH (id)', hash_partitions($table, $n, @groups));
	fill_table($table);
	foreach my $i (0 .. $#queries)
	{
		same_search($coordinator, $table, $queries[$i], $_, "$table: query $i, LIMIT $_")
		  foreach 1, 10, 1000, 2000;
	}
	same_search($coordinator, $table, $queries[0], '10 OFFSET 25',
		"$table: OFFSET");
}
ok(uses_scan("SELECT id FROM eight ORDER BY embedding <-> '$queries[0]' LIMIT 5"),
	'the search is done by the custom scan');

# Every server can be asked.
foreach my $server (@servers)
{
	same_search($server, 'eight', $queries[0], 20, $server->name . ' is asked');
}

# All near neighbors in one of eight range partitions, two levels deep: asking
# each for its share of K would lose most of the answer.
create_table(
	'ranges',
	'RANGE (id)',
	[ 'ranges', 'ranges_low', 'FOR VALUES FROM (MINVALUE) TO (900)', undef, 'RANGE (id)' ],
	(map {
		[
			'ranges_low', "ranges_$_",
			'FOR VALUES FROM (' . (100 * $_) . ') TO (' . (100 * $_ + 100) . ')',
			$_ % 2 ? 'w1' : 'w2'
		]
	} 0 .. 8),
	[ 'ranges', 'ranges_high', 'FOR VALUES FROM (900) TO (MAXVALUE)', 'w1' ],
	);
fill_table('ranges');
same_search($coordinator, 'ranges', $twin, 30, 'all near neighbors in one partition');
same_search($coordinator, 'ranges', $_, 100, 'range partitions') foreach @queries;

# Pruning by the planner, down to one partition and to none.
same_search($coordinator, 'ranges', $queries[0], 20, 'pruned to some partitions',
	where => 'id BETWEEN 150 AND 420');
same_search($coordinator, 'ranges', $queries[0], 20, 'pruned to one partition',
	where => 'id = 150');
is_deeply(topk($coordinator, 'ranges', $queries[0], 20, where => 'id = 1 AND id = 2'),
	[], 'pruned to none');

# A generic plan asks the partitions that the values leave, also where the plan
# is that of a sub-select, whose range table was moved, and as a stream.
{
	my $names =
	  sub { join ' ', sort($_[0] =~ /Partition: ranges_(\w+)/g) };
	my $nearest = "FROM TABLE WHERE id BETWEEN \$1 AND \$2 ORDER BY embedding <-> '$queries[1]'";
	my %shapes = (
		search => "SELECT id, cat $nearest LIMIT 20",
		stream => "SELECT id, cat $nearest FETCH FIRST 20 ROWS WITH TIES",
		'sub-select' =>
		  "SELECT * FROM (VALUES (1), (2)) v (n), (SELECT id, cat $nearest LIMIT 20) s ORDER BY n, id"
	);

	foreach my $shape (sort keys %shapes)
	{
		my $prepare =
		  "SET plan_cache_mode = force_generic_plan; PREPARE q(int, int) AS $shapes{$shape};";

		same_output('ranges', "$prepare EXECUTE q($_);", "generic plan pruned to $_: $shape")
		  foreach '150, 420', '301, 310', '950, 990', '9, 8', 'NULL, 5', '1, 2000';

	  SKIP:
		{
			skip 'not with PostgreSQL 18', 4
			  if $coordinator->safe_psql('postgres', 'SHOW server_version_num') >= 180000;
			$prepare =~ s/TABLE/ranges/;
			my $explain = sub {
				return $coordinator->safe_psql('postgres',
					"$prepare EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE q($_[0])");
			};
			my $plan = $explain->('150, 420');

			is($names->($plan), '1 2 3 4', "and asks these only: $shape");
			like($plan, qr/Partitions Removed: 6\n/, "and says so: $shape");
			like($plan, qr/Merge Certified: yes\n/, "the merge is proved: $shape");
			is($names->($explain->('9, 8')),
				'0', "one partition is asked where none can match: $shape");
		}
	}
}

# Empty partitions, an empty table, fewer rows than K.
create_table(
	'sparse', 'LIST (cat)',
	[ 'sparse', 'sparse_1', 'FOR VALUES IN (1)', 'w1' ],
	[ 'sparse', 'sparse_2', 'FOR VALUES IN (2)', 'w2' ],
	[ 'sparse', 'sparse_3', 'FOR VALUES IN (-1)', 'w2' ]);
is_deeply(topk($coordinator, 'sparse', $queries[0], 5), [], 'empty table');
fill_table('sparse');
same_search($coordinator, 'sparse', $queries[0], 5,
	'fewer rows than K, and an empty partition', where => 'cat IN (1, 2, -1)');

# ----------------------------------------------------------------------
# Order
# ----------------------------------------------------------------------

# 40 rows at one distance, spread over the partitions: any of them may be in
# the answer, but the same ones in the same order each time, from everywhere.
my $ties = sub {
	my ($server) = @_;
	return join ' ',
	  map { $_->[0] } @{ topk($server, 'eight', $twin, 25, set => \%exact) };
};
my $first = $ties->($coordinator);
is($ties->($coordinator), $first, 'ties come in the same order in each run');
is($ties->($_), $first, 'and from ' . $_->name) foreach @servers;

# A unique key behind the distance decides, whatever the partitions.
foreach my $table ('one', 'eight', 'stacked', 'ranges')
{
	same_output($table, <<"SQL", "$table: a second key");
SELECT id FROM TABLE ORDER BY embedding <-> '$twin', id LIMIT 25;
SELECT id FROM TABLE ORDER BY embedding <-> '$twin', id DESC LIMIT 25 OFFSET 10;
SELECT id, cat FROM TABLE ORDER BY embedding <-> '$twin', cat % 1 + cat, id LIMIT 5;
SELECT id FROM TABLE ORDER BY embedding <-> '$twin', cat DESC NULLS LAST, id DESC LIMIT 45;
SELECT id FROM TABLE ORDER BY embedding <-> NULL::vector, id LIMIT 3;
SELECT id FROM TABLE WHERE id > 1030 ORDER BY embedding <-> '$twin', id LIMIT 500
SQL
}
ok( uses_scan("SELECT cat FROM eight ORDER BY embedding <-> '$twin', cat DESC, id LIMIT 5"),
	'a second key does not prevent the scan');
like(
	$coordinator->safe_psql('postgres',
		"EXPLAIN (COSTS OFF) SELECT id FROM eight
		 ORDER BY embedding <-> '$twin', cat DESC NULLS LAST, id LIMIT 5"),
	qr/Order By: \(eight\.embedding <-> .*\), (eight\.)?cat DESC NULLS LAST, (eight\.)?id$/m,
	'EXPLAIN shows the keys');

# NULLs are last, and NaN before them.
same_output('eight', <<"SQL", 'NULL vectors come last');
SELECT count(*), count(d) FROM (SELECT embedding <-> '$twin' AS d
    FROM TABLE ORDER BY embedding <-> '$twin' LIMIT 1043) s
SQL
same_output('eight', <<"SQL", 'a query vector that is NULL returns rows');
SELECT count(*), count(d) FROM (SELECT embedding <-> v AS d
    FROM TABLE, (SELECT NULL::vector AS v OFFSET 0) q
    ORDER BY embedding <-> v LIMIT 7) s
SQL
my $zero = '[' . join(',', (0) x $dims) . ']';
same_output('eight', <<"SQL", "operator $_") foreach '<=>', '<#>', '<+>';
SELECT id FROM TABLE WHERE id <= 1000 ORDER BY embedding $_ '$queries[2]' LIMIT 15
SQL
same_output('eight', <<"SQL", 'cosine distance to a zero vector is NaN for all');
SELECT count(*), count(*) FILTER (WHERE d = 'NaN') FROM
    (SELECT embedding <=> '$zero' AS d FROM TABLE
     ORDER BY embedding <=> '$zero' LIMIT 1042) s
SQL
# Rows with zero vectors on both workers, among others.
create_table('zeros', 'HASH (id)', hash_partitions('zeros', 3, 'w1', 'w2'));
fill_table('zeros');
on_all_workers(<<"SQL");
DO \$\$
DECLARE leaf regclass;
BEGIN
    FOR leaf IN SELECT relid FROM pg_partition_tree('zeros') t
        JOIN pg_class c ON c.oid = t.relid WHERE isleaf AND relkind = 'r'
    LOOP
        EXECUTE format('UPDATE %s SET embedding = ''$zero'' WHERE id %% 4 = 0', leaf);
        IF $indexed > 0 THEN
            EXECUTE format('CREATE INDEX ON %s USING vhnsw (embedding vector_cosine_ops)', leaf);
        END IF;
    END LOOP;
END
\$\$;
SQL
$_->safe_psql('postgres', <<"SQL") foreach $coordinator;
CREATE TABLE reference_zeros AS SELECT id, cat, tags,
    CASE WHEN id % 4 = 0 THEN '$zero' ELSE embedding END AS embedding FROM reference;
SQL
same_topk(
	topk($coordinator, 'zeros', $queries[0], 500,
		operator => '<=>', set => \%exact, where => 'id <= 1000'),
	exact_topk($coordinator, 'reference_zeros', $queries[0], 500,
		operator => '<=>', where => 'id <= 1000'),
	'rows before those of distance NaN');
is( $coordinator->safe_psql('postgres',
		"SELECT string_agg(n::text, ' ') FROM (SELECT count(*) AS n
		 FROM (SELECT embedding <=> '$queries[0]' AS d FROM zeros
		       ORDER BY embedding <=> '$queries[0]' LIMIT 1043) s
		 GROUP BY d = 'NaN' ORDER BY d = 'NaN') s"),
	$coordinator->safe_psql('postgres',
		"SELECT string_agg(n::text, ' ') FROM (SELECT count(*) AS n
		 FROM (SELECT embedding <=> '$queries[0]' AS d FROM reference_zeros
		       ORDER BY embedding <=> '$queries[0]' LIMIT 1043) s
		 GROUP BY d = 'NaN' ORDER BY d = 'NaN') s"),
	'numbers, NaN, NULL, in this order');

same_output('eight', <<"SQL", 'operands in the other order');
SELECT id FROM TABLE ORDER BY '$queries[2]' <-> embedding LIMIT 15
SQL

# ----------------------------------------------------------------------
# Filters and visibility
# ----------------------------------------------------------------------

my %filter = (
	'50 %'      => 'id % 2 = 0',
	'1 %'       => 'cat < 10',
	'one row'   => 'cat = 517',
	'no row'    => 'cat = -1',
	'NULL'      => 'cat IS NULL OR cat = 3',
	'an array'  => q{tags && ARRAY['t1']},
	'the query' => 'id <> (SELECT 18)',
	'distances' => "embedding <-> '$queries[0]' < 0.9 AND embedding <-> '$queries[1]' > 0.4",
	'stable'    => 'id < extract(epoch FROM now())',
	'volatile'  => 'id + random() >= 500');
foreach my $kind (sort keys %filter)
{
	same_search($coordinator, 'eight', $vectors->[17], 50, "filter: $kind",
		where => $filter{$kind});
}
like(
	$coordinator->safe_psql('postgres',
		"EXPLAIN SELECT id FROM eight WHERE embedding <-> '$queries[0]' < 0.5
		 ORDER BY embedding <-> '$queries[0]' LIMIT 5"),
	qr/Remote Filter: \(\(t\.embedding OPERATOR\(public\.<->\) \$1\) < /,
	'the query vector is sent once');
ok( uses_scan("SELECT id FROM eight WHERE cat < 10 AND id <> (SELECT 18)
    ORDER BY embedding <-> '$queries[0]' LIMIT 5"),
	'filters do not prevent the scan');

# The neighbors of the query all fail the filter.
my $far = join ' AND ', 'cat IS NOT NULL',
  map { "id <> $_->[0]" } @{ exact_topk($coordinator, 'reference', $queries[0], 80) };
same_search($coordinator, 'eight', $queries[0], 30,
	'filter: all neighbors fail', where => $far);

# One row of ten thousand passes: found by the indexes and without them.
create_table('large', 'HASH (id)', hash_partitions('large', 8, 'w1', 'w2'));
$_->safe_psql('postgres', <<"SQL") foreach @servers;
CREATE TABLE reference_large AS
    SELECT g::bigint AS id, g AS cat, NULL::text[] AS tags,
           (SELECT array_agg((hashint8extended(g, i) & 65535) / 65535.0)
            FROM generate_series(1, $dims) i)::vector AS embedding
    FROM generate_series(1, 10000) g;
SQL
fill_table('large', 'reference_large');
foreach my $set (\%exact, {})
{
	same_topk(
		topk($coordinator, 'large', $queries[0], 10, set => $set, where => 'cat = 4321'),
		exact_topk($coordinator, 'reference_large', $queries[0], 10, where => 'cat = 4321'),
		'filter: 0.01 %' . (%$set ? ', through the indexes' : ''));
}

# The nearest rows are dead but not vacuumed, and nearer ones not committed.
my $near = join ',',
  map { $_->[0] } @{ exact_topk($coordinator, 'reference', $queries[0], 60) };
my $writer = $cluster->worker('w1')->background_psql('postgres');
$writer->query_safe('BEGIN');
$writer->query_safe(
	"INSERT INTO eight_0 SELECT id, cat, tags, '$queries[0]' FROM eight_0");
foreach my $server (@servers)
{
	$server->safe_psql('postgres', "DELETE FROM reference WHERE id IN ($near)");
}
on_all_workers(<<"SQL");
DO \$\$
DECLARE leaf regclass;
BEGIN
    FOR leaf IN SELECT relid FROM pg_partition_tree('eight') t
        JOIN pg_class c ON c.oid = t.relid WHERE isleaf AND relkind = 'r'
    LOOP
        EXECUTE format('DELETE FROM %s WHERE id IN ($near)', leaf);
    END LOOP;
END
\$\$;
SQL
same_search($coordinator, 'eight', $queries[0], 40,
	'dead and uncommitted rows do not count');
$writer->query_safe('ROLLBACK');
$writer->quit;

# ----------------------------------------------------------------------
# Shapes of queries
# ----------------------------------------------------------------------

my $by = "ORDER BY embedding <-> '$queries[1]'";

same_output('eight', <<"SQL", 'generic plan with LIMIT and OFFSET as parameters');
SET plan_cache_mode = force_generic_plan;
PREPARE q(vector, int, int, int) AS SELECT id, embedding <-> \$1 FROM TABLE
    WHERE cat > \$2 ORDER BY embedding <-> \$1 LIMIT \$3 OFFSET \$4;
EXECUTE q('$queries[0]', 100, 5, 0);
EXECUTE q('$queries[1]', 500, 20, 3);
EXECUTE q('$queries[0]', 100, 1, 5);
SQL
same_output('eight', <<"SQL", 'LIMIT NULL is no limit');
PREPARE q(int) AS SELECT id FROM TABLE WHERE id <= 1000 $by LIMIT \$1;
SELECT set_config('plan_cache_mode', 'force_generic_plan', false);
EXECUTE q(3);
EXECUTE q(NULL);
SQL
same_output('eight', "SELECT id FROM TABLE $by LIMIT (SELECT 4) OFFSET (SELECT 2)",
	'LIMIT and OFFSET from sub-selects');
same_output('eight', "SELECT id FROM TABLE $by LIMIT 0", 'LIMIT 0');
is( join(',', map { @{ rows($coordinator, "SELECT id FROM eight $by LIMIT 9 OFFSET $_") } }
			map { 9 * $_ } 0 .. 7),
	join(',', @{ rows($coordinator, "SELECT id FROM eight $by LIMIT 72") }),
	'pages: no row twice, none missing');

# Whatever ef is, there are as many rows as exist.
is( $coordinator->safe_psql('postgres',
		"SELECT count(*) FROM (SELECT id FROM eight $by LIMIT $_) s"),
	$coordinator->safe_psql('postgres',
		"SELECT count(*) FROM (SELECT id FROM reference $by LIMIT $_) s"),
	"as many rows as exist: LIMIT $_")
  foreach 1, 10, 40, 41, 100, 1001, 5000;
same_output('eight', "SELECT id FROM TABLE $by LIMIT 3 OFFSET 2000",
	'OFFSET beyond the end');
same_output('eight', <<"SQL", 'the query vector from a sub-select');
SELECT id FROM TABLE
    ORDER BY embedding <-> (SELECT embedding FROM reference WHERE id = 77) LIMIT 6
SQL
same_output('eight', <<"SQL", 'LATERAL');
SELECT r.id, s.* FROM (SELECT * FROM reference WHERE id IN (5, 80, 333)) r,
    LATERAL (SELECT t.id, t.cat FROM TABLE t WHERE t.id <> r.id
             ORDER BY t.embedding <-> r.embedding LIMIT 3) s
    ORDER BY r.id, s.id
SQL
same_output('eight', <<"SQL", 'CTE and aggregate over it');
WITH near AS (SELECT id % 7 AS g FROM TABLE $by LIMIT 30)
    SELECT g, count(*) FROM near GROUP BY g ORDER BY g
SQL
same_output('eight', <<"SQL", 'UNION ALL of two searches');
(SELECT id FROM TABLE $by LIMIT 5) UNION ALL
(SELECT id FROM TABLE ORDER BY embedding <-> '$queries[2]' LIMIT 5)
SQL
same_output('eight', <<"SQL", 'two searches joined');
SELECT a.id, b.id FROM (SELECT id FROM TABLE $by LIMIT 20) a
    JOIN (SELECT id FROM TABLE $by LIMIT 30 OFFSET 10) b USING (id) ORDER BY 1
SQL
same_output('eight', <<"SQL", 'cursor read in pieces, forward and back');
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM TABLE $by LIMIT 12;
FETCH 5 FROM c;
FETCH 5 FROM c;
FETCH BACKWARD 3 FROM c;
FETCH ALL FROM c;
COMMIT;
SQL
same_output('eight', <<"SQL", 'searches inside a loop over a search');
DO \$\$
DECLARE r record; s record; t text := '';
BEGIN
    FOR r IN SELECT id, embedding FROM TABLE $by LIMIT 4 LOOP
        FOR s IN SELECT id FROM TABLE ORDER BY embedding <-> r.embedding LIMIT 2 LOOP
            t := t || s.id || ' ';
        END LOOP;
    END LOOP;
    PERFORM set_config('test.found', t, false);
END
\$\$;
SELECT current_setting('test.found');
SQL
same_output('eight', <<"SQL", 'expressions over columns and the distance');
SELECT id * 2, tags[1], round((1 / (1 + (embedding <-> '$queries[1]')))::numeric, 8),
    (SELECT count(*) FROM reference r WHERE r.cat = t.cat)
    FROM TABLE t $by LIMIT 9
SQL
same_output('eight', <<"SQL", 'beside a parallel scan of a local table');
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*), sum(s.id) FROM reference r
    JOIN (SELECT id FROM TABLE $by LIMIT 20) s ON r.id > s.id
SQL
same_output('eight', <<"SQL", 'cursor that outlives its transaction');
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM TABLE $by LIMIT 12;
FETCH 2 FROM c;
COMMIT;
FETCH ALL FROM c;
SQL
same_output('eight', "SELECT embedding, tags FROM TABLE $by LIMIT 9",
	'vectors and arrays are shipped');
is( $coordinator->safe_psql('postgres',
		"SELECT DISTINCT tableoid = 'eight_5'::regclass FROM
		 (SELECT tableoid FROM eight WHERE id IN
		  (SELECT id FROM eight WHERE tableoid = 'eight_5'::regclass) $by LIMIT 9) s"),
	't',
	'tableoid is the one of this server');

# Core's plan or a stream, and the right answer.
same_output('eight', $_->[1], "not done by the scan: $_->[0]")
  foreach (
	[ 'DISTINCT', "SELECT DISTINCT cat % 5 FROM TABLE ORDER BY 1 LIMIT 3" ],
	[
		'DISTINCT ON',
		"SELECT DISTINCT ON (embedding <-> '$queries[1]') id FROM TABLE
		 WHERE id <= 1000 $by LIMIT 4"
	],
	[ 'WITH TIES', "SELECT count(*) FROM (SELECT id FROM TABLE
		 ORDER BY embedding <-> '$twin' FETCH FIRST 5 ROWS WITH TIES) s" ],
	[ 'a key with collation', "SELECT id FROM TABLE
		 ORDER BY embedding <-> '$twin', tags[1], id LIMIT 5" ],
	[ 'another key first', "SELECT id FROM TABLE ORDER BY cat, embedding <-> '$twin', id LIMIT 5" ],
	[ 'descending', "SELECT id FROM TABLE WHERE id <= 1000
		 ORDER BY embedding <-> '$twin' DESC NULLS LAST LIMIT 5" ],
	[ 'a whole row', "SELECT (t).id FROM (SELECT t FROM TABLE t $by LIMIT 3) s" ],
	[ 'a window', "SELECT id, count(*) OVER () FROM TABLE $by LIMIT 3" ],
	[ 'GROUP BY', "SELECT cat, min(embedding <-> '$queries[1]') FROM TABLE
		 WHERE id <= 1000 GROUP BY cat ORDER BY min(embedding <-> '$queries[1]') LIMIT 3" ],
	[ 'a function of rows', "SELECT id, generate_series(1, 2) FROM TABLE $by LIMIT 3" ],
	[ 'a join', "SELECT t.id FROM TABLE t JOIN reference r ON r.id = t.id AND r.cat % 50 = 7
		 ORDER BY t.embedding <-> '$queries[1]' LIMIT 8" ],
	[ 'no LIMIT', "SELECT id FROM TABLE WHERE id <= 1000 $by" ]);

# And EXPLAIN says why: at a foreign scan, or at the stream.
my %why = (
	"SELECT id FROM eight $by" => 'there is no LIMIT',
	"SELECT id FROM eight $by FETCH FIRST 5 ROWS WITH TIES" =>
	  'WITH TIES may need more rows than LIMIT says',
	"SELECT id FROM eight $by LIMIT 5 FOR UPDATE" => 'rows are to be locked',
	"SELECT id, generate_series(1, 2) FROM eight $by LIMIT 5" =>
	  'a set-returning function makes any number of rows of one',
	"SELECT id, unnest(tags) u FROM eight $by, u LIMIT 5" => 'ORDER BY has a set-returning function',
	"SELECT id FROM eight $by DESC LIMIT 5" => 'ORDER BY is not by ascending distance',
	"SELECT ctid, id FROM eight t $by LIMIT 5" => 'the select list needs system columns.*',
	"SELECT id FROM eight WHERE id + random() > 1 $by LIMIT 5" => '.*immutable.*',
	"SELECT t.id FROM eight t JOIN reference r USING (id)
	 ORDER BY t.embedding <-> '$twin' LIMIT 5" => 'FROM has more than one table',
	"SELECT id, count(*) OVER () FROM eight $by LIMIT 5" =>
	  'window functions need all rows, or several orders',
	"SELECT id, row_number() OVER ($by) FROM eight $by" =>
	  'window functions need most rows, or in another order',
	"SELECT DISTINCT cat, embedding <-> '$queries[1]' FROM eight $by" =>
	  'DISTINCT needs most rows, or in another order',
	"SELECT cat, min(embedding <-> '$queries[1]') FROM eight GROUP BY cat ORDER BY 2 LIMIT 5" =>
	  'groups and aggregates need all rows',
	"SELECT DISTINCT ON (cat) id FROM eight ORDER BY cat, embedding <-> '$queries[1]' LIMIT 5" =>
	  'DISTINCT needs most rows, or in another order',
	"SET vecdist.enable_topk = off; EXPLAIN SELECT id FROM eight $by LIMIT 5" =>
	  'vecdist.enable_topk is off');
foreach my $sql (sort keys %why)
{
	my $explain = $coordinator->safe_psql('postgres',
		$sql =~ /^SET/ ? $sql : "EXPLAIN (COSTS OFF) $sql");
	my @reasons = $explain =~ /Top-K (?:Scan Not Used|Not Possible): (.*)/g;

	is(scalar @reasons, 1, 'one reason');
	like($reasons[0], qr/^(?:$why{$sql})$/, "why not: $why{$sql}");
}
unlike(
	$coordinator->safe_psql('postgres', "EXPLAIN SELECT id FROM eight ORDER BY id LIMIT 5"),
	qr/Top-K/, 'nothing is said of what is not ordered by distance');

# With the scan disabled, core's plan gives the same.
{
	local $exact{'vecdist.enable_topk'} = 'off';
	same_search($coordinator, 'eight', $queries[2], 30, 'without the scan');
}

# Workers must not sort for a cursor of the wrapper: their index, not knowing how
# many rows are wanted, drops some that it finds late.
unlike($coordinator->safe_psql('postgres',
		"EXPLAIN VERBOSE SELECT id FROM eight $by"),
	qr/Remote SQL.*ORDER BY/, 'workers do not sort by distance for a cursor');
ok( !uses_scan("SELECT id FROM reference $by LIMIT 5"),
	'a plain table is not searched by the scan');

# ----------------------------------------------------------------------
# Roles
# ----------------------------------------------------------------------

foreach my $server (@servers)
{
	$server->safe_psql('postgres', <<"SQL");
CREATE ROLE reader;
CREATE ROLE stranger;
ALTER TABLE eight ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON eight FOR SELECT TO reader USING (cat % 3 = 1);
GRANT SELECT ON eight TO reader;
ALTER TABLE reference ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON reference FOR SELECT TO reader USING (cat % 3 = 1);
GRANT SELECT ON reference TO reader;
CREATE VIEW eight_view AS SELECT * FROM eight;
GRANT SELECT ON eight_view TO stranger;
SQL
}
foreach my $where ('true', 'cat < 500', 'cat = length(tags[1]) * 5')
{
	same_output('eight', <<"SQL", "row security, and WHERE $where");
SET ROLE reader;
SELECT id FROM TABLE WHERE $where AND id <= 1000 $by LIMIT 10
SQL
}
foreach my $server (@servers)
{
	is( $server->safe_psql('postgres',
			"SET ROLE reader; SELECT id FROM eight $by LIMIT 5"),
		$coordinator->safe_psql('postgres',
			"SET ROLE reader; SELECT id FROM reference $by LIMIT 5"),
		'a reader needs no rights on partitions of ' . $server->name);
}
my ($rc, $stdout, $stderr) = $coordinator->psql('postgres',
	"SET ROLE stranger; SELECT id FROM eight $by LIMIT 5");
like($stderr, qr/permission denied for table eight/, 'a stranger is refused');
is( $coordinator->safe_psql('postgres',
		"SET ROLE stranger; SELECT id FROM eight_view $by LIMIT 5"),
	$coordinator->safe_psql('postgres', "SELECT id FROM reference $by LIMIT 5"),
	'a view is searched with the rights of its owner');
$_->safe_psql('postgres', 'ALTER TABLE eight DISABLE ROW LEVEL SECURITY')
  foreach @servers;

# ----------------------------------------------------------------------
# EXPLAIN and settings
# ----------------------------------------------------------------------

my $explain = $coordinator->safe_psql('postgres',
	"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT id FROM eight $by LIMIT 3 OFFSET 4");
like($explain, qr/^\s*Rows Wanted: 7$/m, 'EXPLAIN: K is LIMIT + OFFSET');
like($explain, qr/^\s*Merge Certified: yes$/m, 'EXPLAIN: certified');
like(
	$explain,
	qr/^\s*Worker Group: w1 \(127\.0\.0\.1:\d+ primary, LSN \w+\/\w+, asked 7, round trips 1\)$/m,
	'EXPLAIN: the server that answered, in one turn');
my @partitions = $explain =~
  /^\s*Partition: eight_\d \(rows \d, (?:bound [\d.]+|not exhausted), .*\)$/mg;
is(scalar @partitions, 8, 'EXPLAIN: what each partition answered');

$explain = $coordinator->safe_psql('postgres',
	"EXPLAIN (ANALYZE, FORMAT JSON) SELECT id FROM eight WHERE cat < 10 $by LIMIT 900");
like($explain, qr/"Merge Certified": "yes"/, 'EXPLAIN in JSON');
my @exhausted = $explain =~ /"Exhausted": true/g;
is(scalar @exhausted, 8, 'EXPLAIN in JSON: exhausted partitions');
like(
	$coordinator->safe_psql('postgres',
		"EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM eight WHERE cat < 10 $by LIMIT 3"),
	qr/Remote SQL: SELECT t\.id, \(t\.embedding OPERATOR\(public\.<->\) \$1\) AS "vecdist distance" FROM/,
	'EXPLAIN VERBOSE shows the remote query, without the vector');

SKIP:
{
	skip 'no vhnsw', 10 unless $indexed;
	my $how = sub {
		my ($set, $k) = @_;
		return $coordinator->safe_psql('postgres', "SET enable_seqscan = off; $set
			EXPLAIN (ANALYZE, COSTS OFF) SELECT id FROM eight $by LIMIT $k");
	};
	like($how->('SET vhnsw.ef_search = 77;', 5), qr/, index \w+, ef 77\)/,
		'ef_search travels');
	like($how->('SET vhnsw.ef_search = 10;', 33), qr/, index \w+, ef 33\)/,
		'K raises ef');
	like($how->('SET enable_indexscan = off; SET enable_seqscan = on;', 5),
		qr/Partition: .*, exact\)/,
		'switches of the planner travel');
	like($how->('SET vhnsw.iterative_scan = relaxed_order;', 500), qr/Merge Certified: yes/,
		'the merge gets its rows in order');

	# What lets a search give up does not travel: it would return fewer rows and
	# nobody would know.
	foreach my $setting ('vhnsw.iterative_scan = off', 'vhnsw.max_scan_tuples = 1',
		'hnsw.iterative_scan = off', 'hnsw.max_scan_tuples = 1')
	{
		is( $coordinator->safe_psql('postgres', <<"SQL"),
SET enable_seqscan = off;
SET vhnsw.filter_strategy = search;
SET vhnsw.ef_search = 5;
SET $setting;
SELECT count(*) FROM (SELECT id FROM eight WHERE id % 40 = 0 $by LIMIT 12) s
SQL
			12, "$setting does not travel");
	}

	# A partition without its index is searched all the same.
	$cluster->worker('w1')->safe_psql('postgres', 'DROP INDEX eight_2_embedding_idx');
	like($how->('', 5), qr/Partition: eight_2 \(.*, exact\)\n.*Partition: eight_4 \(.*, index/,
		'a partition without index is searched exactly');
	same_search($coordinator, 'eight', $queries[0], 20, 'and the answer is the same');
}

# Planning and EXPLAIN do not need the workers.
my $w2 = $cluster->worker('w2');
$w2->stop('fast');
ok(uses_scan("SELECT id FROM eight $by LIMIT 3"), 'EXPLAIN without a worker');
is($coordinator->safe_psql('postgres', "SELECT id FROM eight $by LIMIT 0"),
	'', 'LIMIT 0 asks nobody');
($rc, $stdout, $stderr) =
  $coordinator->psql('postgres', "\\set VERBOSITY verbose\nSELECT id FROM eight $by LIMIT 3");
like($stderr, qr/ERROR:  08001/, 'a search without a worker fails');
like($stderr, qr/search of partitions "eight_1", "eight_3", "eight_5", "eight_7" on worker "w2"/,
	'and says which partitions cannot be searched');
is( $coordinator->safe_psql('postgres',
		"SELECT count(*) FROM (SELECT id FROM ranges WHERE id >= 900 $by LIMIT 3) s"),
	3,
	'a search that does not need it does not');
$w2->start;

# ----------------------------------------------------------------------
# Transactions
# ----------------------------------------------------------------------

# The search of a session, as "id id id".
sub ids
{
	my ($session, $query, $k) = @_;
	my $found = $session->query_safe(
		"SELECT string_agg(id::text, ' ') FROM (SELECT id FROM eight
		 ORDER BY embedding <-> '$query' LIMIT $k) s");
	chomp $found;
	return $found;
}

my $session = $coordinator->background_psql('postgres');
my $before  = ids($session, $queries[2], 5);

$session->query_safe('BEGIN');
$session->query_safe(
	"INSERT INTO eight SELECT g, 0, NULL, '$queries[2]' FROM generate_series(3001, 3004) g");
like(ids($session, $queries[2], 5), qr/^(300[1-4] ){4}\d/,
	'a search sees the rows its transaction inserted');
$session->query_safe('SET LOCAL vecdist.read_consistency = eventual');
like(ids($session, $queries[2], 5), qr/^(300[1-4] ){4}\d/,
	'also if any server may answer');
$session->query_safe('SAVEPOINT s; DELETE FROM eight WHERE id IN (3001, 3003)');
like(ids($session, $queries[2], 5), qr/^(300[24] ){2}\d/,
	'and not those it deleted');
$session->query_safe('ROLLBACK TO s');
like(ids($session, $queries[2], 5), qr/^(300[1-4] ){4}\d/,
	'ROLLBACK TO brings them back');
$session->query_safe('ROLLBACK');
is(ids($session, $queries[2], 5), $before, 'ROLLBACK undoes all of it');

$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is(ids($session, $queries[2], 5), $before, 'REPEATABLE READ: first search');
$coordinator->safe_psql('postgres',
	"INSERT INTO eight SELECT g, 0, NULL, '$queries[2]' FROM generate_series(3001, 3004) g");
is(ids($session, $queries[2], 5), $before, 'REPEATABLE READ: second search');
$session->query_safe('COMMIT');
like(ids($session, $queries[2], 5), qr/^(300[1-4] ){4}\d/, 'and after it');
$coordinator->safe_psql('postgres', 'DELETE FROM eight WHERE id > 3000');

# ----------------------------------------------------------------------
# Turns and bytes
# ----------------------------------------------------------------------

my $proxy = $cluster->proxy($cluster->worker('w1'));
$proxy->reset_stats;
is(ids($session, $queries[2], 10), ids($session, $queries[2], 10), 'twice the same');
$proxy->reset_stats;
ids($session, $queries[2], 100);
my $stats = $proxy->stats;
is($stats->{turns}, 1, 'a search is one turn');

# 100 rows of 60 bytes, whatever the number of partitions, and four reports.
cmp_ok($stats->{bytes_to_client}, '<', 100 * 60 + 4 * 500,
	'a worker returns K rows, without vectors');
$session->quit;

# ----------------------------------------------------------------------
# Placement that changes, and placement that is out of date
# ----------------------------------------------------------------------

# Two servers disagree with the third about where a partition lives: the one
# that is asked passes the request on.
$coordinator->safe_psql('postgres', <<"SQL");
CREATE TABLE stale $columns PARTITION BY HASH (id);
CREATE FOREIGN TABLE stale_0 PARTITION OF stale
    FOR VALUES WITH (MODULUS 1, REMAINDER 0) SERVER w1;
SQL
$cluster->worker('w1')->safe_psql('postgres', <<"SQL");
CREATE TABLE stale $columns PARTITION BY HASH (id);
CREATE FOREIGN TABLE stale_0 PARTITION OF stale
    FOR VALUES WITH (MODULUS 1, REMAINDER 0) SERVER w2;
SQL
$w2->safe_psql('postgres', <<"SQL");
CREATE TABLE stale $columns PARTITION BY HASH (id);
CREATE TABLE stale_0 PARTITION OF stale
    FOR VALUES WITH (MODULUS 1, REMAINDER 0);
SQL
fill_table('stale');
same_search($coordinator, 'stale', $queries[0], 30, 'a request is forwarded');
same_output('stale', "SELECT id FROM TABLE WHERE id > random() $by FETCH FIRST 30 ROWS WITH TIES", 'and so is a stream');

# Two servers that take each other for the holder end with an error.
$coordinator->safe_psql('postgres', <<"SQL");
CREATE TABLE circle $columns PARTITION BY HASH (id);
CREATE FOREIGN TABLE circle_0 PARTITION OF circle
    FOR VALUES WITH (MODULUS 1, REMAINDER 0) SERVER w1;
SQL
foreach my $pair ([ 'w1', 'w2' ], [ 'w2', 'w1' ])
{
	$cluster->worker($pair->[0])->safe_psql('postgres', <<"SQL");
CREATE TABLE circle $columns PARTITION BY HASH (id);
CREATE FOREIGN TABLE circle_0 PARTITION OF circle
    FOR VALUES WITH (MODULUS 1, REMAINDER 0) SERVER $pair->[1];
SQL
}
foreach my $sql (
	"SELECT id FROM circle $by LIMIT 3",
	"SELECT id FROM circle WHERE id > random() $by LIMIT 3",
	"SELECT id FROM circle WHERE id = 3",
	"INSERT INTO circle VALUES (3, 1, NULL, NULL)",
	"UPDATE circle SET cat = 3",
	'DELETE FROM circle')
{
	(undef, undef, $stderr) = $coordinator->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	like($stderr, qr/ERROR:  55000: request would be forwarded a second time/, "a circle: $sql");
}

# A prepared plan follows when the partition gets another placement.
is( $coordinator->safe_psql('postgres', <<"SQL"),
SET plan_cache_mode = force_generic_plan;
PREPARE q AS SELECT count(*), count(DISTINCT tableoid)
    FROM (SELECT id, tableoid FROM stale $by LIMIT 30) s;
EXECUTE q;
ALTER TABLE stale DETACH PARTITION stale_0;
EXECUTE q;
ALTER FOREIGN TABLE stale_0 RENAME TO stale_old;
CREATE FOREIGN TABLE stale_0 PARTITION OF stale
    FOR VALUES WITH (MODULUS 1, REMAINDER 0) SERVER w2;
EXECUTE q;
SQL
	"30|1\n0|0\n30|1",
	'a plan is made again when partitions change');

# A worker that has lost the partition since the plan was made says so.
{
	my $planned = $coordinator->background_psql('postgres', on_error_stop => 0);

	$planned->query("\\set VERBOSITY verbose\nSET plan_cache_mode = force_generic_plan;
		PREPARE q AS SELECT id FROM stale $by LIMIT 3; PREPARE s AS SELECT id FROM stale WHERE id > random() $by LIMIT 3;");
	is(scalar(split ' ', $planned->query("EXECUTE $_")), 3, "plan $_") foreach qw(q s);
	$w2->safe_psql('postgres', 'ALTER TABLE stale DETACH PARTITION stale_0; ALTER TABLE stale_0 RENAME TO stale_old');
	foreach my $plan (qw(q s))
	{
		unlike($planned->query("EXECUTE $plan"), qr/^\d+$/m, "plan $plan: no rows");
		like($planned->{stderr}, qr/ERROR:  42P01: relation "public\.stale_0" does not exist.*worker "w2"/s,
			"plan $plan: but an error");
		$planned->{stderr} = '';
	}
	$planned->quit;
}

# ----------------------------------------------------------------------
# A worker whose answer cannot be trusted
# ----------------------------------------------------------------------

# Put a function in front of the worker's own, which selects from its answer.
$w2->safe_psql('postgres', <<'SQL');
CREATE FUNCTION vecdist.honest_search(text[], text, text, text, text, bigint,
    bigint, text[], VARIADIC "any") RETURNS SETOF record
    AS '$libdir/vecdist', 'vecdist_search' LANGUAGE C STABLE;
SQL

sub lie
{
	my ($select, $where) = @_;

	$w2->safe_psql('postgres', <<"SQL");
CREATE OR REPLACE FUNCTION vecdist.search(partitions text[], columns text,
    filter text, distance text, ties text, k bigint, first bigint,
    settings text[], v vector)
    RETURNS SETOF record LANGUAGE plpgsql AS \$f\$
BEGIN
    RETURN QUERY SELECT $select, c
        FROM vecdist.honest_search(partitions, columns, filter, distance,
            ties, k, first, settings, v) AS s
            (part int, pos int, dist float8, report bytea, c bigint)
        WHERE $where;
END
\$f\$;
SQL
	my (undef, undef, $error) = $coordinator->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT id FROM eight WHERE id <= 1000 $by LIMIT 30");
	return $error;
}

# The answer with a changed report; see src/distribution/README for its form.
sub report_with
{
	my ($change) = @_;
	return "part, pos, dist, $change";
}

# Each partition has returned so many rows, is not exhausted, and has no bound.
$w2->safe_psql('postgres', <<'SQL');
CREATE FUNCTION returned(report bytea, nrows int) RETURNS bytea LANGUAGE plpgsql AS $f$
DECLARE
    partition int := 38;
BEGIN
    WHILE partition < length(report) LOOP
        report := overlay(report PLACING int8send(nrows) || '\x00' FROM partition + 1);
        partition := partition + 14 + get_byte(report, partition + 13);
    END LOOP;
    RETURN report;
END
$f$;
SQL

is(lie('part, pos, dist, report', 'true'), '', 'the function in front passes');
like(lie('part, pos, -dist, report', 'true'),
	qr/XX001: .* may be incomplete.*"eight_1" returned its rows out of order/s,
	'rows out of order');
like(lie(report_with('public.returned(report, 0)'), 'pos < 0'),
	qr/XX001.*"eight_1" has rows that it did not return|XX001.*"eight_1" may have rows nearer/s,
	'rows withheld, all');
like(lie(report_with('public.returned(report, 1)'), 'pos < 1'),
	qr/XX001.*"eight_\d" may have rows nearer than the last of the answer/s,
	'rows withheld, some');
like(lie(report_with('overlay(report PLACING int8send(4) FROM 7)'), 'true'),
	qr/XX001.*"eight_1" did not search with the number of rows and the settings/s,
	'another K');
like(lie(report_with('overlay(report PLACING int8send(1) FROM 15)'), 'true'),
	qr/XX001.*"eight_1" did not search with the number of rows and the settings/s,
	'other settings');
like(lie('part, pos, dist, report', 'pos >= 0'),
	qr/08P01.*worker "w2" sent an invalid answer/s, 'no report');
like(lie('part, pos, dist, report', 'pos <> 2'),
	qr/08P01.*worker "w2" sent an invalid answer/s, 'a row is missing');
like(lie(report_with('set_byte(report, 0, 9)'), 'true'),
	qr/08P01: report of a distributed search has version 9, expected 1.*CONTEXT:  answer of worker "w2"/s,
	'a report of another version');
like(lie(report_with('set_byte(report, 5, 3)'), 'true'),
	qr/08P01: report of a distributed search is of 3 partitions, expected 4/,
	'a report of other partitions');
like(lie(report_with('substr(report, 1, length(report) - 1)'), 'true'),
	qr/08P01: (no|insufficient) data left in message/, 'a report that ends early');
like(lie(report_with(q{report || '\x00'}), 'true'),
	qr/08P01: invalid message format/, 'a report that ends late');
like(lie('part, CASE WHEN pos >= 0 THEN pos END, dist, report', 'true'),
	qr/08P01.*worker "w2" sent an invalid answer/s, 'no position');

done_testing();

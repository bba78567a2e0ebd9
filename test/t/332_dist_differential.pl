# Random distributed tables and random searches give the exact answer.
#
# Each round makes a distributed table: placed by hash, list, range or centroid, 1 to
# 16 partitions on 1 to 4 workers, indexed for one of the metrics or not at all,
# often so skewed that one worker holds most rows.  Vectors have few different
# coordinates, so that equal distances, zero vectors and equal vectors are
# common; some are NULL, some rows are deleted, some are not committed, some are
# written by the searching transaction itself.  Generated queries, most of them
# searches by the top-K scan, others of shapes that are streamed or that core
# plans, are compared
# with the same query on one plain local table: same rows, and where the order
# is defined, same order.  Tables placed by centroid are searched with probes, too;
# then what EXPLAIN calls certified is compared.
#
# The seed is fixed and printed; VECDIST_SEED and VECDIST_ROUNDS change it and
# the number of tables (make soak).

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $seed    = $ENV{VECDIST_SEED}   // 6;
my $rounds  = $ENV{VECDIST_ROUNDS} // 10;
my $queries = 100;
my $dims    = 3;

note "seed $seed, $rounds tables, $queries queries each";
srand($seed);

my $cluster     = make_cluster(workers => 4, conf => "jit = off\n");
my $coordinator = $cluster->coordinator;

sub pick { return $_[ int rand @_ ]; }

sub random_between
{
	my ($low, $high) = @_;
	return $low + int rand($high - $low + 1);
}

sub vector
{
	return '[' . join(',', map { pick(-1, -0.5, 0, 0, 1, 2) } 1 .. $dims) . ']';
}

# Run a query on both tables.  Without a defined order, rows of equal distance
# may come in any order, and which of those at the end, and with OFFSET at the
# beginning, come at all is open.
$coordinator->safe_psql('postgres', <<'SQL');
CREATE FUNCTION difference(query text, ordered bool) RETURNS text
    LANGUAGE plpgsql AS $f$
DECLARE
    sql text := 'SELECT coalesce(array_agg(id), ''{}''), coalesce(array_agg(d), ''{}'') FROM (%s) AS s';
    got_ids bigint[];
    ids bigint[];
    got float8[];
    expected float8[];
    first float8;
    last float8;
    line text;
BEGIN
    -- Without proof, vecdist.probes may cost rows.
    IF current_setting('vecdist.probes')::int > 0 THEN
        IF query ~ 'read_cursor' THEN
            RETURN 'not certified';
        END IF;
        FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || replace(query, 'TABLE', 'searched') LOOP
            IF line ~ 'Merge Certified: no' THEN
                RETURN 'not certified';
            END IF;
        END LOOP;
    END IF;
    EXECUTE format(sql, replace(query, 'TABLE', 'searched')) INTO got_ids, got;
    EXECUTE format(sql, replace(query, 'TABLE', 'reference')) INTO ids, expected;
    IF got IS DISTINCT FROM expected THEN
        RETURN format('distances %s instead of %s', got, expected);
    END IF;
    IF NOT ordered THEN
        last := expected[cardinality(expected)];
        first := CASE WHEN query ~ 'OFFSET' THEN expected[1] ELSE '-Infinity' END;
        SELECT array_agg(id ORDER BY id) INTO got_ids FROM unnest(got_ids, got) AS u (id, d)
            WHERE d < last AND d > first;
        SELECT array_agg(id ORDER BY id) INTO ids FROM unnest(ids, expected) AS u (id, d)
            WHERE d < last AND d > first;
    END IF;
    IF got_ids IS DISTINCT FROM ids THEN
        RETURN format('rows %s instead of %s', got_ids, ids);
    END IF;
    RETURN 'same';
END
$f$;
CREATE FUNCTION read_cursor(query text, n int) RETURNS TABLE (id bigint, d float8)
    LANGUAGE plpgsql AS $f$
DECLARE
    c refcursor;
BEGIN
    OPEN c FOR EXECUTE query;
    FOR i IN 1 .. n LOOP
        FETCH c INTO id, d;
        EXIT WHEN NOT FOUND;
        RETURN NEXT;
        PERFORM FROM other o WHERE o.id = i;
    END LOOP;
    CLOSE c;
END
$f$;
CREATE TABLE other AS SELECT g::bigint AS id FROM generate_series(1, 2000, 3) g;
SQL

# ----------------------------------------------------------------------
# Tables
# ----------------------------------------------------------------------

# SQL of rows, numbered from $first.
sub random_rows
{
	my ($first, $n, $skew) = @_;

	return join ",\n", map {
		my $cat = rand() < $skew ? 0 : random_between(0, 9);
		my $vector = rand() < 0.02 ? 'NULL' : "'" . vector() . "'";

		"($_, $cat, $vector)"
	} $first .. $first + $n - 1;
}

sub make_table
{
	my $nworkers   = random_between(1, 4);
	my @workers    = map { "w$_" } 1 .. $nworkers;
	my $list       = join ',', map { "'$_'" } @workers;
	my $partitions = random_between(1, 16);
	my $strategy   = pick(qw(HASH HASH HASH LIST RANGE CENTROID));
	my $key        = $strategy eq 'RANGE' ? 'id' : $strategy eq 'LIST' ? 'cat' : pick(qw(id cat));
	my $metric     = pick(qw(none l2 l2 ip cosine l1));
	my $rows       = pick(0, 20, 500, 900);
	my $skew       = pick(0, 0.5, 0.95);
	my $by  = "$strategy ($key)";
	my $sql = "DROP TABLE IF EXISTS searched, reference;\n";

	if ($strategy eq 'CENTROID')
	{
		my $metric = pick(qw(l2 cosine));
		my %different;

		foreach my $v (map { vector() } 1 .. $partitions)
		{
			my @x    = $v =~ /[-.\d]+/g;
			my $norm = $metric eq 'l2' ? 1 : sqrt($x[0]**2 + $x[1]**2 + $x[2]**2);

			$different{ join ' ', map { sprintf '%.5f', $_ / $norm } @x } = $v if $norm > 0;
		}
		my @centroids = %different ? map { $different{$_} } sort keys %different : ('[1,2,3]');

		$partitions = @centroids;
		$by = "LIST (vecdist.nearest_centroid(v, " . $coordinator->safe_psql('postgres',
			"SELECT vecdist.create_centroids('random', ARRAY['" . join("','", @centroids) . "']::vector[], '$metric')") . '))';
	}
	$sql .= "CREATE TABLE searched (id bigint NOT NULL, cat int, v vector($dims)) PARTITION BY $by;\n";

	if ($strategy eq 'CENTROID')
	{
		$sql .= "SELECT vecdist.create_distributed_table('searched', workers => ARRAY[$list]);\n";
	}
	elsif ($strategy eq 'HASH')
	{
		$sql .= "SELECT vecdist.create_distributed_table('searched', $partitions, ARRAY[$list]);\n";
	}
	else
	{
		my @bounds =
		  $strategy eq 'LIST'
		  ? map { "FOR VALUES IN ($_)" } 0 .. 9
		  : (
			'FOR VALUES FROM (MINVALUE) TO (100)',
			'FOR VALUES FROM (100) TO (800)',
			'FOR VALUES FROM (800) TO (MAXVALUE)');

		$sql .= "SELECT vecdist.create_distributed_table('searched');\n";
		foreach my $i (0 .. $#bounds)
		{
			my $worker = $workers[ $i % @workers ];
			$sql .= "SELECT vecdist.create_partition('searched', 'searched_$i', '$bounds[$i]', '$worker');\n";
		}
		$partitions = @bounds;
	}
	$sql .= "CREATE INDEX ON searched USING vhnsw (v vector_${metric}_ops);\n"
	  if $metric ne 'none';
	$sql .= "CREATE TABLE reference (id bigint, cat int, v vector($dims));\n";
	$sql .= "INSERT INTO reference VALUES " . random_rows(1, $rows, $skew) . ";\n"
	  if $rows > 0;
	$sql .= "INSERT INTO searched SELECT * FROM reference;\n";
	foreach my $table (qw(searched reference))
	{
		$sql .= "DELETE FROM $table WHERE id % 7 = 3;\n" if $rows > 20;
	}
	$coordinator->safe_psql('postgres', $sql);
	return "$by, $partitions partitions on $nworkers workers, $rows rows, skew $skew, index $metric";
}

# ----------------------------------------------------------------------
# Queries
# ----------------------------------------------------------------------

# A random query on TABLE, and whether its order is defined.
sub random_query
{
	my $operator = pick('<->', '<->', '<#>', '<=>', '<+>');
	my $vector   = rand() < 0.03 ? 'NULL::vector' : "'" . vector() . "'::vector";
	my $d        = rand() < 0.9 ? "t.v $operator $vector" : "$vector $operator t.v";
	my $k        = pick(1, 2, 5, 10, 50, 150, 400, 400, 1000);
	my $filter   = pick(
		'true', 'true', 'true',
		't.cat = ' . random_between(0, 10),
		't.cat > ' . random_between(0, 9),
		't.id % ' . random_between(2, 50) . ' = 1',
		't.id BETWEEN ' . random_between(1, 500) . ' AND ' . random_between(1, 900),
		't.v IS NOT NULL',
		"t.v $operator '" . vector() . "' < " . pick(0, 1, 2.5),
		"(t.v $operator $vector, t.id) > (" . pick(0, 1, 1.5) . ', ' . random_between(1, 900) . ')',
		't.id IN (SELECT id FROM other)',
		't.id + 0 * random() > 100',
		't.cat <> (SELECT 3)');
	my $limit = rand() < 0.1 ? "LIMIT (SELECT $k)" : "LIMIT $k";
	my $kind  = random_between(1, 31);

	$limit .= ' OFFSET ' . pick(1, 5, 100, 600) if rand() < 0.25;
	return ("SELECT t.id, $d AS d FROM TABLE t WHERE $filter ORDER BY $d $limit", 0)
	  if $kind <= 5;
	return ("SELECT t.id, $d AS d FROM TABLE t WHERE $filter ORDER BY $d, t.id $limit", 1)
	  if $kind <= 10;
	return ("SELECT id, d FROM (SELECT t.id, $d AS d FROM TABLE t WHERE $filter
	    ORDER BY $d FETCH FIRST $k ROWS WITH TIES) s ORDER BY d, id", 1)
	  if $kind == 11;
	return ("SELECT t.id, $d AS d FROM TABLE t JOIN other o USING (id) WHERE $filter
	    ORDER BY $d, t.id $limit", 1)
	  if $kind == 12;
	return ("SELECT s.id, s.d FROM (SELECT id, v FROM reference WHERE id % 97 = 1) r,
	    LATERAL (SELECT t.id, t.v $operator r.v AS d FROM TABLE t WHERE $filter
	             ORDER BY t.v $operator r.v, t.id LIMIT $k) s
	    WHERE s.id > 0 ORDER BY r.id, s.d, s.id", 1)
	  if $kind == 13;
	return ("SELECT t.cat AS id, min($d) AS d FROM TABLE t WHERE $filter
	    GROUP BY t.cat ORDER BY min($d), t.cat $limit", 1)
	  if $kind == 14;
	return ("(SELECT t.id, $d AS d FROM TABLE t WHERE $filter ORDER BY $d, t.id $limit)
	    UNION ALL (SELECT t.id, $d FROM TABLE t ORDER BY $d, t.id DESC $limit)", 1)
	  if $kind == 15;
	return ("SELECT t.id, $d AS d FROM TABLE t WHERE $filter ORDER BY $d, t.id", 1)
	  if $kind == 16;

	# Streams: no K for the scan, or none that it knows.
	my $last = pick('t.id + 0', '-t.id', 't.cat, t.id % 3, t.id');
	return ("SELECT t.id, $d AS d FROM TABLE t WHERE $filter ORDER BY $d, $last $limit", 1)
	  if $kind == 17;
	return ("SELECT t.id, $d AS d FROM TABLE t WHERE $filter AND t.id > 0 * random() ORDER BY $d, t.id $limit", 1)
	  if $kind == 18;
	return ("SELECT t.id, $d AS d FROM TABLE t " . pick('JOIN', 'LEFT JOIN') . " other o ON o.id = t.id + "
		  . pick(0, 1) . " WHERE $filter ORDER BY $d $limit", 0)
	  if $kind == 19;
	return ("SELECT s.id, s.d FROM (SELECT id, v FROM reference WHERE id % 97 = 1) r,
	    LATERAL (SELECT t.id, t.v $operator r.v AS d FROM TABLE t WHERE $filter AND "
		  . pick('t.id > 0 * random()', 'EXISTS (SELECT FROM other o WHERE o.id = t.id)') . "
	             ORDER BY t.v $operator r.v, t.id LIMIT $k) s
	    WHERE s.id > 0 ORDER BY r.id, s.d, s.id", 1)
	  if $kind == 20;
	return ("SELECT t.id, $d AS d FROM TABLE t JOIN TABLE u ON u.id = t.id + 7 WHERE $filter
	    ORDER BY $d, t.id $limit", 1)
	  if $kind == 21;
	return other_shape($kind, $operator, $d, $filter, $limit, $k) if $kind >= 23;
	return ("SELECT id, d FROM read_cursor('SELECT t.id, ' || " . quoted($d) . " || ' AS d FROM TABLE t WHERE ' || "
		  . quoted($filter) . " || ' ORDER BY ' || " . quoted("$d, t.id") . ", $k) AS r (id, d)", 1);
}

# Shapes in which something is between the rows and ORDER BY or LIMIT.
sub other_shape
{
	my ($kind, $operator, $d, $filter, $limit, $k) = @_;
	my $from = "FROM TABLE t WHERE $filter";

	return ("SELECT t.id, "
		  . pick('rank() OVER w', 'count(*) OVER w', 'row_number() OVER (w2 ORDER BY t.id)', 'sum(t.cat) OVER w')
		  . "::float8 AS d $from WINDOW w AS (ORDER BY $d), w2 AS (PARTITION BY t.cat) ORDER BY $d, t.id $limit", 1)
	  if $kind == 23;
	return ("SELECT t.id, lag(t.id) OVER (ORDER BY $d, t.id)::float8 AS d $from ORDER BY $d, t.id $limit", 1)
	  if $kind == 24 && rand() < 0.5;
	return ("SELECT id, n AS d FROM (SELECT t.id, " . pick('rank()', 'dense_rank()', 'count(*)')
		  . " OVER (ORDER BY $d)::float8 AS n $from) s WHERE n <= $k ORDER BY n, id", 1)
	  if $kind == 24;
	return ("SELECT DISTINCT " . pick('t.cat', 't.id % 5', 't.id') . "::bigint AS id, $d AS d $from ORDER BY d, id $limit", 1)
	  if $kind == 25 && rand() < 0.5;
	return ("SELECT DISTINCT ON ($d) t.id, $d AS d $from ORDER BY $d, t.id $limit", 1)
	  if $kind == 25;
	return ("SELECT t.id, generate_series(1, t.cat % 3)::float8 AS d $from ORDER BY $d, t.id $limit", 1)
	  if $kind == 26;
	return ("SELECT t.id, $d AS d $from ORDER BY $d, t.id $limit FOR " . pick('UPDATE', 'SHARE'), 1)
	  if $kind == 27;
	return ("SELECT (w).id, length(w::text)::float8 AS d FROM (SELECT t AS w $from ORDER BY $d, "
		  . pick('t.id', 't.id + 0') . " $limit) s", 1)
	  if $kind == 28;
	return ("SELECT t.id, $d AS d $from AND $d < " . pick(0, 0.5, 1, 2.5) . ' ORDER BY '
		  . pick("$d, t.id", 't.id'), 1)
	  if $kind == 29;
	return ("SELECT t.id, $d AS d FROM (SELECT * FROM TABLE UNION ALL SELECT id + "
		  . pick(0, 10000) . ", cat, v FROM " . pick('TABLE', 'reference') . ") t WHERE $filter ORDER BY $d, t.id $limit", 1)
	  if $kind == 31;
	return ("SELECT t.id, $d AS d $from " . pick('UNION', 'UNION ALL', 'EXCEPT', 'INTERSECT')
		  . " SELECT t.id, $d FROM TABLE t WHERE t.cat < 5 ORDER BY d, id $limit", 1);
}

sub quoted
{
	my ($text) = @_;
	return "\$t\$$text\$t\$";
}

my %failed;
my $nqueries = 0;
my $nuncertified = 0;

foreach my $round (1 .. $rounds)
{
	my $table  = make_table();
	my $writer = $coordinator->background_psql('postgres');
	my $own    = rand() < 0.4;
	my $level  = pick('READ COMMITTED', 'REPEATABLE READ');
	my $sql    = "SET vhnsw.ef_search = 1000;\n";
	my @queries;

	# Rows that nobody but the writer sees, and some only the searcher sees.
	$writer->query_safe('BEGIN');
	$writer->query_safe('INSERT INTO searched VALUES ' . random_rows(5001, 40, 0.5));
	$sql .= "SET enable_seqscan = off;\n" if rand() < 0.7;
	$sql .= "SET plan_cache_mode = force_generic_plan;\n" if rand() < 0.3;
	$sql .= "SET vecdist.read_consistency = eventual;\n" if rand() < 0.2;
	$sql .= 'SET vecdist.probes = ' . random_between(1, 4) . ";\n" if $table =~ /centroid/ && rand() < 0.7;
	if ($own)
	{
		my $values = random_rows(6001, 30, 0.5);

		$sql .= "BEGIN ISOLATION LEVEL $level;\nSAVEPOINT s;\n";
		$sql .= "INSERT INTO $_ VALUES $values;\n" foreach qw(searched reference);
		$sql .= "DELETE FROM $_ WHERE id % 5 = 1;\n" foreach qw(searched reference);
	}
	foreach (1 .. $queries)
	{
		my ($query, $ordered) = random_query();

		push @queries, $query;
		$sql .= "SELECT difference(\$q\$$query\$q\$, "
		  . ($ordered ? 'true' : 'false') . ");\n";
	}
	$sql .= "ROLLBACK;\n" if $own;

	my @lines = @{ rows($coordinator, $sql) };
	is(scalar @lines, scalar @queries, "round $round: $table");
	foreach my $i (0 .. $#lines)
	{
		$nqueries++;
		next if $lines[$i] eq 'same';
		if ($lines[$i] eq 'not certified')
		{
			$nuncertified++;
			next;
		}
		$failed{"round $round, query $i"} = 1;
		diag("round $round, $table" . ($own ? ", in a transaction, $level" : '')
		  . "\n$queries[$i]\n" . substr($lines[$i], 0, 1000));
	}
	$writer->query_safe('ROLLBACK');
	$writer->quit;
}
is(join(', ', sort keys %failed), '', "$nqueries queries, each as on one table");

note "$nuncertified of these were not certified, because of vecdist.probes";

done_testing();

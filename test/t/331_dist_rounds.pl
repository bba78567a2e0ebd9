# A large K is asked for in two rounds, and the answer is that of one server.
#
# Workers first return their likely share of the K nearest rows, and the rest
# only if the merge cannot be proved complete.  Tables of eight hash partitions
# on two and four workers; in some all near rows are in one partition, where any
# fixed share of K loses most of the answer.  Rows and turns are counted by
# proxies before the workers and by EXPLAIN.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims    = 4;
my $cluster = make_cluster(
	workers  => 4,
	proxies  => 1,
	register => 0,
	conf     => 'jit = off');
my $coordinator = $cluster->coordinator;
my @servers     = $cluster->servers;
my @groups      = sort $cluster->groups;
my $query       = random_vector($dims, seed => 21);

# Distances as vhnsw finds them, if it is told to find all.
my %exact = (enable_seqscan => 'off', 'vhnsw.ef_search' => 1000);

# The rows of a table, made by SQL on every server: 12000 random vectors.
foreach my $server (@servers)
{
	$server->safe_psql('postgres', <<"SQL");
CREATE TABLE reference AS
    SELECT g::bigint AS id, g % 100 AS cat,
           (SELECT array_agg((hashint8extended(g, i) & 65535) / 65535.0)
            FROM generate_series(1, $dims) i)::vector($dims) AS embedding
    FROM generate_series(1, 12000) g;
SQL
}
foreach my $group (@groups)
{
	my $hosts = $cluster->hosts($group);
	my $user  = $coordinator->safe_psql('postgres', 'SELECT current_user');

	$coordinator->safe_psql('postgres', <<"SQL");
CREATE SERVER $group FOREIGN DATA WRAPPER vecdist_fdw
    OPTIONS (hosts '$hosts', dbname 'postgres');
CREATE USER MAPPING FOR PUBLIC SERVER $group
    OPTIONS (user '$user', password_required 'false');
SQL
}

# A table of eight hash partitions, dealt to these groups, with an index where
# "indexed"; undef means the coordinator itself.
sub create_table
{
	my ($table, $indexed, @on) = @_;

	foreach my $server (@servers)
	{
		my $sql =
		  "CREATE TABLE $table (LIKE reference) PARTITION BY HASH (id);\n";

		foreach my $i (0 .. 7)
		{
			my $group = $on[ $i % @on ];
			my $holder =
			  defined $group ? $cluster->worker($group) : $coordinator;
			my $of = "${table}_$i PARTITION OF $table
			    FOR VALUES WITH (MODULUS 8, REMAINDER $i)";

			if ($server == $holder)
			{
				$sql .= "CREATE TABLE $of;
				    INSERT INTO ${table}_$i SELECT * FROM reference
				    WHERE satisfies_hash_partition('$table'::regclass, 8, $i, id);\n";
				$sql .= "CREATE INDEX ON ${table}_$i USING vhnsw (embedding vector_l2_ops);\n"
				  if $indexed;
			}
			elsif ($server == $coordinator)
			{
				$sql .= "CREATE FOREIGN TABLE $of SERVER $group;\n";
			}
		}
		$server->safe_psql('postgres', $sql);
	}
	return;
}

# EXPLAIN ANALYZE of a search, as lines.
sub explained
{
	my ($table, $k, $where) = @_;
	$where //= 'true';
	return $coordinator->safe_psql('postgres',
		"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT id FROM $table
		 WHERE $where ORDER BY embedding <-> '$query' LIMIT $k");
}

# Rows that came from workers.
sub rows_moved
{
	my ($explain) = @_;
	my $sum = 0;
	$explain =~ s/Worker Group: local.*?(?=Worker Group|\z)//s;
	$sum += $1 while $explain =~ /Partition: .*\(rows (\d+)/g;
	return $sum;
}

sub same_search
{
	my ($table, $k, $name, %params) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return same_topk(
		topk($coordinator, $table, $query, $k, %params),
		exact_topk($coordinator, 'reference', $query, $k, %params), $name);
}

create_table('two', 0, @groups[ 0, 1 ]);
create_table('four', 0, @groups);
create_table('mixed', 0, undef, @groups[ 0, 1, 2 ]);
create_table('indexed', 1, @groups);

# ----------------------------------------------------------------------
# Hash placement as it should be: one round
# ----------------------------------------------------------------------

foreach my $table (qw(two four mixed))
{
	same_search($table, $_, "$table: LIMIT $_")
	  foreach 1, 99, 1000, '500 OFFSET 500', 11999, 20000;

	my $explain = explained($table, 1000);
	like($explain, qr/Merge Certified: yes/, "$table: certified");
	unlike($explain, qr/and the rest/, "$table: one round");
	cmp_ok(rows_moved($explain), '<=', 0.25 * 8 * 1000,
		"$table: K = 1000 moves a quarter of asking eight partitions for 1000");
}
like(explained('four', 1000), qr/asked 298, round trips 1\)/,
	'K / 4 + 3 sqrt(K / 4) are asked of each of four workers');
like(
	$coordinator->safe_psql('postgres',
		"SET vecdist.read_consistency = eventual; EXPLAIN (ANALYZE, COSTS OFF)
		 SELECT id FROM four ORDER BY embedding <-> '$query' LIMIT 1000"),
	qr/asked 1000, round trips 1\)/,
	'eventual reads are not bound to one server by a second round');
like(explained('four', 10), qr/asked 10, round trips 1\)/, 'a small K is asked at once');

my $proxy = $cluster->proxy($cluster->worker($groups[0]));
my $session = $coordinator->background_psql('postgres');
my $search = sub {
	my ($table, $k) = @_;
	return $session->query_safe(
		"SELECT count(*) FROM (SELECT id FROM $table ORDER BY embedding <-> '$query' LIMIT $k) s");
};
$search->('four', $_) foreach 10, 1000;
foreach my $turns ([ 10, 1 ], [ 1000, 2 ])
{
	$proxy->reset_stats;
	$search->('four', $turns->[0]);
	is($proxy->stats->{turns}, $turns->[1],
		"K = $turns->[0]: turns, the end of the remote transaction included");
	is($proxy->stats->{connections}, 0, 'and no connection is opened');
}

# A worker plans a search once, and again only for another one.
{
	my $worker = $cluster->worker($groups[0]);
	my $planned = sub {
		my $start = -s $worker->logfile;

		$search->('four', $_) foreach @_;
		return scalar(() = slurp_file($worker->logfile, $start) =~ /PLANNER STATISTICS/g);
	};

	$worker->safe_psql('postgres', 'ALTER SYSTEM SET log_planner_stats = on');
	$worker->reload;
	$worker->poll_query_until('postgres', "SELECT current_setting('log_planner_stats') = 'on'")
	  or die 'the setting does not arrive';
	$planned->((10, 1000) x 8);
	is($planned->((10, 1000) x 3), 0, 'six searches of known kinds plan nothing on the worker');
	cmp_ok($planned->(12), '>', 0, 'one of another kind does');
	$worker->safe_psql('postgres', 'ALTER SYSTEM RESET log_planner_stats');
	$worker->reload;
}

# Planning asks nobody anything, whatever the plan becomes.
{
	my @proxies = map { $cluster->proxy($cluster->worker($_)) } @groups;
	my $distance = "embedding <-> '$query'";

	$_->reset_stats foreach @proxies;
	foreach my $planner ($session, $coordinator->background_psql('postgres'))
	{
		$planner->query_safe("EXPLAIN (SUMMARY) $_")
		  foreach "SELECT id FROM four ORDER BY $distance LIMIT 10",
		  "SELECT id FROM four WHERE cat = 3 ORDER BY $distance, id LIMIT 1000",
		  "SELECT a.id FROM four a JOIN two b USING (id) ORDER BY a.$distance LIMIT 10",
		  "SELECT cat, min($distance) FROM four GROUP BY cat ORDER BY 2 LIMIT 3",
		  "SELECT id FROM four WHERE id = 7",
		  "UPDATE four SET cat = 1 WHERE id < 10",
		  "INSERT INTO four SELECT * FROM two";
		$planner->query_safe(
			"PREPARE p AS SELECT id FROM four ORDER BY embedding <-> \$1 LIMIT \$2;
			 EXPLAIN EXECUTE p('$query', 5); DEALLOCATE p");
		$planner->quit if $planner != $session;
	}
	is( join(' ', map { $_->stats->{messages_to_server} + $_->stats->{connections} } @proxies),
		'0 0 0 0',
		'planning sends nothing and opens no connection');
}

# ----------------------------------------------------------------------
# All near rows in one partition: a second round, to one worker
# ----------------------------------------------------------------------

# Rows of partition 3 alone, and all rows of it nearer than any other.
foreach my $server (@servers)
{
	$server->safe_psql('postgres', <<"SQL");
CREATE FUNCTION move_near(text) RETURNS void LANGUAGE plpgsql AS \$f\$
BEGIN
    EXECUTE format('UPDATE %s SET embedding = (SELECT array_agg(e * 0.01)
        FROM unnest(embedding::real[]) e)::vector + ''$query''', \$1);
END
\$f\$;
UPDATE reference SET embedding = (SELECT array_agg(e * 0.01)
    FROM unnest(embedding::real[]) e)::vector + '$query'
    WHERE satisfies_hash_partition('four'::regclass, 8, 3, id);
SQL
}
my %holder = (two => 1, four => 3, mixed => 2, indexed => 3);
foreach my $table (sort keys %holder)
{
	$cluster->worker($groups[ $holder{$table} ])
	  ->safe_psql('postgres', "SELECT move_near('${table}_3')");
}

foreach my $table (qw(two four mixed))
{
	same_search($table, $_, "A1 $table: all near rows in one partition, LIMIT $_")
	  foreach 10, 100, 1000, '600 OFFSET 300', 1400;

	my $explain = explained($table, 1000);
	my @rest = $explain =~ /and the rest, round trips 2\)/g;
	is(scalar @rest, 1, "$table: only the worker with the rows is asked again");
	cmp_ok(rows_moved($explain), '<=', 0.25 * 8 * 1000, "$table: rows moved");
}

# The same through indexes, which must not be searched for fewer than K.
same_topk(
	topk($coordinator, 'indexed', $query, 1000, set => \%exact),
	exact_topk($coordinator, 'reference', $query, 1000),
	'A1 A3 the same through indexes');
like(
	$coordinator->safe_psql('postgres',
		"SET enable_seqscan = off; SET vhnsw.ef_search = 10; EXPLAIN (ANALYZE, COSTS OFF)
		 SELECT id FROM indexed ORDER BY embedding <-> '$query' LIMIT 1000"),
	qr/asked 298.*\n.*index indexed_\d_embedding_idx, ef 1000\)/,
	'A4 ef comes from K, not from what is asked first');

# vecdist.stat_search counts what EXPLAIN has shown.
$coordinator->safe_psql('postgres', 'SELECT vecdist.stat_search_reset()');
is($coordinator->safe_psql('postgres', 'SELECT count(*) FROM vecdist.stat_search'),
	'0', 'vecdist.stat_search: reset');
my $two_rounds = explained('four', 1000);
$coordinator->safe_psql('postgres',
	"SELECT id FROM four ORDER BY embedding <-> '$query' LIMIT 3 OFFSET 4");
$coordinator->psql('postgres', "SELECT id FROM four ORDER BY embedding <-> '[1,2]' LIMIT 5");
is( $coordinator->safe_psql('postgres', q{
		SELECT relation, searches, failed, not_certified, messages, second_rounds,
			retries, rows_returned, max_time > 0 AND max_time <= total_time
		FROM vecdist.stat_search}),
	'four|3|1|0|13|1|0|1007|t', 'vecdist.stat_search: searches and messages');
my ($stat_rows, $stat_bytes) = split /\|/, $coordinator->safe_psql('postgres',
	'SELECT rows_received, bytes_received FROM vecdist.stat_search');
is($stat_rows, rows_moved($two_rounds) + 4 * 7, 'vecdist.stat_search: rows');
cmp_ok($stat_bytes, '>', $stat_rows * 30, 'vecdist.stat_search: bytes');
$coordinator->safe_psql('postgres', "SELECT vecdist.stat_search_reset('two')");
is($coordinator->safe_psql('postgres', 'SELECT searches FROM vecdist.stat_search'),
	'3', 'vecdist.stat_search: reset of another table');

$coordinator->safe_psql('postgres', 'SELECT vecdist.stat_search_reset()');
$coordinator->safe_psql('postgres',
	"SELECT id FROM four WHERE random() >= 0 ORDER BY embedding <-> '$query' LIMIT 900");
is( $coordinator->safe_psql('postgres',
		'SELECT searches, messages > 4, rows_returned FROM vecdist.stat_search'),
	'1|t|900', 'vecdist.stat_search: rows of a stream, read in several turns');

# Portals that one search leaves open do not disturb the next one.
$session->query_safe('BEGIN');
$search->('four', 1000);
is($search->('four', 1000), $search->('four', 500) + 500,
	'several searches in one transaction');
$session->query_safe('SAVEPOINT s');
$search->('four', 1000);
$session->query_safe('ROLLBACK TO s');
is($search->('four', 1000), 1000, 'after ROLLBACK TO');
my $connections = "SELECT string_agg(concat_ws(' ', worker, state, in_transaction,
    primary_only, is_standby, prepared_statements > 0), ', ' ORDER BY worker)
    FROM vecdist.connections WHERE %s";
is($session->query_safe(sprintf $connections, 'true'),
	join(', ', map { "$_ idle t t f t" } @groups),
	'vecdist.connections: remote transactions are open');
my $pid = $session->query_safe(
	"SELECT pid FROM vecdist.connections WHERE worker = '$groups[0]'");
my $shown = "SELECT application_name FROM pg_stat_activity WHERE pid = $pid";
my $backend = $session->query_safe('SELECT pg_backend_pid()');
is($cluster->worker($groups[0])->safe_psql('postgres', $shown),
	"vecdist from=coordinator/$backend",
	'and the process on the worker says where it works for');
$session->query_safe('SET compute_query_id = on');
is($search->('four', 1000), 1000, 'a search with a query identifier');
my ($name) = $cluster->worker($groups[0])->safe_psql('postgres', $shown);
like($name, qr/^vecdist from=coordinator\/$backend query=(-?\d+)$/, 'shows it there');
is($name =~ s/.*=//r, $coordinator->safe_psql('postgres',
		"SELECT query_id FROM pg_stat_activity WHERE pid = $backend"),
	'as it is shown here');
$session->query_safe('COMMIT; RESET compute_query_id');
is($cluster->worker($groups[0])->safe_psql('postgres', $shown),
	"vecdist from=coordinator/$backend", 'until the transaction ends');
is($session->query_safe(sprintf $connections, 'in_transaction'), '',
	'vecdist.connections: no remote transaction is left');

# ----------------------------------------------------------------------
# The worker's side by itself: two rounds from one snapshot
# ----------------------------------------------------------------------

my $worker = $cluster->worker($groups[3]);
my $hand   = $worker->background_psql('postgres');
my $answer = "AS (part int, pos int, distance float8, report bytea, id bigint)";
my $call   = "SELECT count(id) FROM vecdist.search('{public.four_3,public.four_7}', 't.id',
    NULL, 't.embedding OPERATOR(public.<->) \$1', NULL, 1000, 100, '{}', '$query'::vector) $answer";
my $rest = "SELECT count(id) FROM vecdist.search_rest(%s) $answer";

$hand->query_safe('BEGIN');
is($hand->query_safe($call), 100, 'the first rows');
$worker->safe_psql('postgres', 'DELETE FROM four_3');
is($hand->query_safe(sprintf $rest, 'NULL'), 900,
	'the rest comes from the snapshot of the first rows');
is($hand->query_safe('SELECT count(*) FROM pg_cursors'), 0, 'and nothing stays open');
$hand->query_safe('ROLLBACK; BEGIN');
is($hand->query_safe($call), 100, 'again');
is($hand->query_safe('SELECT count(*) FROM pg_cursors'), 2, 'one portal for each partition');
is($hand->query_safe(sprintf $rest, '0'), 0, 'a bound that nothing is within');
$hand->query_safe('COMMIT');

my (undef, undef, $error) = $worker->psql('postgres',
	"\\set VERBOSITY verbose\n" . sprintf($rest, 'NULL'));
like($error, qr/55000: no search of partitions is open/, 'without a search');
(undef, undef, $error) = $worker->psql('postgres', "\\set VERBOSITY verbose\n
	BEGIN; SAVEPOINT s; $call; ROLLBACK TO s; " . sprintf($rest, 'NULL'));
like($error, qr/55000: no search of partitions is open/, 'after its savepoint was rolled back');
(undef, undef, $error) = $worker->psql('postgres', "\\set VERBOSITY verbose\n
	BEGIN; $call; CLOSE ALL; " . sprintf($rest, 'NULL'));
like($error, qr/55000: no search of partitions is open/, 'after its portals were closed');
(undef, undef, $error) = $worker->psql('postgres', "\\set VERBOSITY verbose\n
	CREATE ROLE other; BEGIN; $call; SET ROLE other; " . sprintf($rest, 'NULL'));
like($error, qr/55000: no search of partitions is open/, 'by another role');
$hand->quit;
$session->quit;

done_testing();

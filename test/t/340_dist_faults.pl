# A search during failures: the full answer, or an error that says what is
# missing; never a short answer.
#
# One cluster of a coordinator and two worker groups with a standby each.
# Primaries are stopped, killed in the middle of a search, frozen, and
# replaced by their standbys, while one session goes on.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims    = 5;
my $cluster = make_cluster(workers => 2, standbys => 1);
my $coordinator = $cluster->coordinator;
my $primary     = $cluster->worker('w1');
my $standby     = $cluster->standby('w1');
my $query       = random_vector($dims, seed => 11);

my $indexed = $coordinator->safe_psql('postgres',
	q{SELECT count(*) FROM pg_am WHERE amname = 'vhnsw'});

$coordinator->safe_psql('postgres', <<"SQL");
CREATE TABLE items (id bigint, embedding vector($dims)) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table('items', partitions => 4);
SQL
$coordinator->safe_psql('postgres',
	'CREATE INDEX ON items USING vhnsw (embedding vector_l2_ops)')
  if $indexed;
load_vectors($coordinator, 'items', random_vectors(800, $dims, seed => 12));
$cluster->wait_caught_up;

# ----------------------------------------------------------------------
# One session of the coordinator, which stays
# ----------------------------------------------------------------------

my $session = $coordinator->background_psql('postgres', on_error_stop => 0);
my $search  = "SELECT string_agg(id || ' ' || d, ',')
    FROM (SELECT id, embedding <-> '$query' AS d FROM items
          ORDER BY embedding <-> '$query' LIMIT 20) s";

# Run a statement; returns its output and its error, which has a SQLSTATE.
$session->query_safe('\set VERBOSITY verbose');

sub run
{
	return run_in($session, @_);
}

# The search gives the full answer.
sub answers
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($output, $error) = run($search);

	is($error, '', "$name: no error");
	return is($output, $main::answer, "$name: the full answer");
}

# So does a stream.
sub streams
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($output, $error) = run($search =~ s/FROM items/FROM items WHERE random() >= 0/r);

	is($error, '', "$name, a stream: no error");
	return is($output, $main::answer, "$name, a stream: the full answer");
}

sub fails
{
	my ($pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($output, $error) = run($search);

	is($output, '', "$name: no answer");
	return like($error, $pattern, "$name: the error");
}

# Which server of group w1 answers: "port role".
sub server_of_w1
{
	my ($output) = run("EXPLAIN (ANALYZE, COSTS OFF) SELECT id FROM items
		ORDER BY embedding <-> '$query' LIMIT 20");

	return $output =~ /Worker Group: w1 \(127\.0\.0\.1:(\d+) (\w+),/
	  ? "$1 $2"
	  : $output;
}

# Start a search; it goes on while the test does something else.
sub start_search
{
	$session->{stderr} = '';
	$session->query_until(qr/started/, "\\echo started\n$search;\n");
	return;
}

# Wait for it.
sub end_search
{
	return run('SELECT 1');
}

our ($answer) = run($search);
like($answer, qr/^\d+ [\d.]+(,\d+ [\d.e-]+){19}$/, 'the answer');
is(server_of_w1(), $primary->port . ' primary', 'the primary gives it');

# ----------------------------------------------------------------------
# Standbys
# ----------------------------------------------------------------------

# Equal replay position: equal rows, equal bits, from the same plan.
foreach my $group ($cluster->groups)
{
	my $local = $cluster->worker($group)->safe_psql('postgres',
		q{SELECT string_agg(quote_literal('public.' || relname), ',' ORDER BY relid)
		  FROM pg_partition_tree('items') t JOIN pg_class c ON c.oid = t.relid
		  WHERE relkind = 'r'});
	my $sql = "SET extra_float_digits = 3;
		SELECT part, pos, distance, id,
			set_byte(overlay(report PLACING int8send(0) FROM 23), 1, 0)
		FROM vecdist.search(ARRAY[$local], 't.id', NULL,
			't.embedding OPERATOR(public.<->) \$1', NULL, 100, NULL, '{}', '$query'::vector)
		AS s (part int, pos int, distance float8, report bytea, id bigint)";

	is( $cluster->standby($group)->safe_psql('postgres', $sql),
		$cluster->worker($group)->safe_psql('postgres', $sql),
		"the standby of $group gives the identical rows and distances");
}
is($standby->safe_psql('postgres', $search), $answer, 'a standby can be asked');

# ----------------------------------------------------------------------
# The primary is down
# ----------------------------------------------------------------------

$primary->stop('immediate');
fails(qr/ERROR:  08\d\d\d.*search of partitions "items_\w+", "items_\w+" on worker "w1"/s,
	'strong, primary down');
run('SET vecdist.read_consistency = eventual');
answers('eventual, primary down');
is(server_of_w1(), $standby->port . ' standby', 'the standby gives it');
answers('eventual, primary down, again');
streams('eventual, primary down');

$standby->stop('immediate');
fails(qr/ERROR:  08\d\d\d.*search of partitions "items_\w+", "items_\w+" on worker "w1"/s,
	'eventual, whole group down');
$primary->start;
streams('eventual, primary back');
answers('eventual, primary back');
run('RESET vecdist.read_consistency');
answers('strong, primary back');
is(server_of_w1(), $primary->port . ' primary', 'the primary gives it');
$standby->start;
wait_caught_up($primary, $standby);

# A search inside a transaction is never sent elsewhere.
run('SET vecdist.read_consistency = eventual');
run('BEGIN ISOLATION LEVEL REPEATABLE READ');
answers('repeatable read');
$primary->stop('immediate');
fails(qr/ERROR:  08\d\d\d/, 'repeatable read, the server of its snapshot is gone');
run('ROLLBACK');
answers('eventual, after the transaction');
run('RESET vecdist.read_consistency');
$primary->start;
wait_caught_up($primary, $standby);

# ----------------------------------------------------------------------
# The primary is frozen, or dies in the middle of a search
# ----------------------------------------------------------------------

answers('strong, before freezing');
freeze($primary);

# Were it not for the cancel, the error would be that of node_timeout.
run("SET vecdist.node_timeout = '100s'; SET statement_timeout = '200ms'");
fails(qr/ERROR:  57014/, 'frozen, statement_timeout');
run("RESET statement_timeout; SET vecdist.node_timeout = '500ms'");
fails(qr/ERROR:  08\d\d\d.*on worker "w1"/s, 'strong, frozen');
run('SET vecdist.read_consistency = eventual');
streams('eventual, frozen');
answers('eventual, frozen');
is(server_of_w1(), $standby->port . ' standby', 'the standby gives it');
run('RESET vecdist.node_timeout; RESET vecdist.read_consistency');
thaw($primary);
answers('strong, thawed');

freeze($primary);
start_search();
kill_server($primary);
my ($output, $error) = end_search();
like($error, qr/ERROR:  08\d\d\d.*on worker "w1"/s, 'strong, killed in a search');
$primary->start;
answers('strong, restarted');

run('SET vecdist.read_consistency = eventual');
answers('eventual, before the kill');
is(server_of_w1(), $standby->port . ' standby', 'the server that answered last');
freeze($standby);
start_search();
kill_server($standby);
($output, $error) = end_search();
is($error, '', 'eventual, killed in a search: no error');
is($output, "$answer\n1", 'eventual, killed in a search: the full answer');
is($coordinator->safe_psql('postgres',
		"SELECT failed > 0, retries > 0 FROM vecdist.stat_search WHERE relation = 'items'::regclass"),
	't|t', 'vecdist.stat_search: failures and retries');
is(server_of_w1(), $primary->port . ' primary', 'the other server gives it');
$standby->start;
wait_caught_up($primary, $standby);
kill_server($primary);
answers('eventual, primary killed between searches');
run('RESET vecdist.read_consistency');

# ----------------------------------------------------------------------
# The standby takes over
# ----------------------------------------------------------------------

$standby->promote;
answers('strong, standby promoted');
is(server_of_w1(), $standby->port . ' primary', 'the new primary gives it');
$coordinator->safe_psql('postgres',
	"INSERT INTO items SELECT g, '$query' FROM generate_series(5001, 5020) g");
my ($found) = run("SELECT min(id), count(*) FROM (SELECT id FROM items
	ORDER BY embedding <-> '$query' LIMIT 20) s");
is($found, '5001|20', 'and takes writes that are found');
$coordinator->safe_psql('postgres', 'DELETE FROM items WHERE id > 5000');

# ----------------------------------------------------------------------
# Many failures leave nothing behind
# ----------------------------------------------------------------------

# Resident kilobytes of the session's backend, and connections to a worker.
sub resources
{
	my ($pid) = run('SELECT pg_backend_pid()');
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^VmRSS:\s+(\d+) kB$/m;
	my $connections = $cluster->worker('w2')->safe_psql('postgres',
		q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'});
	return ($kb, $connections);
}

my $failing = "SELECT id FROM items ORDER BY embedding <-> '[1,2]' LIMIT 5;\n";
run($failing x 100);
my ($kb, $connections) = resources();
run($failing x 1000);
my ($kb_after, $connections_after) = resources();
cmp_ok($kb_after, '<', $kb + 1024, '1000 failed searches leave no memory behind');
is($connections_after, $connections, 'and no connections');
answers('after 1000 failed searches');
$session->quit;

done_testing();

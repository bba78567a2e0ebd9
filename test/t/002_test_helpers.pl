# The helpers of the other tests do what they say: workers are known to the
# coordinator by their proxies, a frozen server does not answer and a thawed one
# does, a killed one comes back, standbys follow, and the proxy counts, delays,
# cuts, stalls and refuses.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster = make_cluster(workers => 1, standbys => 1, proxies => 1);
my $primary = $cluster->worker('w1');
my $standby = $cluster->standby('w1');
my $proxy   = $cluster->proxy($primary);

is( $cluster->coordinator->safe_psql(
		'postgres', 'SELECT name, hosts FROM vecdist.workers'),
	'w1|' . join(',', map { '127.0.0.1:' . $cluster->proxy($_)->port }
		  ($primary, $standby)),
	'the coordinator knows the worker');
$proxy->reset_stats;

# ----------------------------------------------------------------------
# Data, references, standbys
# ----------------------------------------------------------------------

is_deeply(
	random_vectors(2, 3, seed => 5),
	random_vectors(2, 3, seed => 5),
	'generated vectors are reproducible');
isnt(random_vector(3, seed => 5), random_vector(3, seed => 6),
	'and depend on the seed');
is(random_vector(2, seed => 1, digits => 6),
	'[0.041630,0.454492]', 'on every machine alike');

$primary->safe_psql('postgres', 'CREATE TABLE t (id int, embedding text)');
load_vectors($primary, 't', random_vectors(100, 4));
$cluster->wait_caught_up;
same_rows(
	rows($standby, 'SELECT * FROM t'),
	rows($primary, 'SELECT * FROM t ORDER BY id DESC'),
	'a standby that caught up has the same rows');

my $exact = [ [ 1, 0.1 ], [ 2, 0.2 ], [ 3, 0.3 ], [ 4, 0.3 ] ];
is(recall_at_k([ [ 1, 0.1 ], [ 2, 0.2 ], [ 4, 0.3 ], [ 5, 0.3 ] ], $exact),
	1, 'recall: tied rows count');
is(recall_at_k([ [ 1, 0.1 ], [ 3, 0.3 ], [ 6, 0.4 ], [ 7, 0.5 ] ], $exact),
	0.5, 'recall: rows farther away do not');
same_topk([ [ 1, 0.1 ], [ 2, 0.2 ], [ 5, 0.3 ], [ 3, 0.3 ] ],
	$exact, 'same_topk accepts another choice among ties');

# ----------------------------------------------------------------------
# The proxy
# ----------------------------------------------------------------------

my $through = "host=127.0.0.1 port=" . $proxy->port . " dbname=postgres";

# psql through the proxy; returns exit code, output, errors.
sub psql_through
{
	my ($sql, $options) = @_;
	my ($out, $err);
	my $ok = IPC::Run::run(
		[ 'psql', '-XAtq', '-d', "$through " . ($options // ''), '-c', $sql ],
		'>', \$out, '2>', \$err,
		IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default));
	chomp $out;
	return ($ok, $out, $err);
}

is((psql_through('SELECT 42'))[1], '42', 'the proxy passes queries on');
my $stats = $proxy->stats;
is($stats->{connections}, 1, 'one connection');
cmp_ok($stats->{messages_to_server}, '>=', 2, 'counts messages to the server');
cmp_ok($stats->{messages_to_client},
	'>=', 6, 'counts messages to the client');
$proxy->reset_stats;
psql_through('SELECT repeat($$x$$, 1000000)');
$stats = $proxy->stats;
cmp_ok($stats->{bytes_to_client}, '>', 1000000, 'counts bytes');
cmp_ok($stats->{turns},           '<', 6,       'a large answer is one turn');

# Before it is ready a connection gets about 20 messages; cut among them.
$proxy->rule('cut', to_client => 3);
ok(!(psql_through('SELECT 42'))[0], 'a connection cut at a message fails');
is((psql_through('SELECT 42'))[1], '42', 'and the next one works');

# The connection hangs after the startup message, until libpq gives up.
$proxy->rule('stall', to_server => 1);
like((psql_through('SELECT 42', 'connect_timeout=2 sslmode=disable'))[2],
	qr/timeout expired/, 'a stalled connection stays silent');
$proxy->pass;
is((psql_through('SELECT 42'))[1], '42', 'pass forgets the rule');

$proxy->refuse(1);
ok(!(psql_through('SELECT 42'))[0], 'a refused connection fails');
$proxy->pass;
$proxy->delay(20);
is((psql_through('SELECT 42'))[1], '42', 'delayed messages arrive');
$proxy->pass;

# ----------------------------------------------------------------------
# Servers
# ----------------------------------------------------------------------

my $session = $primary->background_psql('postgres');
freeze($primary);
my ($ok, undef, $err) = psql_through('SELECT 42', 'connect_timeout=2');
like($err, qr/timeout expired/, 'a frozen server does not answer');
thaw($primary);
is($primary->safe_psql('postgres', 'SELECT 42'), '42', 'a thawed one does');
is($session->query('SELECT 43'), '43', 'also in an open session');
$session->quit;

kill_server($primary);
ok(!(psql_through('SELECT 42'))[0], 'a killed server is gone');
$primary->start;
is( $primary->safe_psql('postgres', 'SELECT count(*) FROM t'),
	'100', 'and recovers when it is started again');

done_testing();

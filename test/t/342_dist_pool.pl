# A connection pool between coordinator and worker is refused: it hands out
# sessions without our settings, others at each transaction.
#
# Skipped where pgbouncer is not installed.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my ($pgbouncer) = grep { -x } '/usr/sbin/pgbouncer', '/usr/bin/pgbouncer';
plan skip_all => 'pgbouncer is not installed' unless $pgbouncer;

my $cluster     = make_cluster(workers => 1);
my $coordinator = $cluster->coordinator;
my $worker      = $cluster->worker('w1');
my $port        = PostgreSQL::Test::Cluster::get_free_port();
my $dir         = PostgreSQL::Test::Utils::tempdir;
my $user        = $worker->safe_psql('postgres', 'SELECT current_user');

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE t (v int) PARTITION BY HASH (v);
SELECT vecdist.create_distributed_table('t', 2);
INSERT INTO t VALUES (1), (2);
SQL
$coordinator->safe_psql('postgres',
	"ALTER SERVER w1 OPTIONS (SET hosts '127.0.0.1:$port')");

# The error of a read through the pool, set up so.
sub through_pool
{
	my ($settings) = @_;

	unlink "$dir/pool.ini";
	append_to_file("$dir/pool.ini", <<"INI");
[databases]
* = user=$user host=127.0.0.1 port=@{[ $worker->port ]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = any
pool_mode = transaction
logfile = $dir/pool.log
$settings
INI
	my ($out, $err) = ('', '');
	my $pool = IPC::Run::start([ $pgbouncer, "$dir/pool.ini" ],
		'>', \$out, '2>', \$err);
	foreach (1 .. 200)
	{
		last if -e "$dir/pool.log" && slurp_file("$dir/pool.log") =~ /process up/;
		select undef, undef, undef, 0.05;
	}
	my (undef, undef, $error) = $coordinator->psql('postgres',
		'SELECT count(*) FROM t', extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	$pool->kill_kill;
	unlink "$dir/pool.log";
	return $error;
}

like(through_pool(''),
	qr/ERROR:  08001: could not connect to worker "w1".*unsupported startup parameter/s,
	'a pool that does not take our settings');
like( through_pool('ignore_startup_parameters = options'),
	qr/ERROR:  08001: could not connect to worker "w1".*must be connected directly, not through a connection pool/s,
	'a pool that drops them');

$coordinator->safe_psql('postgres',
	"ALTER SERVER w1 OPTIONS (SET hosts '127.0.0.1:@{[ $worker->port ]}')");
is($coordinator->safe_psql('postgres', 'SELECT count(*) FROM t'), '2',
	'without the pool');

done_testing();

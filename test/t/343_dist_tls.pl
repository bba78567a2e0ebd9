# TLS between coordinator and worker: a server's certificate is checked, and its
# name too, although host names are resolved before libpq sees them.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

plan skip_all => 'openssl is not installed' unless -x '/usr/bin/openssl';

my $cluster     = make_cluster(workers => 1);
my $coordinator = $cluster->coordinator;
my $worker      = $cluster->worker('w1');
my $port        = $worker->port;
my $dir         = PostgreSQL::Test::Utils::tempdir;

# ----------------------------------------------------------------------
# Certificates: the worker's is for the name "localhost" and no address
# ----------------------------------------------------------------------

sub openssl
{
	my (@args) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ '/usr/bin/openssl', @args ], '>', \$out, '2>', \$err)
	  or die "openssl @args: $err";
	return;
}

foreach my $ca ('ca', 'other')
{
	openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '10',
		'-subj', "/CN=$ca", '-keyout', "$dir/$ca.key", '-out', "$dir/$ca.crt");
}
openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=worker',
	'-keyout', "$dir/worker.key", '-out', "$dir/worker.csr");
append_to_file("$dir/worker.ext", "subjectAltName = DNS:localhost\n");
openssl('x509', '-req', '-days', '10', '-in', "$dir/worker.csr",
	'-CA', "$dir/ca.crt", '-CAkey', "$dir/ca.key", '-set_serial', '1',
	'-extfile', "$dir/worker.ext", '-out', "$dir/worker.crt");
chmod 0600, "$dir/worker.key";

$worker->append_conf('postgresql.conf', <<"CONF");
ssl_cert_file = '$dir/worker.crt'
ssl_key_file = '$dir/worker.key'
CONF

sub set_ssl
{
	my ($value) = @_;

	$worker->append_conf('postgresql.conf', "ssl = $value");
	$worker->restart;
	return;
}
set_ssl('on');

# ----------------------------------------------------------------------
# Searches
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int, v vector(2)) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table('t', 2);
INSERT INTO t SELECT i, ARRAY[i, 0] FROM generate_series(1, 10) i;
ALTER SERVER w1 OPTIONS (ADD sslmode 'verify-full', ADD sslrootcert 'none');
SQL

# Output and error of a search with that host, mode and root certificate.
sub search_with
{
	my ($host, $mode, $root) = @_;

	$coordinator->safe_psql('postgres', <<"SQL");
ALTER SERVER w1 OPTIONS (SET hosts '$host:$port', SET sslmode '$mode', SET sslrootcert '$dir/$root.crt')
SQL
	my (undef, $out, $error) = $coordinator->psql('postgres',
		q{SELECT id FROM t ORDER BY v <-> '[4,0]' LIMIT 1},
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $out . $error;
}

is(search_with('localhost', 'verify-full', 'ca'), '4', 'name and certificate are right');
is( $coordinator->safe_psql('postgres', q{SELECT result FROM
		vecdist.run_on_workers('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')}),
	't', 'and the connection is encrypted');
like(search_with('127.0.0.1', 'verify-full', 'ca'),
	qr/08001: .*server certificate for "localhost".* does not match host name "127\.0\.0\.1"/s,
	'another name');
is(search_with('127.0.0.1', 'verify-ca', 'ca'), '4', 'which verify-ca does not mind');
like(search_with('localhost', 'verify-full', 'other'),
	qr/08001: .*certificate verify failed/s, 'a certificate that somebody else signed');
like(search_with('localhost', 'verify-ca', 'other'),
	qr/08001: .*certificate verify failed/s, 'also with verify-ca');
is(search_with('localhost', 'require', 'none'), '4', 'require checks nothing without a root');

set_ssl('off');
foreach my $mode ('require', 'verify-full')
{
	like(search_with('localhost', $mode, 'ca'),
		qr/08001: .*server does not support SSL, but SSL was required/s, "$mode: no TLS, no search");
}
is(search_with('localhost', 'prefer', 'ca'), '4', 'prefer goes without');

done_testing();

# Clients made for pgvector work as they are: psycopg, asyncpg, SQLAlchemy and
# node's pg, each with its package pgvector.  They create tables with all types,
# write rows in text and binary, read equal values back, and search with every
# operator through an index, which they see in the plan; first with the extension
# vecdist and USING vhnsw, then with the extension vector and USING hnsw.  psycopg
# and asyncpg do the same with a distributed table.
#
# The clients are the programs in test/clients.  VECDIST_CLIENTS names the
# directory where dev/install-clients put their packages; make check sets it.
# What is not there is left out with a notice.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use VecdistTest;

my $installed = $ENV{VECDIST_CLIENTS} // '';
my $python    = "$installed/python/bin/python";
my %clients   = (
	psycopg    => [ $python, 'test/clients/client_psycopg.py' ],
	sqlalchemy => [ $python, 'test/clients/client_sqlalchemy.py' ],
	asyncpg    => [ $python, 'test/clients/client_asyncpg.py' ],
	pg         => [ 'node', 'test/clients/client_pg.js' ]);

$ENV{NODE_PATH} = "$installed/node/node_modules";

# Run a program; returns its exit status and what it wrote.
sub output_of
{
	my (@command) = @_;
	my $output = '';
	my $ok = eval { IPC::Run::run(\@command, '<', \undef, '>&', \$output) };
	return ($ok, $output || $@);
}

sub is_installed
{
	my ($client) = @_;
	my ($ok) =
	    $client eq 'pg'
	  ? output_of('node', '-e', 'require("pg"); require("pgvector/pg")')
	  : output_of($python, '-c', "import pgvector, psycopg, $client");
	return $ok;
}

my @missing = grep { !is_installed($_) } sort keys %clients;
plan skip_all => 'no client is installed; see dev/install-clients'
  if @missing == keys %clients;

my $cluster = make_cluster(workers => 1);
my $server  = $cluster->coordinator;

# Where to connect is for the clients to read from the environment.  The tables
# are small; we want to see the indexes used.
local $ENV{PGHOST} = $server->host;
local $ENV{PGPORT} = $server->port;
local $ENV{PGUSER} =
  $server->safe_psql('postgres', 'SELECT current_user');
local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
$server->safe_psql('template1', 'CREATE EXTENSION vecdist');

$_->safe_psql('postgres', 'ALTER DATABASE postgres SET enable_seqscan = off')
  foreach $cluster->servers;

# Run a client in the database; returns whether it succeeded.
sub succeeds
{
	my ($client, $database, @arguments) = @_;
	local $ENV{PGDATABASE} = $database;
	my ($ok, $output) = output_of(@{ $clients{$client} }, @arguments);

	return ok($ok, "$client @arguments") || diag $output;
}

foreach my $client (sort keys %clients)
{
  SKIP:
	{
		if (grep { $_ eq $client } @missing)
		{
			diag "$client is not installed";
			skip "$client is not installed", 1;
		}
		foreach my $names ([ 'vecdist', 'vhnsw' ], [ 'vector', 'hnsw' ])
		{
			my $database = "${client}_$names->[0]";

			$server->safe_psql('postgres', <<"SQL");
CREATE DATABASE $database;
ALTER DATABASE $database SET enable_seqscan = off;
SQL
			succeeds($client, $database, @$names);
		}
		if ($client eq 'psycopg' || $client eq 'asyncpg')
		{
			succeeds($client, 'postgres', 'vecdist', 'vhnsw', 'distributed');
			$server->safe_psql('postgres', 'DROP TABLE items');
		}
	}
}

done_testing();

=pod

=head1 NAME

VecdistTest - clusters, reference answers and faults for vecdist's TAP tests

=head1 SYNOPSIS

  use VecdistTest;

  my $cluster = make_cluster(workers => 2, standbys => 1);
  my $coordinator = $cluster->coordinator;     # PostgreSQL::Test::Cluster
  my $primary     = $cluster->worker('w1');
  my $standby     = $cluster->standby('w1');   # the first; ('w1', 2) the second

  load_vectors($coordinator, 'items', random_vectors(1000, 16));
  my $query = random_vector(16, seed => 7);
  same_topk(topk($coordinator, 'items', $query, 10),
	  exact_topk($coordinator, 'reference', $query, 10), 'top 10');

  freeze($primary);  ...  thaw($primary);

=head1 DESCRIPTION

Everything listens on 127.0.0.1, and only there and on private sockets.
Servers stop and processes thaw when the test ends, however it ends.

=cut

package VecdistTest;

use strict;
use warnings;

use Exporter 'import';
use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use VecdistProxy;

our @EXPORT = qw(make_cluster make_server make_standby wait_caught_up
  freeze thaw kill_server wait_recovered rows topk exact_topk same_rows same_topk
  recall_at_k random_vector random_vectors load_vectors rows_near_in_one
  nearest_of_queries index_pages temporary_files relation_files no_file_left run_in
  load_clusters load_wide);

# The settings every server of a test starts with; "conf" of make_cluster and
# make_server comes after them.
my $common_conf = q{
shared_preload_libraries = 'vecdist'
listen_addresses = '127.0.0.1'
max_connections = 60
max_prepared_transactions = 20
shared_buffers = 16MB
autovacuum_naptime = 1h
};

my %frozen;    # process id => 1, of what freeze() stopped

# ----------------------------------------------------------------------
# Clusters
# ----------------------------------------------------------------------

# make_server(NAME, conf => TEXT, start => 1)
#
# Initialize and start one server that can have standbys.  Each server gets an
# initdb of its own: copying a data directory saves half a second but gives
# every server the same system identifier.
sub make_server
{
	my ($name, %params) = @_;
	my $server = PostgreSQL::Test::Cluster->new($name);

	$server->init(allows_streaming => 1);
	$server->append_conf('postgresql.conf',
		$common_conf . ($params{conf} // ''));
	$server->start if $params{start} // 1;
	return $server;
}

# make_standby(NAME, PRIMARY, conf => TEXT, start => 1)
#
# Take a base backup of a running primary and start a streaming standby on it.
sub make_standby
{
	my ($name, $primary, %params) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$primary->backup("for_$name");
	$standby->init_from_backup($primary, "for_$name", has_streaming => 1);
	$standby->append_conf('postgresql.conf', $params{conf})
	  if defined $params{conf};
	$standby->start if $params{start} // 1;
	return $standby;
}

# make_cluster(%params)
#
# Start a coordinator and worker groups "w1", "w2", ..., and make the worker
# groups known to the coordinator.  Parameters, with their defaults:
#
#   workers   => 2     number of worker groups
#   standbys  => 0     standbys of each group
#   proxies   => 0     whether the coordinator reaches each server through a
#                      VecdistProxy
#   conf      => ''    more settings for every server
#   extension => 1     whether to create the extension, on all servers
#   register  => 1     whether to call vecdist.add_worker
sub make_cluster
{
	my (%params) = (
		workers   => 2,
		standbys  => 0,
		proxies   => 0,
		extension => 1,
		register  => 1,
		@_);
	my $self = bless { workers => {}, standbys => {}, proxies => {} },
	  'VecdistTest::ClusterOfGroups';

	$self->{coordinator} = make_server('coordinator', conf => $params{conf});
	foreach my $i (1 .. $params{workers})
	{
		$self->{workers}{"w$i"} = make_server("w$i", conf => $params{conf});
	}
	if ($params{extension})
	{
		$_->safe_psql('postgres', 'CREATE EXTENSION vecdist')
		  foreach $self->{coordinator}, values %{ $self->{workers} };
	}
	foreach my $group ($self->groups)
	{
		my $primary = $self->worker($group);

		$self->{standbys}{$group} =
		  [ map { make_standby("${group}s$_", $primary) }
			  1 .. $params{standbys} ];
		wait_caught_up($primary, $_) foreach @{ $self->{standbys}{$group} };
		if ($params{proxies})
		{
			$self->{proxies}{ $_->name } =
			  VecdistProxy->new(target => $_->port)
			  foreach $self->group_servers($group);
		}
	}
	if ($params{extension} && $params{register})
	{
		$self->register($_) foreach $self->groups;
	}
	return $self;
}

# wait_caught_up(PRIMARY, STANDBY)
#
# Wait until the standby has replayed what the primary has written by now.  A
# commit flushes all WAL before it, also what no one waited for.
sub wait_caught_up
{
	my ($primary, $standby) = @_;

	$primary->safe_psql('postgres',
		q{SELECT pg_logical_emit_message(true, 'vecdist_test', '')});
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
	return;
}

package VecdistTest::ClusterOfGroups;

use PostgreSQL::Test::Utils;

sub coordinator { return $_[0]->{coordinator}; }

# Names of the worker groups, in order.
sub groups
{
	my ($self) = @_;
	return sort { substr($a, 1) <=> substr($b, 1) } keys %{ $self->{workers} };
}

# The primary of a group, as the group was made.
sub worker
{
	my ($self, $group) = @_;
	return $self->{workers}{$group} // die "no worker group $group";
}

sub standby
{
	my ($self, $group, $i) = @_;
	return $self->{standbys}{$group}[ ($i // 1) - 1 ]
	  // die "no such standby of $group";
}

# The primary and the standbys of a group.
sub group_servers
{
	my ($self, $group) = @_;
	return ($self->worker($group), @{ $self->{standbys}{$group} // [] });
}

# Every server, the coordinator first.
sub servers
{
	my ($self) = @_;
	return ($self->coordinator, map { $self->group_servers($_) } $self->groups);
}

# The proxy in front of a server, for clusters made with proxies => 1.
sub proxy
{
	my ($self, $server) = @_;
	return $self->{proxies}{ $server->name } // die 'no proxy for ' . $server->name;
}

# The list of hosts of a group in the form add_worker takes.
sub hosts
{
	my ($self, $group) = @_;
	return join ',', map {
		my $proxy = $self->{proxies}{ $_->name };
		'127.0.0.1:' . ($proxy ? $proxy->port : $_->port)
	} $self->group_servers($group);
}

# Make a group known to the coordinator.
sub register
{
	my ($self, $group) = @_;
	my $hosts = $self->hosts($group);

	$self->coordinator->safe_psql('postgres',
		"SELECT vecdist.add_worker('$group', '$hosts')");
	return;
}

# Wait for every standby of every group.
sub wait_caught_up
{
	my ($self) = @_;

	foreach my $group ($self->groups)
	{
		my ($primary, @standbys) = $self->group_servers($group);
		VecdistTest::wait_caught_up($primary, $_) foreach @standbys;
	}
	return;
}

package VecdistTest;

# ----------------------------------------------------------------------
# Faults
# ----------------------------------------------------------------------

# Process ids of a server: the postmaster, then its children.  A backend is a
# process group of its own, so children are found by their parent.
sub server_pids
{
	my ($server) = @_;
	my $pidfile = $server->data_dir . '/postmaster.pid';
	my ($postmaster) = split /\n/, slurp_file($pidfile);
	my @children;

	foreach my $stat (glob '/proc/[0-9]*/stat')
	{
		open my $fh, '<', $stat or next;
		my $line = <$fh> // '';
		close $fh;
		push @children, $1
		  if $line =~ /^(\d+) \(.*\) \S (\d+) / && $2 == $postmaster;
	}
	return ($postmaster, @children);
}

# Stop all processes of a server with SIGSTOP, so that its connections stay
# open and nothing answers.  The postmaster goes first: it starts no more.
sub freeze
{
	my ($server) = @_;
	my ($postmaster) = server_pids($server);

	kill 'STOP', $postmaster;
	$frozen{$postmaster} = 1;
	foreach my $pid (server_pids($server))
	{
		kill 'STOP', $pid;
		$frozen{$pid} = 1;
	}
	return;
}

sub thaw
{
	my ($server) = @_;

	foreach my $pid (reverse server_pids($server))
	{
		kill 'CONT', $pid;
		delete $frozen{$pid};
	}
	return;
}

# Kill all processes of a server with SIGKILL, as a lost machine would.
sub kill_server
{
	my ($server) = @_;
	my (undef, @children) = server_pids($server);

	$server->kill9;
	kill 'KILL', @children;

	# Its port and shared memory are free when the last process is gone.
	foreach my $pid (@children)
	{
		foreach (1 .. 1000)
		{
			last unless kill 0, $pid;
			select undef, undef, undef, 0.01;
		}
	}
	unlink $server->data_dir . '/postmaster.pid';
	return;
}

# wait_recovered(SERVER)
#
# Wait until a server that crashed takes connections again.  What
# poll_query_until() does is not enough: while a server refuses connections, psql
# may end before its query was written, which IPC::Run takes for an error.
sub wait_recovered
{
	my ($server) = @_;

	foreach (1 .. 1800)
	{
		return 1
		  if eval { $server->psql('postgres', 'SELECT true') == 0 };
		usleep(100_000);
	}
	return 0;
}

# Runs before PostgreSQL::Test::Cluster stops the servers.
END
{
	local $?;
	kill 'CONT', keys %frozen if %frozen;
}

# ----------------------------------------------------------------------
# Answers and references
# ----------------------------------------------------------------------

# rows(SERVER, SQL): the lines of an answer, as an array reference.
sub rows
{
	my ($server, $sql) = @_;
	return [ split /\n/, $server->safe_psql('postgres', $sql) ];
}

# index_pages(SERVER, INDEX): a hash of all pages of a vhnsw index, but for LSNs
# and checksums, which tell when they were written, and for what the metapage
# says about the build.
sub index_pages
{
	my ($server, $index) = @_;

	$server->safe_psql('postgres', 'CHECKPOINT');
	return $server->safe_psql('postgres', <<"SQL");
SELECT md5(string_agg(CASE b WHEN 0 THEN substr(f, 13, 140) || substr(f, 173, 8020)
                      ELSE substr(f, b * 8192 + 13, 8180) END, '' ORDER BY b))
FROM pg_read_binary_file(pg_relation_filepath('$index')) f, generate_series(0, length(f) / 8192 - 1) b
SQL
}

# temporary_files(SERVER): the names of temporary files and of directories of
# those that processes share, separated by spaces.  Parallel workers have ended by
# then: the last process to leave removes what they shared.
sub temporary_files
{
	my ($server) = @_;

	foreach (1 .. 50 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my ($workers, $names) = @{
			rows($server, <<'SQL') };
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker';
SELECT string_agg(name, ' ') FROM pg_ls_dir('base/pgsql_tmp', true, false) name
SQL
		return $names // '' if $workers == 0;
		usleep(20_000);
	}
	die 'parallel workers do not end';
}

# relation_files(SERVER): how many files of relations the database has.  Those of
# dropped relations are truncated at once and go with a checkpoint, which is done.
sub relation_files
{
	my ($server) = @_;

	return $server->safe_psql('postgres', <<'SQL');
CHECKPOINT;
SELECT count(*) FROM pg_ls_dir('base/' || (SELECT oid FROM pg_database WHERE datname = current_database()))
SQL
}

# no_file_left(SERVER, NAME, FILES, KILLED): tests that what has ended leaves no
# temporary file, and no file of a relation beside those counted in $$FILES,
# which gets the number of now.  PostgreSQL itself leaves the file of a relation
# whose transaction was KILLED.
sub no_file_left
{
	my ($server, $name, $files, $killed) = @_;
	my $was = $$files;

	is(temporary_files($server), '', "$name: no temporary file");
	$$files = relation_files($server);
	cmp_ok($$files - $was, '<=', $killed ? 1 : 0, "$name: no file");
	return;
}

# nearest_of_queries(SERVER, OPERATOR, SETTINGS, COLUMN): the 10 nearest rows of
# table "items" to each vector of table "queries", nearest first, as
# { query => [[id, distance], ...] }.  Both tables have the vectors in COLUMN,
# by default "v"; SETTINGS are statements that come before.
sub nearest_of_queries
{
	my ($server, $operator, $settings, $column) = @_;
	my %answers;

	$column //= 'v';
	foreach my $row (
		@{
			rows($server, <<"SQL")
SET extra_float_digits = 3;
$settings
SELECT q.id, near.id, near.d FROM queries q,
    LATERAL (SELECT id, $column $operator q.$column AS d FROM items
             ORDER BY $column $operator q.$column LIMIT 10) near
ORDER BY q.id, near.d, near.id
SQL
		})
	{
		my ($query, $id, $distance) = split /\|/, $row;
		push @{ $answers{$query} }, [ $id, $distance ];
	}
	return \%answers;
}

# topk(SERVER, TABLE, QUERY, K, %params): [[id, distance], ...] in the order of
# the answer.  Parameters, with their defaults:
#
#   operator => '<->'
#   column   => 'embedding'
#   id       => 'id'        expression that identifies a row
#   where    => undef       filter
#   set      => {}          settings for this statement
sub topk
{
	my ($server, $table, $query, $k, %params) = @_;
	my $operator = $params{operator} // '<->';
	my $column   = $params{column}   // 'embedding';
	my $id       = $params{id}       // 'id';
	my $where    = defined $params{where} ? "WHERE $params{where}" : '';
	my $settings = join '',
	  map { "SET $_ = '$params{set}{$_}';\n" } sort keys %{ $params{set} };

	return [
		map { [split /\|/] } @{
			rows($server, <<"SQL")
SET extra_float_digits = 3;
$settings
SELECT $id, $column $operator '$query' FROM $table $where
ORDER BY $column $operator '$query' LIMIT $k
SQL
		}
	];
}

# exact_topk: as topk, computed by sorting a whole table on its own server.
# The reference for a distributed table is a plain local table with its rows.
sub exact_topk
{
	my ($server, $table, $query, $k, %params) = @_;

	$params{set} = {
		%{ $params{set} // {} },
		enable_indexscan     => 'off',
		enable_indexonlyscan => 'off',
		enable_bitmapscan    => 'off'
	};
	return topk($server, $table, $query, $k, %params);
}

# same_rows(GOT, EXPECTED, NAME): both hold the same lines, each as often, in
# any order.
sub same_rows
{
	my ($got, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(
		join("\n", sort @$got),
		join("\n", sort @$expected),
		$name);
}

# same_topk(GOT, EXACT, NAME): GOT is an exact top-K answer.
#
# It has as many rows, the same distances in the same order, and the same rows;
# only among those tied with the last distance either choice is right.
sub same_topk
{
	my ($got, $exact, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $last = @$exact ? $exact->[-1][1] // '' : '';
	my $ids  = sub {
		join ' ', sort map { $_->[0] } grep { ($_->[1] // '') ne $last } @_;
	};
	my %seen;
	my @twice = grep { $seen{ $_->[0] }++ } @$got;

	return subtest $name => sub {
		is(scalar @$got, scalar @$exact, 'number of rows');
		is( join(' ', map { $_->[1] // '' } @$got),
			join(' ', map { $_->[1] // '' } @$exact),
			'distances in order');
		is($ids->(@$got), $ids->(@$exact), 'rows nearer than the last');
		is(scalar @twice, 0, 'no row twice');
	};
}

# recall_at_k(GOT, EXACT): the share of the exact answer that was found.  A row
# as near as the last exact one counts, whichever of several tied it is.
sub recall_at_k
{
	my ($got, $exact) = @_;
	my $k = @$exact;

	return 1 if $k == 0;
	my $found = grep { $_->[1] <= $exact->[-1][1] } @$got;
	return min($found, $k) / $k;
}

# ----------------------------------------------------------------------
# Data
# ----------------------------------------------------------------------

# A generator of numbers in [0, 1) that is the same on every machine: the 48
# bit linear congruence of drand48.
sub generator
{
	my ($seed) = @_;
	my $state = ($seed << 16) + 0x330E;

	return sub {
		{
			use integer;
			$state = ($state * 25214903917 + 11) & (2**48 - 1);
		}
		return $state / 2**48;
	};
}

# random_vectors(N, DIMS, %params): N vectors in text form.  Parameters, with
# their defaults:
#
#   seed     => 1
#   clusters => 0     0: uniform in the unit cube; else around that many centers
#   spread   => 0.05  size of a cluster
#   digits   => 4     decimals; few decimals and dimensions make ties
sub random_vectors
{
	my ($n, $dims, %params) = @_;
	my $random   = generator($params{seed} // 1);
	my $clusters = $params{clusters} // 0;
	my $spread   = $params{spread}   // 0.05;
	my $format   = '%.' . ($params{digits} // 4) . 'f';
	my @centers =
	  map { [ map { $random->() } 1 .. $dims ] } 1 .. $clusters;
	my @vectors;

	foreach (1 .. $n)
	{
		my @vector;

		if ($clusters)
		{
			my $center = $centers[ int($random->() * $clusters) ];
			@vector = map { $_ + $spread * (2 * $random->() - 1) } @$center;
		}
		else
		{
			@vector = map { $random->() } 1 .. $dims;
		}
		push @vectors,
		  '[' . join(',', map { sprintf $format, $_ } @vector) . ']';
	}
	return \@vectors;
}

sub random_vector
{
	my ($dims, %params) = @_;
	return random_vectors(1, $dims, %params)->[0];
}

# rows_near_in_one(TABLE, PARTITIONS, ONE, N, DIMS): a query for N rows (id, cat,
# embedding) of a table placed by hash of its id.  All rows of partition ONE are
# nearer to [0.5,0.5,...] than all others, so that a merge that takes a share of
# each is wrong.
sub rows_near_in_one
{
	my ($table, $partitions, $one, $n, $dims) = @_;

	return <<"SQL";
SELECT g::bigint AS id, g % 100 AS cat,
    (SELECT array_agg(CASE WHEN satisfies_hash_partition('$table'::regclass, $partitions, $one, g::bigint)
         THEN 0.5 + (hashint8extended(g, i) & 65535) / 6553500.0
         ELSE 1 + (hashint8extended(g, i) & 65535) / 65535.0 END)
     FROM generate_series(1, $dims) i)::vector($dims) AS embedding
FROM generate_series(1, $n) g
SQL
}

# load_vectors(SERVER, TABLE, VECTORS, %params): COPY (id, embedding) into an
# existing table, id from "first" (default 1) on.
sub load_vectors
{
	my ($server, $table, $vectors, %params) = @_;
	my $columns = $params{columns} // 'id, embedding';
	my $id      = $params{first}   // 1;
	my $lines   = join '', map { $id++ . "\t$_\n" } @$vectors;

	$server->safe_psql('postgres',
		"COPY $table ($columns) FROM stdin;\n$lines\\.\n");
	return;
}

# load_clusters(SERVER, TABLE, N, DIMS, %params): make a table (id, v) of N vectors
# in clusters, whose values are whole numbers, the same on every machine.
# Parameters, with their defaults:
#
#   clusters => 60    id modulo this is the cluster
#   width    => 128   of a cluster in each dimension, a power of two; all together
#                     are 256 wide
#   from     => 0     the smallest value
#   nulls    => 0     each row whose id this divides has NULL, unless 0
#   repeats  => 0     each row whose id this divides has the vector of the row
#                     before, unless 0
#   workers  => 0     that a build of its indexes is to have: parallel_workers
sub load_clusters
{
	my ($server, $table, $n, $dims, %params) = @_;
	my $clusters = $params{clusters} // 60;
	my $mask     = ($params{width} // 128) - 1;
	my $from     = $params{from}    // 0;
	my $repeats  = $params{repeats} // 0;
	my $workers  = $params{workers} // 0;
	my $number   = $repeats ? "n - (n % $repeats = 0)::integer" : 'n';
	my $vector   = <<"SQL";
(SELECT array_agg((hashint8extended(i, ($number) % $clusters) & 255)::float4 + (hashint8extended(i, $number) & $mask)::float4 + $from ORDER BY i)::vector
    FROM generate_series(1, $dims) i)
SQL

	$vector = "CASE WHEN n % $params{nulls} > 0 THEN $vector END" if $params{nulls};
	$server->safe_psql('postgres', <<"SQL");
CREATE TABLE $table (id integer, v vector($dims)) WITH (parallel_workers = $workers);
INSERT INTO $table SELECT n, $vector FROM generate_series(1, $n) n;
CHECKPOINT;
SQL
	return;
}

# load_wide(SERVER, STORAGE): make a table "wide" of 50 vectors whose codes have
# likely bounds, of 8 or of 4 bits as "storage" has them, and its index "wide_v".
# Returns statements that search it for all, and give their numbers in order.
sub load_wide
{
	my ($server, $storage) = @_;

	$server->safe_psql('postgres', <<"SQL");
DROP TABLE IF EXISTS wide;
CREATE TABLE wide AS
SELECT n AS id, (SELECT array_agg((hashint8extended(i, n) & 65535) / 65535.0)::vector(100) FROM generate_series(1, 100) i) AS v
FROM generate_series(1, 50) n;
CREATE INDEX wide_v ON wide USING vhnsw (v vector_l2_ops) WITH (storage = $storage);
SQL
	return <<'SQL';
SET enable_seqscan = off;
SET enable_sort = off;
SET vhnsw.filter_strategy = search;
SELECT string_agg(id::text, ' ') FROM (SELECT id FROM wide ORDER BY v <-> (SELECT v FROM wide WHERE id = 7) LIMIT 50) s
SQL
}

# run_in(SESSION, SQL): run statements in a background session that goes on
# after errors; returns their output and their errors.
sub run_in
{
	my ($session, $sql) = @_;
	$session->{stderr} = '';
	my $output = $session->query($sql);
	my $error  = $session->{stderr};

	$error =~ s/^background_psql: .*\n//mg;
	chomp $output;
	return ($output, $error);
}

1;

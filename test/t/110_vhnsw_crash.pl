# A crash leaves a vhnsw index that answers.
#
# The server is killed at every debug point of insert, vacuum and build, after
# the records written so far reached disk, and at arbitrary moments of mixed
# work.  After each recovery vhnsw_check() finds no damage and every committed
# row in the index, a search for all rows returns all rows in order, and vacuum
# makes everything reachable again.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims   = 6;
my $seed   = 20240611;
my $server = make_server(
	'crash',
	conf => q{
restart_after_crash = on
autovacuum = off
});

note "seed $seed";
srand $seed;

# ----------------------------------------------------------------------
# Helpers
# ----------------------------------------------------------------------

# Vectors that depend on a number only; every seventh row repeats another's.
sub setup
{
	$server->safe_psql('postgres', <<"SQL");
CREATE EXTENSION vecdist;
CREATE FUNCTION vec(n bigint) RETURNS vector LANGUAGE sql IMMUTABLE AS \$\$
    SELECT array_agg((hashint8extended(i, CASE WHEN n % 7 = 0 THEN n % 5 ELSE n END) & 65535) / 65535.0)::vector
    FROM generate_series(1, $dims) i
\$\$;
CREATE TABLE t (id bigint PRIMARY KEY, embedding vector($dims));
SQL
	return;
}

# A table of n rows with a small degree, so that lists are full and inserts
# must exchange links.
sub refill
{
	my ($n) = @_;
	$server->safe_psql('postgres', <<"SQL");
TRUNCATE t;
DROP INDEX IF EXISTS t_embedding_idx;
CREATE INDEX t_embedding_idx ON t USING vhnsw (embedding vector_l2_ops) WITH (m = 4, ef_construction = 20);
INSERT INTO t SELECT i, CASE WHEN i % 50 = 0 THEN NULL ELSE vec(i) END FROM generate_series(1, $n) i;
SQL
	return;
}

# Run SQL in a session that is expected to die, and wait for recovery.
sub crash_in
{
	my ($point, $sql) = @_;
	my ($stdout, $stderr);
	my $log_end = -s $server->logfile;
	my $ret = $server->psql('postgres',
		"SET vecdist.debug_points = '$point';\n$sql",
		stdout => \$stdout, stderr => \$stderr);

	is($ret, 2, "$point: the server crashed") or diag $stderr;

	# Our session may be gone before the postmaster has noticed why.
	$server->wait_for_log(qr/all server processes terminated; reinitializing/,
		$log_end);
	wait_recovered($server)
	  or die 'no recovery';
	return;
}

# What vhnsw_check() finds, without counting elements that wait for vacuum.
sub check_index
{
	my ($name, %params) = @_;
	my $incomplete = $params{complete} ? '' : q{WHERE severity = 'damage'};

	is($server->safe_psql('postgres',
			"SELECT * FROM vhnsw_check('t_embedding_idx', true) $incomplete"),
		'', "$name: vhnsw_check");
	return;
}

# All rows come back through the index, in the order of their distances.  (A
# Vhnsw Scan that is free to choose reads the table for so many.)
sub check_answers
{
	my ($name) = @_;
	my $query = random_vector($dims, seed => 5);
	my %index = (enable_seqscan => 'off', 'vhnsw.ef_search' => 1000, 'vhnsw.filter_strategy' => 'search');

	same_topk(
		topk($server, 't', $query, 1000, set => \%index),
		exact_topk($server, 't', $query, 1000),
		"$name: all rows, in order");
	return;
}

sub check_all
{
	my ($name, %params) = @_;
	check_index($name, %params);
	check_answers($name);
	return;
}

setup();

# ----------------------------------------------------------------------
# Inserts
# ----------------------------------------------------------------------

# The first inserts of an index
foreach my $point ('vhnsw-insert-element', 'vhnsw-insert-entry')
{
	refill(0);
	crash_in("$point=crash",
		'INSERT INTO t VALUES (1, vec(1)); INSERT INTO t VALUES (2, vec(2));');
	check_all($point);
	$server->safe_psql('postgres', 'INSERT INTO t SELECT i, vec(i) FROM generate_series(11, 20) i; VACUUM t');
	check_all("$point, vacuum", complete => 1);
}

# An index with full lists
refill(300);
my $next = 1001;
foreach my $point (
	qw(vhnsw-insert-element=crash vhnsw-insert-element=crash:5
	vhnsw-insert-backlink=crash vhnsw-insert-backlink=crash:2
	vhnsw-insert-backlink=crash:3 vhnsw-insert-backlink=crash:11))
{
	crash_in($point,
		join "\n", map { "INSERT INTO t VALUES ($_, vec($_));" } $next .. $next + 9);
	$next += 10;
	check_all($point);
}
$server->safe_psql('postgres', 'VACUUM t');
check_all('inserts, vacuum', complete => 1);

# Lists of TIDs: rows with one vector, NULLs
refill(0);
foreach my $value ('vec(1)', 'NULL')
{
	crash_in('vhnsw-tid-page=crash',
		join "\n", map { "INSERT INTO t VALUES ($_, $value);" } $next .. $next + 19);
	$next += 20;
	check_all("vhnsw-tid-page, $value");
	$server->safe_psql('postgres', 'DROP INDEX t_embedding_idx; CREATE INDEX t_embedding_idx ON t USING vhnsw (embedding vector_l2_ops)');
}

# ----------------------------------------------------------------------
# Vacuum
# ----------------------------------------------------------------------

my $round = 0;
foreach my $point (
	qw(vhnsw-vacuum-tombstones=crash vhnsw-vacuum-tombstones=crash:3
	vhnsw-tid-cell=crash vhnsw-tid-cell=crash:6 vhnsw-vacuum-barrier=crash
	vhnsw-vacuum-repair=crash vhnsw-vacuum-repair=crash:3
	vhnsw-vacuum-free=crash vhnsw-vacuum-free=crash:2
	vhnsw-vacuum-free=crash:4))
{
	$round++;
	refill(300);
	$server->safe_psql('postgres',
		"DELETE FROM t WHERE (id / 2) % 3 = $round % 3 OR id % 49 = 0");
	crash_in($point, 'VACUUM t');
	check_all($point);

	# What is half done must not be in the way of inserts.
	$server->safe_psql('postgres',
		'INSERT INTO t SELECT i, vec(i) FROM generate_series(2001, 2040) i');
	check_all("$point, inserts");
	$server->safe_psql('postgres', 'VACUUM t');
	check_all("$point, vacuum", complete => 1);
	is($server->safe_psql('postgres',
			q{SELECT tombstones FROM vhnsw_info('t_embedding_idx')}),
		'0', "$point: no tombstones are left");
}

# ----------------------------------------------------------------------
# Codes of another kind
# ----------------------------------------------------------------------

refill(300);
$server->safe_psql('postgres', <<"SQL");
DROP INDEX t_embedding_idx;
CREATE INDEX t_embedding_idx ON t USING vhnsw ((embedding::sparsevec($dims)) sparsevec_l2_ops)
    WITH (m = 4, ef_construction = 20);
DELETE FROM t WHERE id % 3 = 0;
SQL
foreach my $point (qw(vhnsw-insert-element=crash:3 vhnsw-insert-backlink=crash:5))
{
	crash_in($point,
		join "\n", map { "INSERT INTO t VALUES ($_, vec($_));" } $next .. $next + 9);
	$next += 10;
	check_index("$point, sparse");
}
foreach my $point (qw(vhnsw-vacuum-repair=crash:2 vhnsw-vacuum-free=crash:2))
{
	crash_in($point, 'VACUUM (INDEX_CLEANUP ON) t');
	check_index("$point, sparse");
}
$server->safe_psql('postgres', 'VACUUM t; INSERT INTO t SELECT i, vec(i) FROM generate_series(3001, 3040) i; VACUUM t');
check_index('sparse, vacuum', complete => 1);
refill(300);

# ----------------------------------------------------------------------
# Build
# ----------------------------------------------------------------------

foreach my $point (qw(vhnsw-build-pages vhnsw-build-wal))
{
	my $create = 'INDEX i ON t USING vhnsw (embedding vector_l2_ops)';

	crash_in("$point=crash", "CREATE $create");
	is($server->safe_psql('postgres', q{SELECT to_regclass('i') IS NULL}),
		't', "$point: the index does not exist");

	crash_in("$point=crash", "CREATE INDEX CONCURRENTLY i ON t USING vhnsw (embedding vector_l2_ops)");
	is($server->safe_psql('postgres',
			q{SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass}),
		'f', "$point: CONCURRENTLY leaves an index that is not valid");
	$server->safe_psql('postgres', "DROP INDEX i; CREATE $create; DROP INDEX i");
}
check_all('build', complete => 1);

# ----------------------------------------------------------------------
# Arbitrary moments
# ----------------------------------------------------------------------

# Two sessions insert and delete, one vacuums; the server goes down when they
# have written a random amount of WAL.
my $work = <<'SQL';
DO $$
BEGIN
    FOR i IN 1 .. 1000000 LOOP
        INSERT INTO t VALUES (nextval('ids'), vec(currval('ids')));
        IF i % 2 = 0 THEN
            DELETE FROM t WHERE id = (SELECT min(id) FROM t WHERE id % 2 = %MOD%);
        END IF;
        COMMIT;
    END LOOP;
END $$;
SQL

refill(200);
$server->safe_psql('postgres', 'CREATE SEQUENCE ids START 10000 CACHE 1');
foreach my $i (1 .. 4)
{
	my $bytes = 50_000 + int(rand 400_000);
	my $start = $server->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	my @sessions = map { $server->background_psql('postgres', on_error_stop => 0) } 1 .. 3;

	foreach my $mod (0 .. 1)
	{
		my $sql = $work =~ s/%MOD%/$mod/r;
		$sessions[$mod]->{stdin} .= $sql;
		$sessions[$mod]->{run}->pump_nb;
	}
	$sessions[2]->{stdin} .= "VACUUM t;\n" x 1000;
	$sessions[2]->{run}->pump_nb;

	$server->poll_query_until('postgres',
		"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$start') > $bytes")
	  or die 'sessions do not work';
	kill_server($server);
	eval { $_->{run}->kill_kill } foreach @sessions;
	$server->start;

	check_all("after $bytes bytes of WAL");
	$server->safe_psql('postgres', 'DELETE FROM t WHERE id % 10 = 3; VACUUM t');
	check_all("after $bytes bytes of WAL, vacuum", complete => 1);
}

done_testing();

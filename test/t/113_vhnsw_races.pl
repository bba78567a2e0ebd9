# Inserts, vacuum and searches meet at every step of each other.
#
# A session stops at a debug point while others work, then goes on.  Searches
# answer meanwhile; at the end vhnsw_check() finds nothing, after vacuum not
# even an element that cannot be reached.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims   = 4;
my $server = make_server('races', conf => "autovacuum = off\n");
my $query  = random_vector($dims, seed => 9);

$server->safe_psql('postgres', <<"SQL");
CREATE EXTENSION vecdist;
CREATE FUNCTION vec(n bigint) RETURNS vector LANGUAGE sql IMMUTABLE AS \$\$
    SELECT array_agg((hashint8extended(i, n) & 65535) / 65535.0)::vector
    FROM generate_series(1, $dims) i
\$\$;
CREATE TABLE t (id bigint, embedding vector($dims));
SQL

# The session that holds everybody up at debug points
my $gate = $server->background_psql('postgres');

sub refill
{
	my ($n) = @_;
	$server->safe_psql('postgres', <<"SQL");
DROP TABLE t;
CREATE TABLE t (id bigint, embedding vector($dims));
CREATE INDEX i ON t USING vhnsw (embedding vector_l2_ops) WITH (m = 4, ef_construction = 20);
INSERT INTO t SELECT i, vec(i) FROM generate_series(1, $n) i;
SQL
	return;
}

# Start SQL in a session of its own that stops at a debug point.
sub stop_at
{
	my ($point, $sql) = @_;
	my $session = $server->background_psql('postgres');

	$session->query_safe("SET vecdist.debug_points = '$point'");
	$session->query_until(qr/go/, "\\echo go\n$sql;\n\\echo done\n");
	$server->poll_query_until('postgres', q{
		SELECT count(*) > 0 FROM pg_locks
		WHERE locktype = 'advisory' AND classid = 29795 AND NOT granted})
	  or die "nobody came to $point";
	return $session;
}

# Start SQL in a session of its own, and wait until it waits for a lock of the
# given type.
sub start_blocked
{
	my ($type, $sql) = @_;
	my $session = $server->background_psql('postgres');

	$session->query_until(qr/go/, "\\echo go\n$sql;\n\\echo done\n");
	$server->poll_query_until('postgres', qq{
		SELECT count(*) > 0 FROM pg_locks
		WHERE locktype = '$type' AND relation = 'i'::regclass AND NOT granted})
	  or die "nobody waits for a lock of type $type";
	return $session;
}

sub finish
{
	my ($session) = @_;
	$session->query_until(qr/done/, '');
	$session->quit;
	return;
}

sub hold  { $gate->query_safe('SELECT pg_advisory_lock(29795, 0)');   return; }
sub let_go { $gate->query_safe('SELECT pg_advisory_unlock(29795, 0)'); return; }

sub search
{
	my ($name) = @_;
	same_topk(
		topk($server, 't', $query, 1000, set => { enable_seqscan => 'off' }),
		exact_topk($server, 't', $query, 1000), "$name: search");
	return;
}

sub check
{
	my ($name, %params) = @_;
	my $where = $params{complete} ? '' : q{WHERE severity = 'damage'};

	is($server->safe_psql('postgres', "SELECT * FROM vhnsw_check('i', true) $where"),
		'', "$name: vhnsw_check");
	return;
}

# Whatever happened, a vacuum that has something to do puts it right.
sub settle
{
	my ($name) = @_;
	search($name);
	check($name);
	$server->safe_psql('postgres', 'DELETE FROM t WHERE id % 13 = 4; VACUUM (INDEX_CLEANUP on) t');
	search("$name, vacuum");
	check("$name, vacuum", complete => 1);
	return;
}

# ----------------------------------------------------------------------
# An insert holds up vacuum's barrier, and lists what becomes a tombstone
# ----------------------------------------------------------------------

foreach my $point (qw(vhnsw-insert-element vhnsw-insert-backlink vhnsw-insert-backlink:3))
{
	my ($name, $n) = split /:/, $point;
	my $count = defined $n ? ":$n" : '';

	# Half of what the insert chooses is dead, which only vacuum will find out.
	refill(150);
	$server->safe_psql('postgres', 'DELETE FROM t WHERE id % 2 = 0');
	hold();
	my $insert = stop_at("$name=wait$count", 'INSERT INTO t VALUES (1001, vec(1001))');
	search("$point: before vacuum");
	my $vacuum = start_blocked('page', 'VACUUM (INDEX_CLEANUP on) t');
	check("$point: vacuum waits");
	search("$point: vacuum waits");
	let_go();
	finish($insert);
	finish($vacuum);
	settle($point);
}

refill(150);
$server->safe_psql('postgres', 'DELETE FROM t WHERE id <= 140');
hold();
my $insert = stop_at('vhnsw-insert-element=wait', 'INSERT INTO t VALUES (1001, vec(1001))');
my $vacuum = start_blocked('page', 'VACUUM (INDEX_CLEANUP on) t');
let_go();
finish($insert);
finish($vacuum);
settle('nearly everything dies while an insert waits');

# ----------------------------------------------------------------------
# The same vector, and the first element, twice at once
# ----------------------------------------------------------------------

foreach my $n (0, 100)
{
	refill($n);
	hold();
	my $first  = stop_at('vhnsw-insert-element=wait', 'INSERT INTO t VALUES (1001, vec(1001))');
	$server->safe_psql('postgres', 'INSERT INTO t VALUES (1002, vec(1001)), (1003, vec(1003))');
	search("same vector twice into $n");
	let_go();
	finish($first);
	$server->safe_psql('postgres', 'INSERT INTO t VALUES (1004, vec(1001))');
	check("same vector twice into $n", complete => 1);
	settle("same vector twice into $n");
}

# ----------------------------------------------------------------------
# Vacuum stops at each of its steps; others insert and search
# ----------------------------------------------------------------------

foreach my $point (
	qw(vhnsw-vacuum-tombstones vhnsw-vacuum-barrier vhnsw-vacuum-repair
	vhnsw-vacuum-repair:2 vhnsw-vacuum-free vhnsw-vacuum-free:2))
{
	my ($name, $n) = split /:/, $point;
	my $count = defined $n ? ":$n" : '';

	refill(200);
	$server->safe_psql('postgres', 'DELETE FROM t WHERE id % 3 = 0');
	hold();
	my $stopped = stop_at("$name=wait$count", 'VACUUM (INDEX_CLEANUP on) t');
	$server->safe_psql('postgres',
		'INSERT INTO t SELECT i, vec(i) FROM generate_series(2001, 2060) i');
	$server->safe_psql('postgres', 'INSERT INTO t SELECT 3000 + i, vec(i) FROM generate_series(1, 30) i');
	check("$point: while vacuum waits");
	search("$point: while vacuum waits");
	let_go();
	finish($stopped);
	check("$point: at its end", complete => 1);
	settle($point);
}

# A canceled vacuum leaves its work to the next, which finds no dead row.
foreach my $point (qw(vhnsw-vacuum-barrier vhnsw-vacuum-repair vhnsw-vacuum-free:2))
{
	my ($name, $n) = split /:/, $point;
	my $count = defined $n ? ":$n" : '';
	my $stderr;

	refill(200);
	$server->safe_psql('postgres', 'DELETE FROM t WHERE id % 3 = 0');
	$server->psql('postgres',
		"SET vecdist.debug_points = '$name=error$count'; VACUUM (INDEX_CLEANUP on) t",
		stderr => \$stderr);
	like($stderr, qr/debug point/, "$point: vacuum failed");
	search("$point: after the failed vacuum");
	check("$point: after the failed vacuum");
	is($server->safe_psql('postgres', q{SELECT tombstones > 0 FROM vhnsw_info('i')}),
		't', "$point: tombstones are left");
	$server->safe_psql('postgres', 'VACUUM t');
	check("$point: after the next vacuum", complete => 1);
	is($server->safe_psql('postgres', q{SELECT tombstones FROM vhnsw_info('i')}),
		'0', "$point: no tombstones are left");
}

# ----------------------------------------------------------------------
# Sessions that insert one row each fill pages together
# ----------------------------------------------------------------------

refill(0);
$server->safe_psql('postgres', "INSERT INTO t VALUES ($_, vec($_))") foreach 1 .. 20;
is($server->safe_psql('postgres', q{SELECT pages FROM vhnsw_info('i')}),
	'3', 'metapage, entries and one page of elements');

$gate->quit;
done_testing();

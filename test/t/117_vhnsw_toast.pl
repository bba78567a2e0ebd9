# Vectors stored out of line, read by a Vhnsw Scan while others change the
# table, and damaged ones.
#
# A cursor goes on reading what its snapshot sees while the rows are deleted and
# vacuum comes by; between its rows it holds no page of the TOAST table, so
# vacuum does not wait.  A chunk that is missing is the error that PostgreSQL
# itself raises.  A search is canceled in the middle of reading.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $server = make_server('toast', conf => 'autovacuum = off');

$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE EXTENSION pg_buffercache;
CREATE EXTENSION pg_surgery;
CREATE FUNCTION vec(n bigint) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg((hashint8extended(i, n) & 65535) / 65535.0 ORDER BY i)::vector
    FROM generate_series(1, 1200) i
$$;
CREATE TABLE t (id bigint PRIMARY KEY, v vector(1200));
INSERT INTO t SELECT i, vec(i) FROM generate_series(1, 100) i;
CREATE INDEX t_v ON t USING vhnsw (v vector_l2_ops);
VACUUM ANALYZE t;
CREATE TABLE expected AS
SELECT row_number() OVER (ORDER BY v <-> vec(1)) AS place, id FROM t;
SQL
my $toast = $server->safe_psql('postgres',
	q{SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 't'});
my $settings = 'SET enable_seqscan = off; SET enable_sort = off;';

# ----------------------------------------------------------------------
# A cursor and vacuum
# ----------------------------------------------------------------------

my $cursor = $server->background_psql('postgres', on_error_stop => 1);

sub expected
{
	my ($first, $last) = @_;
	return $server->safe_psql('postgres',
		"SELECT id FROM expected WHERE place BETWEEN $first AND $last ORDER BY place");
}

sub pinned
{
	return $server->safe_psql('postgres', qq{
SELECT count(*) FROM pg_buffercache
WHERE pinning_backends > 0 AND relfilenode IN (
    SELECT pg_relation_filenode('$toast')
    UNION SELECT pg_relation_filenode(indexrelid) FROM pg_index WHERE indrelid = '$toast'::regclass)});
}

$cursor->query_safe("$settings BEGIN;");
like($cursor->query_safe('EXPLAIN SELECT id FROM t ORDER BY v <-> vec(1)'),
	qr/Vhnsw Scan/, 'the cursor uses the scan');
$cursor->query_safe('DECLARE c CURSOR FOR SELECT id FROM t ORDER BY v <-> vec(1);');
is($cursor->query_safe('FETCH 3 FROM c'), expected(1, 3), 'the first rows');
is($server->safe_psql('postgres',
		"SELECT count(*) FROM pg_locks WHERE relation = '$toast'::regclass"),
	1, 'the cursor keeps the TOAST table open');
is(pinned(), 0, 'it holds no page of it');

$server->safe_psql('postgres', 'DELETE FROM t WHERE id % 4 <> 0');
$server->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP on) t');
is($cursor->query_safe('FETCH 40 FROM c'), expected(4, 43), 'rows deleted and vacuumed over');
$server->safe_psql('postgres', "VACUUM $toast");
is($cursor->query_safe('FETCH ALL FROM c'), expected(44, 100), 'all others');
is(pinned(), 0, 'it holds no page at its end');
$cursor->query_safe('COMMIT');
$cursor->quit;

$server->safe_psql('postgres', 'VACUUM t');
is($server->safe_psql('postgres', "$settings SELECT count(*) FROM (SELECT v <-> vec(1) FROM t ORDER BY 1) s"),
	25, 'what is left');

# ----------------------------------------------------------------------
# Cancel
# ----------------------------------------------------------------------

my ($rc, $stdout, $stderr) = $server->psql('postgres', qq{
$settings SET vecdist.debug_points = 'vhnsw-scan-row=cancel:3, vhnsw-scan-row=error:4';
BEGIN; SAVEPOINT s;
SELECT id FROM t ORDER BY v <-> vec(1) LIMIT 5;
ROLLBACK TO s; SET vecdist.debug_points = '';
SELECT id FROM t ORDER BY v <-> vec(1) LIMIT 1;
COMMIT}, on_error_stop => 0);
like($stderr, qr/canceling statement due to user request/,
	'a search is canceled between two vectors');
unlike($stderr, qr/WARNING|leak/, 'it leaves nothing behind');
like($stdout, qr/\A\d+\z/, 'the next one finds its row');

# ----------------------------------------------------------------------
# Damage
# ----------------------------------------------------------------------

sub search_error
{
	my ($scan) = @_;
	my ($rc, $stdout, $stderr) = $server->psql('postgres', qq{
\\set VERBOSITY verbose
$settings SET vhnsw.enable_scan = $scan;
SELECT id FROM t ORDER BY v <-> vec(4) LIMIT 25});
	return $stderr =~ /(ERROR:.*)/ ? $1 : "no error: $stdout";
}

# The first vector that is left, that of row 4, loses a chunk, and another one.
my $value = $server->safe_psql('postgres', "SELECT min(chunk_id) FROM $toast");
foreach my $chunk (2, 1)
{
	$server->safe_psql('postgres', qq{
SELECT heap_force_kill('$toast', array_agg(ctid)) FROM $toast
WHERE chunk_id = $value AND chunk_seq = $chunk});
	my $error = search_error('on');
	like($error, qr/XX001: (missing chunk number $chunk|unexpected chunk number) /, "without chunk $chunk: an error");
	is($error, search_error('off'), 'as core raises it');
}
is($server->safe_psql('postgres', qq{DELETE FROM t WHERE id = 4;
$settings SELECT count(*) FROM (SELECT v <-> vec(4) FROM t ORDER BY 1) s}), 24,
	'the others can be read');

done_testing();

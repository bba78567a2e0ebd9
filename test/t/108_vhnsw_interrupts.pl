# Searches and vhnsw_check() can be canceled wherever they are, and searches
# leave no memory behind.
#
# A statement that cancels itself at step n of a loop, and would raise another
# error at step n + 1, must end as canceled: so a step is all that a cancel
# waits for, and no step takes long.  Statements that would take hours end when
# another session cancels them.
#
# After VECDIST_SEARCHES searches (default: 10,000 in all), through both doors,
# in nested loops, statements and cursors, a backend has the memory it had when
# the first thousandth was done.  (A second set of numbers, from the operating
# system, would see what is allocated outside of memory contexts.)

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use lib 'test/perl';
use VecdistTest;

my $searches = $ENV{VECDIST_SEARCHES} || 10_000;
my $server = make_server('interrupts', conf => "autovacuum = off\njit = off\n");

$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE FUNCTION vec(n bigint) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg((hashint8extended(i, n) & 65535) / 65535.0)::vector FROM generate_series(1, 8) i
$$;
CREATE TABLE t AS SELECT i AS id, i % 50 AS a, i % 50 AS b, vec(i)::vector(8) AS v FROM generate_series(1, 4000) i;
CREATE INDEX ON t (a);
CREATE INDEX t_v ON t USING vhnsw (v vector_l2_ops);
VACUUM ANALYZE t;
CREATE TABLE q AS SELECT i AS id, vec(1000000 + i)::vector(8) AS v FROM generate_series(1, 1000) i;
CREATE FUNCTION search(n bigint) RETURNS vector LANGUAGE sql STABLE AS 'SELECT v FROM q WHERE id = n % 1000 + 1';
SQL

my %door = (
	'index scan' => 'SET vhnsw.enable_scan = off;',
	'Vhnsw Scan' => '');
my $common = 'SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;';

# ----------------------------------------------------------------------
# Cancel
# ----------------------------------------------------------------------

# A statement that cancels itself when it passes a debug point does not pass it
# so many times more.
sub canceled_at
{
	my ($at, $point, $more, $settings, $query, $name) = @_;
	my $error_at = $at + $more;
	my (undef, undef, $error) = $server->psql('postgres', <<"SQL");
$settings
SET vecdist.debug_points = '$point=cancel:$at, $point=error:$error_at';
$query;
SQL
	like($error, qr/canceling statement due to user request/, "$name: canceled at $point $at");
	return;
}

# [door, settings, condition, rows, debug point]
my @loops = (
	[ 'index scan', 'SET vhnsw.ef_search = 300;', 'true', 300,    'vhnsw-search-step' ],
	[ 'Vhnsw Scan', 'SET vhnsw.ef_search = 300;', 'true', 300,    'vhnsw-search-step' ],
	[ 'index scan', '',                           'true', 'ALL',  'vhnsw-sweep-page' ],
	[ 'Vhnsw Scan', 'SET vhnsw.filter_strategy = search;', 'true', 'ALL', 'vhnsw-sweep-page' ],
	[ 'Vhnsw Scan', 'SET vhnsw.filter_strategy = search;', 'b = 1',  30, 'vhnsw-scan-row' ],
	[ 'Vhnsw Scan', 'SET vhnsw.filter_strategy = matches;', 'a < 30', 30, 'vhnsw-scan-row' ],
	[ 'Vhnsw Scan', 'SET vhnsw.filter_strategy = exact;', 'b = 1', 30, 'vhnsw-scan-row' ]);

foreach my $loop (@loops)
{
	my ($door, $settings, $condition, $rows, $point) = @$loop;
	my $query = "SELECT count(*) FROM (SELECT id FROM t WHERE $condition ORDER BY v <-> search(7) LIMIT $rows) s";

	canceled_at($_, $point, 1, "$common $door{$door} $settings", $query, "$door, $settings $condition, $rows rows") foreach 1, 150;
}

# Each loop of vhnsw_check(); lists are looked at page by page, and heap TIDs are
# sorted, with several comparisons to a step.
foreach my $loop ([ 'page', 1 ], [ 'list', 100 ], [ 'tid', 100 ], [ 'sketches', 1 ], [ 'row', 1 ])
{
	my ($point, $steps) = @$loop;

	canceled_at($_, "vhnsw-check-$point", $steps, '', q{SELECT * FROM vhnsw_check('t_v', true)}, 'vhnsw_check') foreach 1, 50;
}

# Returns what a statement, which starts "name", says when it is canceled.
sub cancel
{
	my ($sql) = @_;
	my $pid = fork;

	if (!$pid)
	{
		foreach (1 .. 600)
		{
			my $done = $server->safe_psql('postgres', <<'SQL');
SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
WHERE query LIKE '%forever%' AND pid <> pg_backend_pid() AND now() - query_start > '0.2 s'
SQL
			last if $done > 0;
			usleep(50_000);
		}
		require POSIX;
		POSIX::_exit(0);
	}
	my (undef, undef, $error) = $server->psql('postgres', $sql, timeout => 60);
	waitpid $pid, 0;
	return $error;
}

foreach my $door (sort keys %door)
{
	like(cancel(<<"SQL"), qr/canceling statement due to user request/, "$door: canceled by another session");
$common $door{$door}
SELECT count(*) AS forever FROM generate_series(1, 100000000) i,
    LATERAL (SELECT id FROM t ORDER BY v <-> search(i) LIMIT 1000) s;
SQL
}

# ----------------------------------------------------------------------
# Memory
# ----------------------------------------------------------------------

$server->safe_psql('postgres', <<'SQL');
CREATE FUNCTION memory(OUT contexts bigint, OUT process bigint) LANGUAGE sql AS $$
    SELECT (SELECT sum(total_bytes) FROM pg_backend_memory_contexts),
        1024 * substring(pg_read_file('/proc/self/status', 0, 100000, true) FROM 'RssAnon:\s*(\d+)')::bigint
$$;
CREATE FUNCTION search_many(first bigint, n bigint, condition text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    rows cursor (i bigint) FOR SELECT id FROM t WHERE id % 3 = 0 ORDER BY v <-> search(i);
    id integer;
BEGIN
    FOR i IN first .. first + n / 4 LOOP
        EXECUTE 'SELECT max(id) FROM (SELECT id FROM t WHERE ' || condition ||
            ' ORDER BY v <-> search($1) LIMIT 10) s' USING i INTO id;
        PERFORM t.id FROM t ORDER BY v <-> search(i) LIMIT 10;
        PERFORM max(s.id) FROM generate_series(i, i + 1) j,
            LATERAL (SELECT t.id FROM t ORDER BY v <-> search(j) LIMIT 5) s;
        IF i % 50 = 0 THEN
            OPEN rows (i);
            FETCH rows INTO id;
            FETCH rows INTO id;
            CLOSE rows;
        END IF;
    END LOOP;
END $$;
SQL

foreach my $case (
	[ 'index scan', 'true' ],
	[ 'Vhnsw Scan', 'b % 2 = 1' ],
	[ 'Vhnsw Scan', 'a < 3' ])
{
	my ($door, $condition) = @$case;
	my $n = int($searches / 3);
	my $warm = int($n / 8);
	my $grown = $server->safe_psql('postgres', <<"SQL");
$common $door{$door}
SELECT search_many(1, $warm, '$condition');
SELECT * FROM memory();
SELECT * FROM memory() \\gset before_
SELECT search_many(1, $n, '$condition');
SELECT 'grown', contexts - :before_contexts, process - :'before_process'::bigint FROM memory();
SQL
	my ($contexts, $process) = $grown =~ /^grown\|(-?\d+)\|(-?\d*)$/m;

	cmp_ok($contexts, '<=', 65_536, "$door, $condition: memory contexts after $n searches, $contexts bytes more");
  SKIP:
	{
		skip 'no /proc', 1 if $process eq '';
		cmp_ok($process, '<=', 1_048_576, "... and of the process, $process more");
	}
}

done_testing();

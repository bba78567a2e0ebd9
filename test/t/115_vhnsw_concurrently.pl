# CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY beside sessions that write
# all the time: every row is in the index once, and is found.
#
# Two sessions insert, change and delete rows, each in transactions of its own,
# before, during and after all builds.  Each build waits, before it writes pages,
# until both have committed more, which its scan of the table did not see.  The
# builds link blocks, in memory and in files, without and with a worker.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $server = make_server('concurrently', conf => "autovacuum = off\n");

# Rows of writer w have ids that leave w when divided by two.
$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE FUNCTION vec(n bigint) RETURNS vector LANGUAGE sql IMMUTABLE
    RETURN (SELECT array_agg((hashint8extended(n * 32 + i, 1) & 1023)::float4)::vector
            FROM generate_series(1, 24) i);
CREATE TABLE items (id bigint PRIMARY KEY, v vector(24)) WITH (parallel_workers = 1);
INSERT INTO items SELECT n, vec(n) FROM generate_series(1, 6000) n;
CREATE TABLE ending (now boolean);
CREATE TABLE written (writer integer PRIMARY KEY, rounds bigint);
INSERT INTO written VALUES (0, 0), (1, 0);
CREATE PROCEDURE write_on(w integer) LANGUAGE plpgsql AS $$
DECLARE
    n bigint := 10000 + w;
BEGIN
    WHILE NOT EXISTS (SELECT FROM ending) LOOP
        n := n + 2;
        INSERT INTO items VALUES (n, CASE WHEN n % 16 < 2 THEN NULL ELSE vec(n) END);
        UPDATE items SET v = vec(-n) WHERE id = 2 * (n % 1500) + w;
        DELETE FROM items WHERE id = n - 50 AND n % 3 = 0;
        IF n % 10 < 2 THEN
            ROLLBACK;
        ELSE
            UPDATE written SET rounds = rounds + 1 WHERE writer = w;
            COMMIT;
        END IF;

        -- Without a finished index they would write much more than a build can add.
        PERFORM pg_sleep(0.005);
    END LOOP;
END $$;
SQL

sub rounds
{
	return split /\n/, $server->safe_psql('postgres', 'SELECT rounds FROM written ORDER BY writer');
}

my @writers = map {
	IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $server->connstr('postgres'),
			'-c', "CALL write_on($_)" ],
		'<', \'', '>', \my $out, '2>', \my $err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
} 0, 1;
$server->poll_query_until('postgres', 'SELECT min(rounds) > 0 FROM written')
  or die 'writers do not write';

# By an index scan to its end; a Vhnsw Scan for so many would read the table.
my $by_index = 'SET vhnsw.enable_scan = off; SET enable_seqscan = off; SET enable_sort = off';
my $search   = 'SELECT id FROM items ORDER BY v <-> vec(0) LIMIT 1000000';

# The index has each row of the table once, and vhnsw_check() finds nothing.
# While rows are inserted, it may find an element that only the sweep finds,
# until vacuum links it (README, I9): that is 'incomplete', but no damage.
sub is_whole
{
	my ($name, %options) = @_;
	my $where = $options{may_be_incomplete} ? q{WHERE severity <> 'incomplete'} : '';

	is($server->safe_psql('postgres', q{SELECT indisvalid FROM pg_index WHERE indexrelid = 'items_v'::regclass}),
		't', "$name: index is valid");
	is($server->safe_psql('postgres', "SELECT * FROM vhnsw_check('items_v', true) $where"), '', "$name: vhnsw_check");

	# As many rows as the statement's snapshot sees, all different
	is($server->safe_psql('postgres', <<"SQL"), '0|0|0', "$name: rows not found, found in vain, found twice");
$by_index;
WITH found AS ($search)
SELECT (SELECT count(*) FROM items WHERE id NOT IN (SELECT id FROM found)),
    (SELECT count(*) FROM found WHERE id NOT IN (SELECT id FROM items)),
    (SELECT count(*) - count(DISTINCT id) FROM found)
SQL
	return;
}

sub writers_commit
{
	my ($more) = @_;
	my @now = rounds();

	$server->poll_query_until('postgres',
		"SELECT bool_and(rounds >= (ARRAY[$now[0], $now[1]])[writer + 1] + $more) FROM written")
	  or die 'writers do not write';
	return;
}

my $create  = 'CREATE INDEX CONCURRENTLY items_v ON items USING vhnsw (v vector_l2_ops)';
my $reindex = 'REINDEX INDEX CONCURRENTLY items_v';
my $gate    = $server->background_psql('postgres');

foreach my $build (
	[ $create,  '200MB', 0, 'blocked' ],
	[ $reindex, '200MB', 1, 'blocked' ],
	[ $reindex, '6MB', 1, 'blocked in files' ],
	[ "DROP INDEX items_v; $create", '3500kB', 0, 'blocked in files' ])
{
	my ($command, $memory, $workers, $method) = @$build;
	my ($statement) = $command =~ /(\w+ INDEX CONCURRENTLY)/;
	my $name = "$statement, $method, workers $workers";
	my @commands = map { ('-c', $_) } (
		"SET maintenance_work_mem = '$memory'",
		"SET max_parallel_maintenance_workers = $workers",
		'SET vhnsw.build_method = blocked',
		q{SET vecdist.debug_points = 'leader/vhnsw-build-write=wait'},
		split /; /, $command);

	$gate->query_safe('SELECT pg_advisory_lock(29795, 0)');
	my $building = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $server->connstr('postgres'), @commands ],
		'>', \my $said, '2>', \my $complaint);
	$server->poll_query_until('postgres', <<'SQL') or die 'pages are not written';
SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '% CONCURRENTLY %'
SQL
	writers_commit(30);
	$gate->query_safe('SELECT pg_advisory_unlock(29795, 0)');
	ok($building->finish, "$name: built") or diag($complaint);
	is($server->safe_psql('postgres', q{SELECT build_method, build_workers FROM vhnsw_info('items_v')}),
		"$method|$workers", "$name: how it was built");

	# And insert into the finished index
	is_whole($name, may_be_incomplete => 1);
	writers_commit(30);
}
$gate->quit;
$server->safe_psql('postgres', 'INSERT INTO ending VALUES (true)');
ok($_->finish, 'writer ended without an error') foreach @writers;

$server->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP on) items');
is_whole('at the end');
like($server->safe_psql('postgres', "$by_index; EXPLAIN $search"), qr/Index Scan using items_v/, 'by the index');

done_testing();

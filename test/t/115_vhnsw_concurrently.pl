# CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY beside sessions that write
# all the time: every row is in the index once, and is found.
#
# Two sessions insert, change and delete rows, each in transactions of its own,
# before, during and after both builds; that they did is seen by what they
# counted.  The builds link blocks, one of them with a worker.

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
    RETURN (SELECT array_agg((hashint8extended(n * 16 + i, 1) & 1023)::float4)::vector
            FROM generate_series(1, 12) i);
CREATE TABLE items (id bigint PRIMARY KEY, v vector(12)) WITH (parallel_workers = 1);
INSERT INTO items SELECT n, vec(n) FROM generate_series(1, 3000) n;
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

foreach my $build ('SET max_parallel_maintenance_workers = 0;
		CREATE INDEX CONCURRENTLY items_v ON items USING vhnsw (v vector_l2_ops)',
	'SET max_parallel_maintenance_workers = 1; REINDEX INDEX CONCURRENTLY items_v')
{
	my ($name) = $build =~ /(\w+ INDEX CONCURRENTLY)/;
	my @before = rounds();

	$server->safe_psql('postgres', "SET vhnsw.build_method = blocked;\n$build");
	my @after = rounds();
	cmp_ok($after[$_], '>', $before[$_], "$name: writer $_ went on") foreach 0, 1;

	# And insert into the finished index
	$server->poll_query_until('postgres', 'SELECT min(rounds) > ' . ($after[0] > $after[1] ? $after[0] : $after[1]) .
		' FROM written') or die 'writers do not write';
}
$server->safe_psql('postgres', 'INSERT INTO ending VALUES (true)');
ok($_->finish, 'writer ended without an error') foreach @writers;

is($server->safe_psql('postgres', q{SELECT indisvalid FROM pg_index WHERE indexrelid = 'items_v'::regclass}),
	't', 'index is valid');
is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('items_v', true)}),
	'', 'vhnsw_check finds nothing');

# As many rows as there are, all different, by an index scan to its end
is($server->safe_psql('postgres', <<'SQL'), 't', 'every row is found once');
SET enable_seqscan = off;
SELECT array_agg(id ORDER BY id) = (SELECT array_agg(id ORDER BY id) FROM items)
FROM (SELECT id FROM items ORDER BY v <-> vec(0) LIMIT 1000000) found;
SQL
like($server->safe_psql('postgres', 'SET enable_seqscan = off; EXPLAIN SELECT id FROM items ORDER BY v <-> vec(0) LIMIT 1000000'),
	qr/items_v/, 'by the index');

done_testing();

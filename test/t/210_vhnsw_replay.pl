# Searches answer rightly while the graph changes under them, on the primary and
# on a standby that replays the changes.
#
# Sessions insert, delete and vacuum for as long as others search.  Each search
# is checked against an exact scan of the same snapshot: the rows of a top 10
# are visible, distinct and in order; a search for everything returns every
# row.  The standby then goes down in the middle of replay, comes back, catches
# up and is promoted.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims     = 4;
my $searches = 40;
my $primary  = make_server('primary', conf => "autovacuum = off\n");

$primary->safe_psql('postgres', <<"SQL");
CREATE EXTENSION vecdist;
CREATE FUNCTION vec(n bigint) RETURNS vector LANGUAGE sql IMMUTABLE AS \$\$
    SELECT array_agg((hashint8extended(i, CASE WHEN n % 6 = 0 THEN n % 10 ELSE n END) & 65535) / 65535.0)::vector
    FROM generate_series(1, $dims) i
\$\$;
CREATE TABLE t (id bigint PRIMARY KEY, embedding vector($dims));
CREATE SEQUENCE ids;
INSERT INTO t SELECT nextval('ids'), CASE WHEN i % 25 = 0 THEN NULL ELSE vec(i) END FROM generate_series(1, 1500) i;
CREATE INDEX i ON t USING vhnsw (embedding vector_l2_ops) WITH (m = 4, ef_construction = 16);

-- What is wrong with a search?  To be called in a transaction with one snapshot.
CREATE FUNCTION wrong(query vector) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE
    near bigint[];
    distances float8[];
    sorted float8[];
    through_index bigint[];
    missing bigint[];
BEGIN
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_sort = off;
    SET LOCAL vhnsw.ef_search = 10;
    SET LOCAL vhnsw.filter_strategy = search; -- for all rows, the table would be read
    EXECUTE 'SELECT array_agg(id), array_agg(d) FROM (SELECT id, embedding <-> \$1 AS d FROM t ORDER BY embedding <-> \$1 LIMIT 10) s'
        INTO near, distances USING query;
    EXECUTE 'SELECT array_agg(id) FROM (SELECT id FROM t ORDER BY embedding <-> \$1 LIMIT 100000) s'
        INTO through_index USING query;
    SET LOCAL enable_seqscan = on;
    SET LOCAL enable_sort = on;
    SET LOCAL enable_indexscan = off;
    SET LOCAL enable_bitmapscan = off;
    SET LOCAL enable_indexonlyscan = off;
    IF cardinality(near) <> 10 OR (SELECT count(DISTINCT n) FROM unnest(near) n) <> 10 THEN
        RETURN 'not ten rows: ' || near::text;
    END IF;
    SELECT array_agg(d ORDER BY d) INTO sorted FROM unnest(distances) d;
    IF sorted <> distances THEN
        RETURN 'not in order: ' || distances::text;
    END IF;
    EXECUTE 'SELECT array_agg(id) FROM t WHERE NOT (id = ANY (\$1))' INTO missing USING through_index;
    IF missing IS NOT NULL THEN
        RETURN 'missing: ' || missing::text;
    END IF;
    EXECUTE 'SELECT array_agg(n) FROM unnest(\$1) n WHERE n NOT IN (SELECT id FROM t)' INTO missing USING near || through_index;
    IF missing IS NOT NULL THEN
        RETURN 'not visible: ' || missing::text;
    END IF;
    IF cardinality(through_index) <> (SELECT count(*) FROM t) THEN
        RETURN 'some twice';
    END IF;
    RETURN NULL;
END \$\$;
SQL

my $standby = make_standby('standby', $primary,
	conf => "hot_standby_feedback = on\nmax_standby_streaming_delay = -1\n");

# ----------------------------------------------------------------------
# Work
# ----------------------------------------------------------------------

# Sessions that work until they are told to stop, by a row in a table.
$primary->safe_psql('postgres', 'CREATE TABLE stop (now boolean)');
my @work = (
	<<'SQL',
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM stop) LOOP
    INSERT INTO t SELECT nextval('ids'), CASE WHEN i = 3 THEN NULL ELSE vec(currval('ids')) END FROM generate_series(1, 5) i;
    COMMIT;
END LOOP; END $$;
\echo done
SQL
	<<'SQL',
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM stop) LOOP
    DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY hashint8(id) LIMIT greatest((SELECT count(*) FROM t) - 1400, 0));
    COMMIT;
END LOOP; END $$;
\echo done
SQL
);

my @sessions = map { $primary->background_psql('postgres') } 0 .. 1;
$sessions[$_]->query_until(qr/go/, "\\echo go\n$work[$_]") foreach 0 .. 1;

sub search
{
	my ($server, $first) = @_;
	my $sql = join "\n", map {
		my $query = random_vector($dims, seed => $first + $_);
		"BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT wrong('$query');\nCOMMIT;"
	} 1 .. $searches / 10;
	return $server->safe_psql('postgres', $sql);
}

my @primary_says;
my @standby_says;
my $wal = $primary->lsn('insert');
foreach my $i (1 .. 10)
{
	push @primary_says, search($primary, 100 * $i);
	$primary->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP on) t');
	push @standby_says, search($standby, 100 * $i);
}
is(join('', @primary_says) =~ s/\n//gr, '', 'the primary answers rightly');
is(join('', @standby_says) =~ s/\n//gr, '', 'the standby answers rightly');
is($primary->safe_psql('postgres', 'SELECT last_value > 2000 FROM ids'),
	't', 'there was work meanwhile');
is($standby->safe_psql('postgres',
		"SELECT pg_last_wal_replay_lsn() > '$wal'"),
	't', 'and the standby replayed');

# ----------------------------------------------------------------------
# The standby goes down in the middle, and comes back
# ----------------------------------------------------------------------

is($standby->safe_psql('postgres', q{SELECT * FROM vhnsw_check('i') WHERE severity = 'damage'}),
	'', 'vhnsw_check on the standby beside replay');
is($primary->safe_psql('postgres', q{SELECT * FROM vhnsw_check('i', true) WHERE severity = 'damage'}),
	'', 'vhnsw_check on the primary beside writers');
kill_server($standby);
$standby->start;
is(search($standby, 5000) =~ s/\n//gr, '', 'the standby answers rightly after a crash');

$primary->safe_psql('postgres', 'INSERT INTO stop VALUES (true)');
foreach my $session (@sessions)
{
	$session->query_until(qr/done/, '');
	$session->quit;
}
wait_caught_up($primary, $standby);
foreach my $server ($primary, $standby)
{
	is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('i', true) WHERE severity = 'damage'}),
		'', 'vhnsw_check on ' . $server->name);
}
is($standby->safe_psql('postgres', q{SELECT vhnsw_info('i')::text}),
	$primary->safe_psql('postgres', q{SELECT vhnsw_info('i')::text}),
	'vhnsw_info is the same on both');

# The free space map does not come along; vacuum finds the places again.
$primary->stop;
$standby->promote;
$standby->safe_psql('postgres', 'DELETE FROM t WHERE id % 2 = 0; VACUUM (INDEX_CLEANUP on) t');
my $pages = $standby->safe_psql('postgres', q{SELECT pages FROM vhnsw_info('i')});
$standby->safe_psql('postgres',
	q{INSERT INTO t SELECT nextval('ids'), vec(currval('ids')) FROM generate_series(1, 500) i});
is($standby->safe_psql('postgres', q{SELECT pages FROM vhnsw_info('i')}),
	$pages, 'promoted: free places are used');
is(search($standby, 6000) =~ s/\n//gr, '', 'promoted: answers are right');
is($standby->safe_psql('postgres', q{SELECT * FROM vhnsw_check('i', true) WHERE severity = 'damage'}),
	'', 'promoted: vhnsw_check');

done_testing();

# Builds by blocks, with workers, of all kinds of tables and indexes.
#
# In memory and in temporary files: unlogged tables, which are empty after a
# crash; temporary ones, which have no workers; partitions; partial indexes and
# those of expressions.  Each row that an index shall have is in it, and
# vhnsw_check() finds nothing.  Vectors out of line are read once.

use strict;
use warnings;

use Test::More;
use VecdistTest;

my $server = make_server('tables', conf => <<'CONF');
autovacuum = off
client_min_messages = warning
max_parallel_workers = 8
max_parallel_maintenance_workers = 2
CONF

# In memory, and in files
my %memory = ('blocked' => '200MB', 'blocked in files' => '9MB');

my $rows = 12000;
$server->safe_psql('postgres', 'CREATE EXTENSION vecdist');
load_clusters($server, 'items', $rows, 48, workers => 2);

# Each index "items_v": how it was built, what it has, and what is wrong, in the
# session that has made it.
my $look = <<'SQL';
SELECT build_method, build_workers, rows FROM vhnsw_info('items_v');
SELECT * FROM vhnsw_check('items_v', true);
SQL

foreach my $method (sort keys %memory)
{
	my $set = "SET maintenance_work_mem = '$memory{$method}';";
	my $on  = 'CREATE INDEX items_v ON kept USING vhnsw';

	is($server->safe_psql('postgres', <<"SQL"), "$method|2|$rows", "$method: unlogged table");
$set
CREATE UNLOGGED TABLE kept WITH (parallel_workers = 2) AS SELECT * FROM items;
$on (v vector_l2_ops);
$look
SQL
	$server->stop('immediate');
	$server->start;
	is($server->safe_psql('postgres', <<'SQL'), "0\n0\n200", "$method: unlogged table after a crash");
SELECT count(*) FROM kept;
SELECT rows FROM vhnsw_info('items_v');
INSERT INTO kept SELECT * FROM items LIMIT 200;
SELECT rows FROM vhnsw_info('items_v');
SELECT * FROM vhnsw_check('items_v', true);
DROP TABLE kept;
SQL
	is($server->safe_psql('postgres', <<"SQL"), "$method|0|$rows", "$method: temporary table");
$set
CREATE TEMPORARY TABLE kept WITH (parallel_workers = 2) AS SELECT * FROM items;
$on (v vector_l2_ops);
$look
SQL

	# An index on the parent makes one for each partition.
	is($server->safe_psql('postgres', <<"SQL"), join("\n", ("$method|2|$rows") x 2), "$method: partitions");
$set
CREATE TABLE parted (id integer, v vector(48)) PARTITION BY LIST ((id > 0));
CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (true) WITH (parallel_workers = 2);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES IN (false) WITH (parallel_workers = 2);
INSERT INTO parted SELECT * FROM items UNION ALL SELECT -id, v FROM items;
CREATE INDEX parted_v ON parted USING vhnsw (v vector_l2_ops);
@{[ map { $look =~ s/items_v/part_${_}_v_idx/gr } 1, 2 ]}
DROP TABLE parted;
SQL

	my $kept = int($rows * 0.9);
	is($server->safe_psql('postgres', <<"SQL"), "$method|2|$kept\n$method|2|$rows", "$method: partial, and of an expression");
$set
CREATE INDEX items_v ON items USING vhnsw (v vector_cosine_ops) WHERE id % 10 > 0;
$look
DROP INDEX items_v;
CREATE INDEX items_v ON items USING vhnsw (((v + v)::vector(48)) vector_ip_ops);
$look
DROP INDEX items_v;
SQL
}

# ----------------------------------------------------------------------
# Vectors out of line
# ----------------------------------------------------------------------

# What a session has counted is told before it ends.
my $told = 'DO $$ BEGIN PERFORM pg_stat_force_next_flush(); END $$;';

# Nothing is sampled for inner products.
my $long = 4000;
$server->safe_psql('postgres', <<"SQL");
CREATE TABLE long (id integer, v vector(600)) WITH (parallel_workers = 2);
ALTER TABLE long ALTER v SET STORAGE EXTERNAL;
INSERT INTO long SELECT n, (SELECT array_agg((hashint8extended(i, n % 60) & 255)::float4 ORDER BY i)::vector || l.v FROM generate_series(1, 552) i)
    FROM generate_series(1, $long) n JOIN items l ON l.id = n;
VACUUM ANALYZE long;
$told
SQL

# How often a value was looked up in the TOAST table, once all have reported
sub lookups
{
	my ($at_least) = @_;
	my $sql = <<'SQL';
SELECT idx_scan FROM pg_stat_all_tables
WHERE relid = (SELECT reltoastrelid FROM pg_class WHERE relname = 'long')
SQL
	$server->poll_query_until('postgres', "SELECT ($sql) >= $at_least");
	return $server->safe_psql('postgres', $sql);
}

foreach my $case ([ '200MB', 0, 'blocked' ], [ '200MB', 2, 'blocked' ], [ '6MB', 0, 'blocked in files' ], [ '8MB', 1, 'blocked in files' ])
{
	my ($memory, $workers, $method) = @$case;
	my $before = lookups(0);

	is($server->safe_psql('postgres', <<"SQL"), "$method|$workers|$long", "out of line: $method, $workers workers");
SET maintenance_work_mem = '$memory';
SET max_parallel_maintenance_workers = $workers;
CREATE INDEX items_v ON long USING vhnsw (v vector_ip_ops);
$told
SELECT build_method, build_workers, rows FROM vhnsw_info('items_v');
SQL
	is(lookups($before + $long) - $before, $long, "out of line: $method, $workers workers: each vector is read once");
	$server->safe_psql('postgres', 'DROP INDEX items_v');
}

done_testing();

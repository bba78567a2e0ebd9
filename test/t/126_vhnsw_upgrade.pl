# pg_upgrade takes vhnsw indexes along as they are.
#
# Also one whose m and ef_construction do not go together: ALTER INDEX took them
# once, and only a dump says them anew.  After the upgrade searches find what
# they found, vhnsw_check() finds nothing, rows come and go, and REINDEX works;
# options that do not go together are refused as before, others are taken.

use strict;
use warnings;

use Cwd;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $old = make_server('old');
my $new = make_server('new', start => 0);

$old->safe_psql('postgres', 'CREATE EXTENSION vecdist');
load_clusters($old, 'items', 3000, 16);
$old->safe_psql('postgres', <<'SQL');
CREATE TABLE parted (id integer, v vector(16)) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT * FROM items;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
CREATE INDEX parted_v ON parted USING vhnsw (v vector_ip_ops) WITH (m = 10);
SET allow_system_table_mods = on;
UPDATE pg_class SET reloptions = '{m=40,ef_construction=64}' WHERE relname IN ('items_v', 'parted_v', 'part_v_idx');
SQL

my $nearest = <<'SQL';
SET enable_seqscan = off;
SELECT array_agg(id) FROM (SELECT id FROM items ORDER BY v <-> (SELECT v FROM items WHERE id = 77) LIMIT 20) s;
SELECT array_agg(id) FROM (SELECT id FROM parted ORDER BY v <#> (SELECT v FROM items WHERE id = 77) LIMIT 20) s;
SQL
my $found   = $old->safe_psql('postgres', $nearest);
my @indexes = qw(items_v part_v_idx);
my %pages   = map { $_ => index_pages($old, $_) } @indexes;
$old->stop;

# It writes where it is started.
my ($bindir) = grep { -x "$_/pg_upgrade" } split /:/, $ENV{PATH};
my $dir = getcwd();
chdir $PostgreSQL::Test::Utils::tmp_check or die 'no directory';
command_ok(
	[
		'pg_upgrade', '--no-sync', '-b', $bindir, '-B', $bindir, '-d', $old->data_dir, '-D', $new->data_dir, '-s',
		$new->host, '-p', $old->port, '-P', $new->port
	],
	'pg_upgrade');
chdir $dir or die 'no directory';

$new->start;
is($new->safe_psql('postgres', $nearest), $found, 'searches find what they found');
foreach my $index (@indexes)
{
	is(index_pages($new, $index), $pages{$index}, "$index: the same pages");
	is($new->safe_psql('postgres', "SELECT * FROM vhnsw_check('$index', true)"), '', "$index: vhnsw_check");
	is($new->safe_psql('postgres', "SELECT reloptions FROM pg_class WHERE relname = '$index'"),
		'{m=40,ef_construction=64}', "$index: options");
}

$new->safe_psql('postgres', <<'SQL');
DELETE FROM items WHERE id % 3 = 0;
INSERT INTO items SELECT -id, v FROM parted LIMIT 100;
VACUUM items;
REINDEX INDEX parted_v;
REINDEX INDEX CONCURRENTLY items_v;
SQL
foreach my $index (@indexes)
{
	is($new->safe_psql('postgres', "SELECT m, ef_construction FROM vhnsw_info('$index')"), '40|64', "$index: built anew");
	is($new->safe_psql('postgres', "SELECT * FROM vhnsw_check('$index', true)"), '', "$index: vhnsw_check");
}
my ($ret, $out, $err) = $new->psql('postgres', 'ALTER INDEX items_v SET (m = 41)');
like($err, qr/ef_construction must be greater than or equal to 2 \* m/, 'still refused');

# What goes together is taken, and the next build is by that.
$new->safe_psql('postgres', 'ALTER INDEX items_v RESET (m); REINDEX INDEX items_v');
is($new->safe_psql('postgres', q{SELECT m, ef_construction FROM vhnsw_info('items_v')}), '16|64', 'reset: built anew');
$new->safe_psql('postgres', 'ALTER INDEX part_v_idx SET (m = 20, ef_construction = 40); REINDEX INDEX part_v_idx');
is($new->safe_psql('postgres', q{SELECT m, ef_construction FROM vhnsw_info('part_v_idx')}), '20|40', 'set: built anew');

done_testing();

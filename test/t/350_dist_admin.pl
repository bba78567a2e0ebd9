# Workers and distributed tables are made on all servers or on none.
#
# Each wrong use of add_worker, create_distributed_table, create_partition,
# remove_worker and run_on_workers is tried; after each, a snapshot of the
# catalogs of every server must equal the one taken before.  Right uses are
# checked by what stands on every server afterwards.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $cluster = make_cluster(workers => 2, register => 0);
my $coordinator = $cluster->coordinator;
my ($w1, $w2) = map { $cluster->worker($_) } qw(w1 w2);
my @servers = ($coordinator, $w1, $w2);

# Everything that administration could leave behind on a server.
sub snapshot
{
	return join "\n--\n", map {
		$_->safe_psql('postgres', <<'SQL')
SELECT 'relation', c.oid::regclass, c.relkind, pg_get_expr(c.relpartbound, c.oid)
	FROM pg_class c WHERE c.oid >= 16384 AND c.relnamespace <> 'pg_toast'::regnamespace
UNION ALL SELECT 'server', 0, 'x', srvname || srvoptions::text FROM pg_foreign_server
UNION ALL SELECT 'mapping', 0, 'x', srvname || usename FROM pg_user_mappings
UNION ALL SELECT 'schema', 0, 'x', nspname FROM pg_namespace WHERE nspname !~ '^pg_'
UNION ALL SELECT 'listed', relation, 'x', '' FROM vecdist.distributed_table
UNION ALL SELECT 'local', 0, 'x', name FROM vecdist.local_worker
UNION ALL SELECT 'prepared', 0, 'x', gid FROM pg_prepared_xacts
ORDER BY 1, 2, 3, 4
SQL
	} @servers;
}

# A statement on the coordinator must fail with a SQLSTATE and a message that
# matches, and leave nothing anywhere.
sub fails
{
	my ($sql, $sqlstate, $message, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $before = snapshot();
	my ($rc, undef, $stderr) =
	  $coordinator->psql('postgres', "\\set VERBOSITY verbose\n$sql",
		on_error_stop => 1);

	isnt($rc, 0, "$name: fails");
	like($stderr, qr/ERROR:  $sqlstate: .*$message/s, "$name: message");
	is(snapshot(), $before, "$name: leaves nothing");
	return $stderr;
}

my %hosts = map { $_ => $cluster->hosts($_) } qw(w1 w2);

# ----------------------------------------------------------------------
# add_worker: wrong uses
# ----------------------------------------------------------------------

fails("SELECT vecdist.add_worker('w1', NULL)",
	'22004', 'cannot be null', 'no hosts');
fails("SELECT vecdist.add_worker('', '$hosts{w1}')",
	'42602', 'invalid worker name', 'empty name');
fails("SELECT vecdist.add_worker(repeat('w', 64), '$hosts{w1}')",
	'42602', 'invalid worker name', 'long name');
fails("SELECT vecdist.add_worker('w1', 'no port: x')",
	'22023', 'invalid host', 'hosts not well formed');
my $free_port = PostgreSQL::Test::Cluster::get_free_port();
fails("SELECT vecdist.add_worker('w1', '127.0.0.1:$free_port')",
	'08001', 'w1', 'nobody listens there');
fails(
	"SELECT vecdist.add_worker('w1', '127.0.0.1:" . $coordinator->port . "')",
	'22023', 'is this server', 'the coordinator itself');
fails("SELECT vecdist.add_worker('w1', '$hosts{w1}', 'nowhere')",
	'08001', 'w1', 'no such database');
fails(
	"SELECT vecdist.add_worker('w1', '$hosts{w1}', 'template1')",
	'55000',
	'extension "vecdist" does not exist.*CREATE EXTENSION',
	'extension missing there');

$w1->safe_psql('postgres',
	'CREATE SCHEMA other; CREATE DATABASE other_schema');
$w1->safe_psql('other_schema',
	'CREATE SCHEMA other; CREATE EXTENSION vecdist SCHEMA other');
fails("SELECT vecdist.add_worker('w1', '$hosts{w1}', 'other_schema')",
	'55000', 'schema of extension "vecdist" differs',
	'extension in another schema');

$w1->safe_psql('postgres',
	q{CREATE DATABASE other_encoding ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'}
);
$w1->safe_psql('other_encoding', 'CREATE EXTENSION vecdist');
fails("SELECT vecdist.add_worker('w1', '$hosts{w1}', 'other_encoding')",
	'55000', 'differs on worker', 'another encoding or locale');

$w1->safe_psql('postgres',
	"UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'vecdist'");
fails("SELECT vecdist.add_worker('w1', '$hosts{w1}')",
	'55000', 'version of extension "vecdist" differs',
	'another version there');
my ($version) = $coordinator->safe_psql('postgres',
	"SELECT extversion FROM pg_extension WHERE extname = 'vecdist'");
$w1->safe_psql('postgres',
	"UPDATE pg_extension SET extversion = '$version' WHERE extname = 'vecdist'"
);

# Settings that need a restart
$w1->append_conf('postgresql.conf', 'max_prepared_transactions = 0');
$w1->restart;
fails("SELECT vecdist.add_worker('w1', '$hosts{w1}')",
	'55000', 'max_prepared_transactions is 0', 'no prepared transactions');
$w1->append_conf('postgresql.conf',
	"max_prepared_transactions = 20\nshared_preload_libraries = ''");
$w1->restart;
fails("SELECT vecdist.add_worker('w1', '$hosts{w1}')",
	'55000', 'not loaded at server start.*shared_preload_libraries',
	'not preloaded there');
$w1->append_conf('postgresql.conf', "shared_preload_libraries = 'vecdist'");
$w1->restart;

$coordinator->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$coordinator->restart;
fails("SELECT vecdist.add_worker('w1', '$hosts{w1}')",
	'55000', 'shared_preload_libraries', 'not preloaded here');
fails("SELECT vecdist.run_on_workers('SELECT 1')",
	'55000', 'shared_preload_libraries', 'run_on_workers, not preloaded');
$coordinator->append_conf('postgresql.conf',
	"shared_preload_libraries = 'vecdist'");
$coordinator->restart;

# ----------------------------------------------------------------------
# add_worker
# ----------------------------------------------------------------------

my $before = snapshot();
$coordinator->safe_psql('postgres',
	"BEGIN; SELECT vecdist.add_worker('w1', '$hosts{w1}'); ROLLBACK");
is(snapshot(), $before, 'ROLLBACK undoes add_worker on both servers');

$coordinator->safe_psql('postgres',
	"SELECT vecdist.add_worker('w1', '$hosts{w1}')");
is($w1->safe_psql('postgres', 'SELECT name FROM vecdist.local_worker'),
	'w1', 'the worker knows its name');
is( $coordinator->safe_psql('postgres', 'SELECT * FROM vecdist.workers'),
	"w1|$hosts{w1}|postgres|f|0",
	'view workers on the coordinator');
is( $w1->safe_psql('postgres', 'SELECT * FROM vecdist.workers'),
	"w1|$hosts{w1}|postgres|t|0",
	'view workers on the worker');

fails("SELECT vecdist.add_worker('w1', '$hosts{w2}')",
	'42710', 'already exists', 'name taken');
fails("SELECT vecdist.add_worker('again', '$hosts{w1}')",
	'55000', 'already belongs to a cluster.*worker "w1"',
	'a worker under a second name');
my ($rc, undef, $stderr) = $w1->psql('postgres',
	"SELECT vecdist.add_worker('w2', '$hosts{w2}')");
like($stderr, qr/cannot run vecdist.add_worker\(\) on a worker.*coordinator/s,
	'a worker is no coordinator');

# ----------------------------------------------------------------------
# create_distributed_table: wrong uses
# ----------------------------------------------------------------------

sub distribute_fails
{
	my ($definition, $arguments, $sqlstate, $message, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$coordinator->safe_psql('postgres', "CREATE TABLE wrong $definition");
	my $output =
	  fails("SELECT vecdist.create_distributed_table('wrong'$arguments)",
		$sqlstate, $message, $name);
	$coordinator->safe_psql('postgres', 'DROP TABLE wrong');
	return $output;
}

my $hash = 'PARTITION BY HASH (id)';
fails("SELECT vecdist.create_distributed_table(NULL)",
	'22004', 'cannot be null', 'no table');
distribute_fails('(id int)', '', '42809', 'not a partitioned table.*PARTITION BY',
	'not partitioned');
distribute_fails("(id serial) $hash", '', '0A000', 'sequence.*uuid', 'serial');
distribute_fails("(id int GENERATED ALWAYS AS IDENTITY) $hash",
	'', '0A000', 'sequence', 'identity');
$coordinator->safe_psql('postgres', 'CREATE SEQUENCE counter');
distribute_fails("(id int, n bigint DEFAULT $_) $hash",
	'', '0A000', '"n" takes values from a sequence', $_) foreach (
	"nextval('counter') + 1",
	"nextval('counter'::text::regclass)",
	"currval('counter')",
	'lastval()',
	"setval('counter', 7)",
	"abs(hashoid('counter'::regclass))");
$coordinator->safe_psql('postgres', "CREATE DOMAIN counted AS bigint DEFAULT nextval('counter')");
distribute_fails("(id int, n counted) $hash", '', '0A000', '"n" takes values from a sequence', 'domain');
distribute_fails("(id int PRIMARY KEY) $hash", '', '0A000', 'wrong_pkey',
	'primary key');
distribute_fails("(id int UNIQUE) $hash", '', '0A000', 'unique', 'unique key');
distribute_fails("(id int) $hash", ', 0', '22023', 'between 1 and', 'no partitions');
distribute_fails("(id int) $hash", ", 2, ARRAY['nobody']",
	'42704', 'worker "nobody" does not exist', 'worker that does not exist');
distribute_fails("(id int) $hash", ", 2, ARRAY['w1', 'w1']",
	'22023', 'named twice', 'worker named twice');
distribute_fails("(id int) $hash", ", 2, ARRAY[NULL]::text[]",
	'22004', 'cannot be null', 'worker without name');
distribute_fails("(id int) $hash", ", 2, ARRAY[]::text[]",
	'55000', 'no workers', 'empty list of workers');
distribute_fails('(id int) PARTITION BY RANGE (id)', ', 2',
	'22023', 'hash partitioning only', 'number of range partitions');
$coordinator->safe_psql('postgres', 'CREATE TABLE target (id int PRIMARY KEY)');
distribute_fails("(id int REFERENCES target) $hash", '', '0A000', 'foreign key',
	'foreign key');
$coordinator->safe_psql('postgres', 'DROP TABLE target');

$coordinator->safe_psql('postgres', <<"SQL");
CREATE TABLE filled (id int) $hash;
CREATE TABLE filled_0 PARTITION OF filled FOR VALUES WITH (modulus 1, remainder 0)
SQL
fails("SELECT vecdist.create_distributed_table('filled')",
	'55000', 'has partitions already', 'partitions exist');
$coordinator->safe_psql('postgres', 'DROP TABLE filled');

# Names that are taken, here or there
$coordinator->safe_psql('postgres', 'CREATE TABLE wrong_1 ()');
distribute_fails("(id int) $hash", ', 2', '42P07', '"wrong_1" already exists',
	'name of a partition taken here');
$coordinator->safe_psql('postgres', 'DROP TABLE wrong_1');
foreach my $taken (qw(wrong wrong_1))
{
	$w1->safe_psql('postgres', "CREATE TABLE $taken ()");
	distribute_fails("(id int) $hash", ', 2', '42P07',
		"\"$taken\" already exists on worker \"w1\"",
		"name $taken taken there");
	$w1->safe_psql('postgres', "DROP TABLE $taken");
}
$coordinator->safe_psql('postgres', 'CREATE TYPE mood AS ENUM (\'calm\')');
distribute_fails("(id int, m mood) $hash", ', 2', '42704',
	'type public.mood does not exist on worker "w1"', 'type missing there');
$coordinator->safe_psql('postgres', 'CREATE ROLE app LOGIN');
$coordinator->safe_psql('postgres', "CREATE TABLE wrong (id int) $hash; GRANT SELECT ON wrong TO app");
fails("SELECT vecdist.create_distributed_table('wrong', 2)",
	'42704', 'role "app" does not exist on worker "w1".*run_on_workers',
	'role missing there');
$coordinator->safe_psql('postgres', 'DROP TABLE wrong');

# A failure on the worker after everything was made here
$coordinator->safe_psql('postgres', <<'SQL');
CREATE FUNCTION positive(int) RETURNS boolean IMMUTABLE LANGUAGE sql RETURN $1 > 0
SQL
distribute_fails("(id int CHECK (positive(id))) $hash", ', 2', '42883',
	'positive.*worker "?w1', 'function missing there');

# ----------------------------------------------------------------------
# create_distributed_table
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres',
	q{SELECT vecdist.run_on_workers('CREATE ROLE app LOGIN; CREATE TYPE mood AS ENUM (''calm'')');
	  CREATE ROLE keeper; SELECT vecdist.run_on_workers('CREATE ROLE keeper')});
$coordinator->safe_psql('postgres', <<'SQL');
CREATE SCHEMA "My Schema" AUTHORIZATION keeper;
GRANT USAGE ON SCHEMA "My Schema" TO app;
CREATE TABLE "My Schema"."Items" (
	id bigint NOT NULL,
	gone int,
	embedding vector(3),
	"Name" varchar(20) COLLATE "C" DEFAULT 'it''s' CHECK (length("Name") > 0),
	added timestamptz DEFAULT now(),
	mood mood[],
	double_id bigint GENERATED ALWAYS AS (id * 2) STORED,
	doc text COMPRESSION pglz
) PARTITION BY HASH (id);
ALTER TABLE "My Schema"."Items" DROP COLUMN gone;
ALTER TABLE "My Schema"."Items" ALTER doc SET STORAGE EXTERNAL;
CREATE INDEX "Items_Name" ON "My Schema"."Items" ("Name" varchar_pattern_ops) WHERE id > 0;
ALTER TABLE "My Schema"."Items" OWNER TO keeper;
GRANT SELECT, INSERT ON "My Schema"."Items" TO app WITH GRANT OPTION;
GRANT UPDATE ("Name") ON "My Schema"."Items" TO app;
CREATE TABLE "My Schema".allowed (who name);
GRANT SELECT ON "My Schema".allowed TO app;
ALTER TABLE "My Schema"."Items" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "My Schema"."Items" FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON "My Schema"."Items" FOR SELECT TO app, keeper
	USING (EXISTS (SELECT FROM "My Schema".allowed a WHERE a.who = current_user AND "Items".id > 0));
CREATE POLICY never ON "My Schema"."Items" AS RESTRICTIVE FOR UPDATE USING (id <> 13) WITH CHECK (true);
SELECT vecdist.run_on_workers('CREATE SCHEMA "My Schema" AUTHORIZATION keeper; GRANT USAGE ON SCHEMA "My Schema" TO app;
	CREATE TABLE "My Schema".allowed (who name); GRANT SELECT ON "My Schema".allowed TO app');
SELECT vecdist.create_distributed_table('"My Schema"."Items"', partitions => 3);
SQL

# What a user can see of a table's definition, without oids.
my $definition = <<'SQL';
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage,
	a.attcompression, a.attcollation::regcollation, a.attgenerated, a.attacl,
	pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = '"My Schema"."Items"'::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attname;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = '"My Schema"."Items"'::regclass ORDER BY 1;
SELECT pg_get_partkeydef(oid), relowner::regrole, relrowsecurity, relforcerowsecurity, relacl
FROM pg_class WHERE oid = '"My Schema"."Items"'::regclass;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '"My Schema"."Items"'::regclass;
SELECT * FROM pg_policies WHERE tablename = 'Items' ORDER BY policyname;
SELECT partition, worker, bound FROM vecdist.partitions ORDER BY 1;
SQL
my $here = $coordinator->safe_psql('postgres', $definition);
like($here, qr/Items_2.*\|w1\|FOR VALUES WITH \(modulus 3, remainder 2\)/,
	'partitions are spread');
is($w1->safe_psql('postgres', $definition), $here, 'the worker has the same table');
is( $w1->safe_psql('postgres', <<'SQL'),
SELECT c.relkind, c.relowner::regrole, c.relrowsecurity, c.relforcerowsecurity, c.relacl::text,
	(SELECT concat(attstorage, attcompression) FROM pg_attribute WHERE attrelid = c.oid AND attname = 'doc'),
	(SELECT string_agg(polname::text, ',' ORDER BY polname) FROM pg_policy WHERE polrelid = c.oid),
	(SELECT count(*) FROM pg_index WHERE indrelid = c.oid)
FROM pg_class c WHERE c.relname = 'Items_0'
SQL
	'r|keeper|t|t|{keeper=arwdDxt/keeper,app=a*r*/keeper}|ep|mine,never|1',
	'a partition on the worker has storage, owner, privileges, policies, index');

# Row security holds for whoever asks the partition itself.
$w1->safe_psql('postgres', q{INSERT INTO "My Schema"."Items" (id) VALUES (1), (2), (3)});
my $visible = q{SET ROLE app; SELECT count(*) FROM "My Schema"."Items_0"};
is($w1->safe_psql('postgres', $visible), 0, 'policies protect a partition on its worker');

# A schema that is missing there comes with its owner and privileges.
$coordinator->safe_psql('postgres', <<'SQL');
CREATE SCHEMA fresh AUTHORIZATION keeper;
GRANT USAGE ON SCHEMA fresh TO app;
CREATE TABLE fresh.t (id int) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table('fresh.t', 1);
SQL
is( $w1->safe_psql('postgres',
		q{SELECT nspowner::regrole, nspacl FROM pg_namespace WHERE nspname = 'fresh'}),
	'keeper|{keeper=UC/keeper,app=U/keeper}', 'a missing schema is created');
$coordinator->safe_psql('postgres', 'DROP TABLE fresh.t');

# ----------------------------------------------------------------------
# A second worker sees what exists
# ----------------------------------------------------------------------

fails("SELECT vecdist.add_worker('w2', '$hosts{w2}')",
	'42704', 'role "app" does not exist|role "keeper" does not exist',
	'a worker without the roles');
$w2->safe_psql('postgres', q{CREATE ROLE app LOGIN; CREATE ROLE keeper;
	CREATE TYPE mood AS ENUM ('calm'); CREATE SCHEMA "My Schema" AUTHORIZATION keeper;
	GRANT USAGE ON SCHEMA "My Schema" TO app; CREATE TABLE "My Schema".allowed (who name)});
$w2->safe_psql('postgres', 'CREATE TABLE "My Schema"."Items_1" ()');
fails("SELECT vecdist.add_worker('w2', '$hosts{w2}')",
	'42P07', '"Items_1" already exists on worker "w2"',
	'a worker that has a table of the name');
$w2->safe_psql('postgres', 'DROP TABLE "My Schema"."Items_1"');

# A host that means something else on each server: a socket in its own data
# directory.
my $everywhere = '/proc/self/cwd:' . $w2->port;
my $socket = '.s.PGSQL.' . $w2->port;
symlink $w2->host . "/$socket", $coordinator->data_dir . "/$socket";
fails("SELECT vecdist.add_worker('w2', '$everywhere')",
	'08001', 'remote command on worker "w1"', 'hosts that w1 cannot reach');
symlink $coordinator->host . '/.s.PGSQL.' . $coordinator->port,
  $w1->data_dir . "/$socket";
fails(
	"SELECT vecdist.add_worker('w2', '$everywhere')", '55000',
	'hosts of worker "w2" are not the same server everywhere.*From worker "w1"',
	'hosts that are another server for w1');

$coordinator->safe_psql('postgres',
	"SELECT vecdist.add_worker('w2', '$hosts{w2}')");
is($w2->safe_psql('postgres', $definition), $here,
	'a new worker has the existing table');
is( $w2->safe_psql('postgres', 'SELECT name, is_local FROM vecdist.workers ORDER BY 1'),
	"w1|f\nw2|t", 'it knows the other worker');
is( $w1->safe_psql('postgres', 'SELECT name, is_local FROM vecdist.workers ORDER BY 1'),
	"w1|t\nw2|f", 'and the other worker knows it');

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE spread (id int, v vector(2)) PARTITION BY HASH (id);
CREATE TABLE plenty (id int) PARTITION BY HASH (id);
CREATE TABLE narrow (id int) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table('spread', partitions => 5);
SELECT vecdist.create_distributed_table('plenty');
SELECT vecdist.create_distributed_table('narrow', 2, workers => ARRAY['w2']);
SQL
my $placement = q{SELECT relation, string_agg(worker, ',' ORDER BY partition::text)
	FROM vecdist.partitions WHERE relation <> '"My Schema"."Items"'::regclass GROUP BY 1 ORDER BY relation::text};
is( $coordinator->safe_psql('postgres', $placement),
	"narrow|w2,w2\nplenty|w1,w2,w1,w2,w1,w2,w1,w2\nspread|w1,w2,w1,w2,w1",
	'round robin over all workers or the chosen ones');
is($w2->safe_psql('postgres', $placement),
	$coordinator->safe_psql('postgres', $placement),
	'all servers agree on the placement');
is( $coordinator->safe_psql('postgres', q{SELECT name, partitions FROM vecdist.workers ORDER BY 1}),
	$w1->safe_psql('postgres', q{SELECT name, partitions FROM vecdist.workers ORDER BY 1}),
	'and on how many partitions each worker has');

# A role that the policies concern sees its own rows, whichever server it asks
# and whether it asks for the table or a partition.
$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE secrets (id int, who name) PARTITION BY HASH (id);
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secrets USING (who = current_user);
GRANT SELECT ON secrets TO app;
SELECT vecdist.create_distributed_table('secrets', 4);
INSERT INTO secrets SELECT i, CASE WHEN i % 2 = 0 THEN 'app' ELSE 'keeper' END FROM generate_series(1, 1000) i;
SQL
foreach my $worker (qw(w1 w2))
{
	my $mapping = "CREATE USER MAPPING FOR app SERVER $worker OPTIONS (password_required 'false')";
	$coordinator->safe_psql('postgres',
		"$mapping; SELECT vecdist.run_on_workers(\$\$$mapping\$\$)");
}
foreach my $server (@servers)
{
	is( $server->safe_psql('postgres',
			q{SET ROLE app; SELECT count(*), count(*) FILTER (WHERE who = 'app') FROM secrets}),
		'500|500', 'row security of the table on ' . $server->name);
	foreach my $leaf (0 .. 3)
	{
		my ($status, $count, $errors) = $server->psql('postgres',
			"SET ROLE app; SELECT count(*) FILTER (WHERE who <> 'app') FROM secrets_$leaf");
		ok($errors =~ /permission denied/ || $count eq '0',
			"row security of partition $leaf on " . $server->name);
	}
}
$coordinator->safe_psql('postgres', 'DROP TABLE secrets');

fails("SELECT vecdist.create_distributed_table('spread')",
	'42710', 'distributed already', 'a second time');

# ----------------------------------------------------------------------
# Ranges
# ----------------------------------------------------------------------

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE ranges (day date, v vector(2)) PARTITION BY RANGE (day);
CREATE INDEX ranges_day ON ranges (day);
SELECT vecdist.create_distributed_table('ranges');
SELECT vecdist.create_partition('ranges', 'ranges_old', $$FOR VALUES FROM (MINVALUE) TO (date '2000-01-01' + 1)$$, 'w2');
SQL

# The same by plain SQL
$w1->safe_psql('postgres',
	q{CREATE TABLE ranges_new PARTITION OF ranges FOR VALUES FROM ('2000-01-02') TO (MAXVALUE)});
$_->safe_psql('postgres',
	q{CREATE FOREIGN TABLE ranges_new PARTITION OF ranges FOR VALUES FROM ('2000-01-02') TO (MAXVALUE) SERVER w1})
  foreach $coordinator, $w2;
my $ranges = q{SELECT partition, worker, bound FROM vecdist.partitions WHERE relation = 'ranges'::regclass ORDER BY partition::text};
is( $coordinator->safe_psql('postgres', $ranges),
	"ranges_new|w1|FOR VALUES FROM ('2000-01-02') TO (MAXVALUE)\n"
	  . "ranges_old|w2|FOR VALUES FROM (MINVALUE) TO ('2000-01-02')",
	'range partitions, by function and by plain SQL');
is($_->safe_psql('postgres', $ranges), $coordinator->safe_psql('postgres', $ranges),
	$_->name . ' has them too')
  foreach $w1, $w2;
is( $w1->safe_psql('postgres',
		q{SELECT count(*) FROM pg_index WHERE indrelid = 'ranges_new'::regclass}),
	1, 'a partition made by plain SQL has the index');

fails(q{SELECT vecdist.create_partition('ranges', 'p', 'FOR VALUES IN (1)', 'w1')},
	'42P16', 'bound', 'bound of the wrong kind');
fails(q{SELECT vecdist.create_partition('ranges', 'p', 'DEFAULT SERVER w2; DROP TABLE ranges --', 'w1')},
	'42601', 'invalid partition bound', 'something else than a bound');
fails(q{SELECT vecdist.create_partition('ranges', 'p', 'DEFAULT', 'nobody')},
	'42704', 'nobody', 'partition on no worker');
fails(q{SELECT vecdist.create_partition('ranges', '', 'DEFAULT', 'w1')},
	'42602', 'invalid partition name', 'partition without name');
fails(q{SELECT vecdist.create_partition('pg_class', 'p', 'DEFAULT', 'w1')},
	'42809', 'not a distributed table', 'partition of something else');
$w1->safe_psql('postgres', 'CREATE TABLE p ()');
fails(q{SELECT vecdist.create_partition('ranges', 'p', 'DEFAULT', 'w2')},
	'42P07', '"p" already exists on worker "w1"', 'partition name taken there');
$w1->safe_psql('postgres', 'DROP TABLE p');

$coordinator->safe_psql('postgres', q{SELECT vecdist.drop_partition('ranges_old')});
is( $_->safe_psql('postgres', q{SELECT to_regclass('ranges_old') IS NULL}), 't',
	'drop_partition reaches ' . $_->name)
  foreach @servers;
fails(q{SELECT vecdist.drop_partition('pg_class')},
	'42809', 'not a partition', 'drop_partition of something else');

# ----------------------------------------------------------------------
# run_on_workers
# ----------------------------------------------------------------------

is( $coordinator->safe_psql('postgres',
		q{SELECT * FROM vecdist.run_on_workers('CREATE TABLE note (a int, b text)')}),
	"w1|CREATE TABLE\nw2|CREATE TABLE", 'result of a command is its tag');
is( $coordinator->safe_psql('postgres',
		q{SELECT * FROM vecdist.run_on_workers($$INSERT INTO note VALUES (1, 'a b'), (2, NULL); SELECT a FROM note ORDER BY a$$)}),
	"w1|1\nw1|2\nw2|1\nw2|2", 'several statements; the last one\'s rows');
is( $coordinator->safe_psql('postgres',
		q{SELECT * FROM vecdist.run_on_workers('SELECT * FROM note ORDER BY a')}),
	qq{w1|(1,"a b")\nw1|(2,)\nw2|(1,"a b")\nw2|(2,)}, 'several columns as a row');
is( $coordinator->safe_psql('postgres',
		q{SELECT * FROM vecdist.run_on_workers('SELECT FROM note WHERE false')}),
	"w1|SELECT 0\nw2|SELECT 0", 'no rows');
is( $coordinator->safe_psql('postgres',
		q{SET search_path = "My Schema", pg_catalog; SELECT * FROM vecdist.run_on_workers('SELECT current_setting($$search_path$$)')}),
	qq{w1|"My Schema", pg_catalog\nw2|"My Schema", pg_catalog}, 'the caller\'s search_path');
is( $coordinator->safe_psql('postgres', <<'SQL'),
BEGIN; SELECT * FROM vecdist.run_on_workers('DROP TABLE note'); ROLLBACK;
SELECT * FROM vecdist.run_on_workers('SELECT count(*) FROM note');
SQL
	"w1|DROP TABLE\nw2|DROP TABLE\nw1|2\nw2|2", 'ROLLBACK undoes it on the workers');
is( $coordinator->safe_psql('postgres', <<'SQL'),
DO $$ BEGIN
	PERFORM vecdist.run_on_workers('DELETE FROM note');
	RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN NULL; END $$;
SELECT * FROM vecdist.run_on_workers('SELECT count(*) FROM note');
SQL
	"w1|2\nw2|2", 'so does the end of a subtransaction');
fails(q{SELECT vecdist.run_on_workers('SELECT 1/(a - 1) FROM note')},
	'22012', 'division by zero.*w[12]', 'an error names worker and keeps its code');
fails(q{SELECT vecdist.run_on_workers('VACUUM note')},
	'25001', 'VACUUM cannot run inside a transaction block', 'VACUUM');
fails(q{SELECT vecdist.run_on_workers($$ $$)}, '22023', 'no statement', 'no statement');
fails(q{SELECT vecdist.run_on_workers('SELEC 1')}, '42601', 'syntax error', 'syntax');
foreach my $statement ('COMMIT', 'ROLLBACK', 'SAVEPOINT a', "PREPARE TRANSACTION ''x''",
	'SET search_path = public', 'SET LOCAL ROLE app', 'RESET ALL', 'DISCARD ALL',
	'DEALLOCATE ALL', 'COPY note FROM STDIN', 'LISTEN a', 'SELECT 1; COMMIT')
{
	fails("SELECT vecdist.run_on_workers('$statement')",
		'0A000', 'cannot be run on workers', "run_on_workers('$statement')");
}
($rc, undef, $stderr) =
  $w1->psql('postgres', q{SELECT vecdist.run_on_workers('SELECT 1')});
like($stderr, qr/on a worker/, 'run_on_workers on a worker');
fails(q{BEGIN READ ONLY; SELECT vecdist.run_on_workers('SELECT 1')},
	'25006', 'read-only', 'in a read-only transaction');

# ----------------------------------------------------------------------
# Ordinary roles
# ----------------------------------------------------------------------

foreach my $call (
	"add_worker('w3', 'x')", "remove_worker('w1')",
	"run_on_workers('SELECT 1')", "create_distributed_table('pg_class')",
	"create_partition('pg_class', 'p', 'DEFAULT', 'w1')",
	"drop_partition('pg_class')", "define_worker('x', '{}', '{}')",
	"check_worker('w1', '', '')", "forget_worker('w1')", 'leave_cluster()')
{
	fails("SET ROLE app; SELECT vecdist.$call", '42501', 'permission denied',
		"an ordinary role: $call");
}
is( $coordinator->safe_psql('postgres',
		'SET ROLE app; SELECT count(*) FROM vecdist.workers'),
	2, 'an ordinary role sees the workers');
is( $coordinator->safe_psql('postgres', <<'SQL'), '', 'every public object has a comment');
SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vecdist') AND deptype = 'e'
AND classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
AND pg_describe_object(classid, objid, 0) LIKE '%vecdist.%'
AND obj_description(objid, (SELECT relname FROM pg_class WHERE oid = classid)) IS NULL
SQL

# ----------------------------------------------------------------------
# Passwords
# ----------------------------------------------------------------------

# Another worker refuses the new one: the message names the command there, but
# must not show the password that travels with it.
$w2->safe_psql('postgres', 'CREATE DATABASE third');
$w2->safe_psql('third', 'CREATE EXTENSION vecdist');
$w1->safe_psql('postgres',
	"CREATE SERVER w3 FOREIGN DATA WRAPPER vecdist_fdw OPTIONS (hosts 'x')");
my $secret = 'hush-hush';
$stderr = fails(
	"SELECT vecdist.add_worker('w3', '$hosts{w2}', 'third', 'postgres', '$secret')",
	'42710', 'remote command on worker "w1".*define_worker', 'with a password');
unlike($stderr, qr/$secret/, 'the password is not in the message');
$w1->safe_psql('postgres', 'DROP SERVER w3');
unlike($coordinator->safe_psql('postgres',
		'SELECT * FROM vecdist.workers, vecdist.partitions'), qr/password/,
	'views show no passwords');

# ----------------------------------------------------------------------
# remove_worker
# ----------------------------------------------------------------------

fails("SELECT vecdist.remove_worker('nobody')",
	'42704', 'does not exist', 'remove a worker that is none');
fails("SELECT vecdist.remove_worker('w2')",
	'55006', 'holds partitions', 'remove a worker with partitions');
$coordinator->safe_psql('postgres', 'DROP TABLE spread, plenty, narrow');
$w2->safe_psql('postgres',
	"BEGIN; CREATE TABLE in_doubt (); PREPARE TRANSACTION 'vecdist_1_1_1_1_1'");
fails("SELECT vecdist.remove_worker('w2')",
	'55006', 'prepared transactions.*recover_prepared_transactions',
	'remove a worker with a transaction in doubt');
$w2->safe_psql('postgres', "ROLLBACK PREPARED 'vecdist_1_1_1_1_1'");
$before = snapshot();
$coordinator->safe_psql('postgres', "BEGIN; SELECT vecdist.remove_worker('w2'); ROLLBACK");
is(snapshot(), $before, 'ROLLBACK undoes remove_worker on all servers');
$coordinator->safe_psql('postgres', "SELECT vecdist.remove_worker('w2')");
is( $w2->safe_psql('postgres', <<'SQL'), '0|0|0|t', 'a removed worker knows nothing of the cluster');
SELECT (SELECT count(*) FROM vecdist.local_worker), (SELECT count(*) FROM vecdist.workers),
	(SELECT count(*) FROM vecdist.distributed_table), to_regclass('"My Schema"."Items"') IS NULL
SQL
is( $_->safe_psql('postgres', 'SELECT name FROM vecdist.workers'), 'w1',
	$_->name . ' has forgotten it')
  foreach $coordinator, $w1;
$coordinator->safe_psql('postgres', "SELECT vecdist.add_worker('w2', '$hosts{w2}')");
is($w2->safe_psql('postgres', $ranges), $coordinator->safe_psql('postgres', $ranges),
	'it can be added again');

# A worker that is gone for good, with its partitions
$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE lost (id int) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table('lost', 2);
INSERT INTO lost SELECT generate_series(1, 100);
SQL
$w2->stop('immediate');
@servers = ($coordinator, $w1);
fails("SELECT vecdist.remove_worker('w2', force => true)",
	'55006', 'holds partitions', 'a lost worker with partitions');
fails("SELECT vecdist.drop_partition('lost_1')",
	'08(001|006)', 'w2', 'a partition whose worker does not answer');
$coordinator->safe_psql('postgres',
	"SELECT vecdist.drop_partition('lost_1', force => true)");
fails("SELECT vecdist.remove_worker('w2')",
	'08(001|006)', 'w2', 'a worker that does not answer');
$coordinator->safe_psql('postgres', <<'SQL');
SELECT vecdist.remove_worker('w2', force => true);
SELECT vecdist.create_partition('lost', 'lost_1', 'FOR VALUES WITH (modulus 2, remainder 1)', 'w1');
INSERT INTO lost SELECT generate_series(1, 100);
SQL
is( $w1->safe_psql('postgres', 'SELECT name, partitions FROM vecdist.workers'),
	$coordinator->safe_psql('postgres', 'SELECT name, partitions FROM vecdist.workers'),
	'force removes a lost worker');
is( $w1->safe_psql('postgres', 'SELECT count(DISTINCT id) FROM lost'),
	100, 'a lost partition can be replaced');

done_testing();

# The extension vector that stands in for pgvector: what dumps and clients made
# for pgvector say works on vecdist.  A script as pg_dump writes it restores,
# searches use its hnsw indexes, hnsw.* settings count where ours are not set,
# on workers too, ivfflat is refused with a hint, and pg_dump and DROP
# EXTENSION see two extensions of which one needs the other.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use VecdistTest;

my $cluster = make_cluster(workers => 1, extension => 0, register => 0);
my $server  = $cluster->coordinator;

$server->safe_psql('postgres', 'CREATE DATABASE empty');

# The tables are small; we want to see the indexes used.
$_->safe_psql('postgres', 'ALTER DATABASE postgres SET enable_seqscan = off')
  foreach $cluster->servers;

# Run SQL and return its SQLSTATE and messages.
sub failure
{
	my ($database, $sql) = @_;
	my (undef, undef, $stderr) =
	  $server->psql($database, "\\set VERBOSITY verbose\n$sql");
	return $stderr;
}

# ----------------------------------------------------------------------
# CREATE EXTENSION
# ----------------------------------------------------------------------

like(failure('empty', 'CREATE EXTENSION IF NOT EXISTS vector'),
	qr/required extension "vecdist" is not installed.*CREATE EXTENSION \.\.\. CASCADE/s,
	'vecdist comes first');
$server->safe_psql('empty', <<'SQL');
CREATE SCHEMA "My types";
CREATE EXTENSION vecdist SCHEMA "My types";
SQL
like(failure('empty', 'CREATE EXTENSION vector WITH SCHEMA public'),
	qr/55000: extension "vector" must be in the schema.*WITH SCHEMA "My types"/s,
	'the schema must be that of the types');
$server->safe_psql('empty', 'CREATE EXTENSION vector WITH SCHEMA "My types"');
$server->safe_psql('empty', <<'SQL');
DROP EXTENSION vecdist CASCADE;
CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA "My types" CASCADE;
SQL
is( $server->safe_psql('empty',
		q{SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension WHERE extnamespace = '"My types"'::regnamespace}),
	'vecdist vector', 'CASCADE creates both in one schema');

# Who may create objects in a database may create it.
$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE ROLE app LOGIN;
GRANT CREATE ON DATABASE postgres TO app;
SET ROLE app;
CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
CREATE EXTENSION IF NOT EXISTS vector;
SQL
like( $server->safe_psql('postgres',
		q{SELECT installed_version FROM pg_available_extensions WHERE name = 'vector'}),
	qr/^0\.8\./, 'it shows a version of pgvector');

# ----------------------------------------------------------------------
# A dump
# ----------------------------------------------------------------------

my $rows = join '',
  map { "$_\t[" . join(',', map { $_ % 509 } $_, $_ * 7, $_ * 31) . "]\t["
	  . join(',', $_ % 13, $_ % 7) . "]\n" } 1 .. 500;
my $dump = <<"SQL";
SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods';
CREATE FUNCTION public.nearest(q public.vector, k integer) RETURNS SETOF integer
    LANGUAGE sql STABLE
    AS \$\$ SELECT id FROM public.items ORDER BY embedding OPERATOR(public.<->) q LIMIT k \$\$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.items (
    id integer NOT NULL,
    embedding public.vector(3),
    small public.halfvec(2) DEFAULT '[0,1]'::public.halfvec
);
ALTER TABLE ONLY public.items ALTER COLUMN embedding SET STORAGE PLAIN;
COPY public.items (id, embedding, small) FROM stdin;
$rows\\.

ALTER TABLE ONLY public.items ADD CONSTRAINT items_pkey PRIMARY KEY (id);
CREATE INDEX items_embedding ON public.items USING hnsw (embedding public.vector_l2_ops) WITH (m='8', ef_construction='32');
CREATE INDEX items_small ON public.items USING hnsw (small public.halfvec_cosine_ops);
CREATE INDEX items_bits ON public.items USING hnsw (((public.binary_quantize(embedding))::bit(3)) public.bit_hamming_ops);
SQL
$server->safe_psql('postgres', $dump);

my $query = '[10.5,70.25,300.125]';
like( $server->safe_psql('postgres',
		"EXPLAIN SELECT id FROM items ORDER BY embedding <-> '$query' LIMIT 5"),
	qr/items_embedding/, 'the restored index is used');
same_topk(topk($server, 'items', $query, 20),
	exact_topk($server, 'items', $query, 20), 'and finds the nearest');
is( $server->safe_psql('postgres', "SELECT count(*) FROM nearest('$query', 7)"),
	'7', 'a restored function searches');
is( $server->safe_psql('postgres',
		"SELECT m || ' ' || ef_construction || ' ' || rows FROM vhnsw_info('items_embedding')"),
	'8 32 500', 'functions on indexes know it');
is( $server->safe_psql('postgres',
		"SELECT * FROM vhnsw_check('items_embedding', heap => true)"),
	'', 'it is in order');
is( $server->safe_psql('postgres', <<'SQL'), 't', 'all its operator classes are valid');
SELECT bool_and(amvalidate(c.oid)) AND count(*) =
    (SELECT count(*) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'vhnsw')
FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'hnsw'
SQL

is( $server->safe_psql('postgres', <<'SQL'), join(' ',
SELECT string_agg(opcname, ' ' ORDER BY opcname) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod
WHERE amname = 'hnsw' AND NOT opcdefault
SQL
		'bit_hamming_ops bit_jaccard_ops',
		map { my $type = $_; map { "${type}_${_}_ops" } qw(cosine ip l1 l2) } qw(halfvec sparsevec vector)),
	'they have the names of those of pgvector');

# ----------------------------------------------------------------------
# Settings
# ----------------------------------------------------------------------

# The ef of a search, as EXPLAIN ANALYZE tells, after some settings.
sub ef
{
	my ($settings, $limit) = @_;
	my $plan = $server->safe_psql('postgres', <<"SQL");
$settings;
EXPLAIN (ANALYZE, COSTS off, TIMING off)
SELECT id FROM items ORDER BY embedding <-> '$query' LIMIT 5
SQL
	return $plan =~ /\bef[:=]? ?(\d+)/i ? $1 : $plan;
}

is(ef('SELECT 1'),                    40, 'ef by default');
is(ef('SET hnsw.ef_search = 77'),     77, 'hnsw.ef_search counts');
is(ef('BEGIN; SET LOCAL hnsw.ef_search = 78'), 78, 'and SET LOCAL');
is(ef('BEGIN; SET LOCAL hnsw.ef_search = 78; ROLLBACK'), 40, 'until the end of the transaction');
is(ef('SET hnsw.ef_search = 77; RESET hnsw.ef_search'), 40, 'or RESET');
is(ef('SET hnsw.ef_search = 77; SET vhnsw.ef_search = 40'), 40, 'vhnsw.ef_search wins, whatever its value');
is(ef('SET vhnsw.ef_search = 50; RESET vhnsw.ef_search; SET hnsw.ef_search = 77'), 77, 'until it is reset');
$server->safe_psql('postgres', 'ALTER ROLE app SET hnsw.ef_search = 79');
is( $server->safe_psql('postgres', 'SHOW hnsw.ef_search', extra_params => [ '-U', 'app' ]),
	79, 'ALTER ROLE SET takes it');

like(failure('postgres', <<"SQL"), qr/22023: invalid value for parameter "hnsw\.$_->[0]": "$_->[1]"/, "hnsw.$_->[0] = $_->[1] is an error")
SET hnsw.$_->[0] = '$_->[1]';
SELECT id FROM items ORDER BY embedding <-> '$query' LIMIT 5;
SQL
  foreach [ 'ef_search', 0 ], [ 'ef_search', 1001 ], [ 'ef_search', 'many' ],
  [ 'iterative_scan', 'on' ], [ 'max_scan_tuples', 0 ],
  [ 'scan_mem_multiplier', 0 ];

is($server->safe_psql('postgres', 'SET hnsw.efsearch = 10; SELECT 1'), 1, 'a name that does not exist is taken');

my $filtered = "SELECT count(*) FROM (SELECT id FROM items WHERE id % 50 = 0 ORDER BY embedding <-> '$query' LIMIT 10) s";
my $off = $server->safe_psql('postgres',
	"SET vhnsw.enable_scan = off; SET enable_sort = off; SET hnsw.ef_search = 10; SET hnsw.iterative_scan = off; $filtered");
cmp_ok($off, '<', 10, 'hnsw.iterative_scan = off ends the search');
is( $server->safe_psql('postgres',
		"SET vhnsw.enable_scan = off; SET enable_sort = off; SET hnsw.ef_search = 10; SET hnsw.iterative_scan = strict_order; SET hnsw.max_scan_tuples = 20000; SET hnsw.scan_mem_multiplier = 2; $filtered"),
	10, 'with the other settings it goes on');
cmp_ok(
	$server->safe_psql('postgres',
		"SET hnsw.ef_search = 10; SET hnsw.max_scan_tuples = 30; SET vhnsw.filter_strategy = search; $filtered"),
	'<', 10, 'hnsw.max_scan_tuples ends the search');
is( $server->safe_psql('postgres',
		"SET hnsw.ef_search = 10; SET hnsw.max_scan_tuples = 30; SET vhnsw.max_scan_tuples = 0; SET vhnsw.filter_strategy = search; $filtered"),
	10, 'unless vhnsw.max_scan_tuples is set');

# ----------------------------------------------------------------------
# ivfflat
# ----------------------------------------------------------------------

like( failure('postgres', 'CREATE INDEX ON items USING ivfflat (embedding vector_l2_ops) WITH (lists = 100)'),
	qr/0A000: access method "ivfflat" is not supported.*HINT: +Write USING hnsw/s,
	'ivfflat is refused');
is($server->safe_psql('postgres', 'SET ivfflat.probes = 10; SELECT 1'), 1, 'its settings are ignored');

# ----------------------------------------------------------------------
# Distributed tables
# ----------------------------------------------------------------------

$cluster->worker('w1')->safe_psql('postgres',
	'CREATE EXTENSION vector CASCADE');
$cluster->register('w1');
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE spread (id integer, embedding vector(3)) PARTITION BY HASH (id);
SELECT vecdist.create_distributed_table('spread', partitions => 2);
CREATE INDEX ON spread USING hnsw (embedding vector_l2_ops);
INSERT INTO spread SELECT id, embedding FROM items;
ANALYZE spread;
SQL
my $plan = $server->safe_psql('postgres', <<"SQL");
SET hnsw.ef_search = 77;
EXPLAIN (ANALYZE, COSTS off, TIMING off)
SELECT id FROM spread ORDER BY embedding <-> '$query' LIMIT 5
SQL
like($plan, qr/spread_\w+_embedding_idx/, 'a worker names its hnsw index');
like($plan, qr/ef[:=]? ?77/, 'and searches with the ef of the coordinator');
same_topk(topk($server, 'spread', $query, 20),
	exact_topk($server, 'items', $query, 20), 'it finds the nearest');
$server->safe_psql('postgres', 'DROP TABLE spread');

# ----------------------------------------------------------------------
# pg_dump and DROP EXTENSION
# ----------------------------------------------------------------------

sub dump_of
{
	my ($database) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$database.sql";
	$server->command_ok([ 'pg_dump', '-T', 'vecdist.*', '-f', $file, $server->connstr($database) ],
		"pg_dump of $database");
	my $text = slurp_file($file);
	$text =~ s/^\\(un)?restrict .*\n//mg;
	return ($file, $text);
}

my ($file, $text) = dump_of('postgres');
like($text, qr/CREATE EXTENSION IF NOT EXISTS vecdist WITH SCHEMA public.*CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public/s,
	'a dump creates vecdist, then vector');
$server->safe_psql('postgres', 'CREATE DATABASE restored');
$server->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $server->connstr('restored'), '-f', $file ],
	'it restores');
is((dump_of('restored'))[1], $text, 'and dumps to the same');

like(failure('postgres', 'DROP EXTENSION vector'),
	qr/2BP01: .*index items_embedding depends on/s, 'DROP EXTENSION sees the indexes');
like(failure('postgres', 'DROP EXTENSION vecdist'),
	qr/2BP01: .*extension vector depends on/s, 'and the other extension');
$server->safe_psql('postgres', 'DROP EXTENSION vector CASCADE');
is( $server->safe_psql('postgres',
		q{SELECT count(embedding), (SELECT count(*) FROM pg_indexes WHERE tablename = 'items') FROM items}),
	'500|1', 'CASCADE drops the indexes, not the data');

done_testing();

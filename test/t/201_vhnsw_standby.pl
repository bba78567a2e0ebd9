# A standby at the same replay position gives the same answers as its primary.
#
# Inserts, deletes, vacuum and reuse of slots run on the primary; after each
# step rows, distances and the counters of the searches are compared, so the
# standby walks the same way through the same graph.  A cursor that is open on
# the standby while slots are freed and reused returns exactly the rows of its
# snapshot.  Indexes of sparse vectors, bit strings and under L1 do the same.  A
# promoted standby keeps everything.

use strict;
use warnings;

use Test::More;
use VecdistTest;

my $dims    = 12;
my $primary = make_server('primary', conf => "autovacuum = off\n");
$primary->safe_psql('postgres', <<"SQL");
CREATE EXTENSION vecdist;
CREATE TABLE queries (id integer, embedding vector($dims));
CREATE TABLE items (id serial, embedding vector($dims));
SELECT setval('items_id_seq', 1000000);
SQL
load_vectors($primary, 'queries', random_vectors(25, $dims, seed => 21));
my $vectors = random_vectors(6000, $dims, seed => 22, clusters => 40, spread => 0.2);
my $loaded  = 0;

my $standby = make_standby('standby', $primary,
	conf => "hot_standby_feedback = off\nmax_standby_streaming_delay = -1\n");

sub load
{
	my ($n) = @_;

	load_vectors($primary, 'items', [ @$vectors[ $loaded .. $loaded + $n - 1 ] ],
		first => $loaded + 1);
	$loaded += $n;
	return;
}

# All answers in full precision, and what the searches have done for them.
sub answers
{
	my ($server, $ef) = @_;

	return rows($server, <<"SQL");
SET extra_float_digits = 3;
SET enable_seqscan = off;
SET enable_sort = off;
SET vhnsw.ef_search = $ef;
SELECT q.id, near.id, near.d FROM queries q,
    LATERAL (SELECT id, embedding <-> q.embedding AS d FROM items
             ORDER BY embedding <-> q.embedding LIMIT 15) near;
SELECT * FROM vhnsw_session_stats()
SQL
}

sub compare
{
	my ($step) = @_;

	wait_caught_up($primary, $standby);
	foreach my $ef (15, 60)
	{
		my $there = answers($primary, $ef);

		is_deeply(answers($standby, $ef), $there, "$step: same answers at ef $ef");
		cmp_ok(scalar @$there, '>', 25, "$step: there are answers");
	}
	foreach my $server ($primary, $standby)
	{
		is($server->safe_psql('postgres', "SELECT count(*) FROM vhnsw_check('items_v')"),
			0, "$step: no violated invariant on " . $server->name);
	}
	return;
}

# ----------------------------------------------------------------------
# Build and inserts
# ----------------------------------------------------------------------

load(1500);
$primary->safe_psql('postgres',
	'CREATE INDEX items_v ON items USING vhnsw (embedding vector_l2_ops)');
compare('built');

load(500);
$primary->safe_psql('postgres', <<'SQL');
INSERT INTO items (embedding) SELECT embedding FROM items WHERE id % 10 = 3;
INSERT INTO items (embedding) SELECT NULL FROM generate_series(1, 20);
SQL
compare('inserted');

# ----------------------------------------------------------------------
# A cursor on the standby while the primary frees and reuses slots
# ----------------------------------------------------------------------

my $free_before = $primary->safe_psql('postgres', <<'SQL');
DELETE FROM items WHERE id % 5 = 1;
SELECT free_slots FROM vhnsw_info('items_v')
SQL
wait_caught_up($primary, $standby);
my $visible = $standby->safe_psql('postgres', 'SELECT count(*) FROM items');

my $session = $standby->background_psql('postgres');
$session->query_safe(<<"SQL");
SET enable_seqscan = off;
SET enable_sort = off;
SET vhnsw.ef_search = 10;
BEGIN;
DECLARE c CURSOR FOR SELECT id, embedding <-> (SELECT embedding FROM queries WHERE id = 1) AS d
    FROM items ORDER BY embedding <-> (SELECT embedding FROM queries WHERE id = 1);
SQL
my @fetched = split /\n/, $session->query_safe('FETCH 30 FROM c');

$primary->safe_psql('postgres', 'VACUUM items');
cmp_ok(
	$primary->safe_psql('postgres', "SELECT free_slots FROM vhnsw_info('items_v')"),
	'>', $free_before, 'vacuum freed slots');
load(600);

# The cursor pins the page of the row it fetched last, and replay waits for it
# if vacuum has pruned that page.  So it has to move on.
my $end = $primary->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
while ($standby->safe_psql('postgres', "SELECT pg_last_wal_replay_lsn() < '$end'") eq 't')
{
	push @fetched, $session->query_safe('FETCH 1 FROM c');
}
push @fetched, split /\n/, $session->query_safe('FETCH ALL FROM c');
$session->query_safe('COMMIT');
my $late = $session->query_safe('SELECT late_rows FROM vhnsw_session_stats()');
$session->quit;

my %seen;
my $last  = -1;
my $order = 0;
foreach my $row (@fetched)
{
	my ($id, $distance) = split /\|/, $row;

	$seen{$id}++;
	next if $distance eq '';
	$order++ if $distance < $last;
	$last = $distance;
}

# Some were found too late, and of these some its snapshot does not see.
cmp_ok(scalar keys %seen, '<=', $visible, 'the cursor saw rows of its snapshot');
cmp_ok(scalar(keys %seen) + $late, '>=', $visible, 'it missed what it found too late');
cmp_ok($late, '<', 40, 'and that was little');
is(scalar @fetched, scalar keys %seen, 'the cursor saw none twice');
is($order,            0,        'the cursor saw them in order');
compare('after the cursor');

# ----------------------------------------------------------------------
# Rounds of deletes, vacuum and reuse
# ----------------------------------------------------------------------

foreach my $round (0 .. 1)
{
	$primary->safe_psql('postgres', "DELETE FROM items WHERE id % 4 = $round");
	compare("round $round, deleted");
	$primary->safe_psql('postgres', 'VACUUM items');
	compare("round $round, vacuumed");
	load(300);
	compare("round $round, slots reused");
}

# ----------------------------------------------------------------------
# Codes of other kinds
# ----------------------------------------------------------------------

# column => [type, operator class, operator]
my %columns = (
	s => [ 'sparsevec', 'sparsevec_cosine_ops', '<=>' ],
	b => [ 'bit',       'bit_jaccard_ops',      '<%>' ],
	h => [ 'halfvec',   'halfvec_l1_ops',       '<+>' ]);

sub typed_answers
{
	my ($server, $column) = @_;
	my $operator = $columns{$column}[2];

	return rows($server, <<"SQL");
SET extra_float_digits = 3;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT q.id, near.id, near.d FROM typed q,
    LATERAL (SELECT id, $column $operator q.$column AS d FROM typed
             ORDER BY $column $operator q.$column LIMIT 10) near
WHERE q.id % 50 = 0;
SELECT * FROM vhnsw_session_stats()
SQL
}

sub compare_typed
{
	my ($step) = @_;

	wait_caught_up($primary, $standby);
	foreach my $column (sort keys %columns)
	{
		my $there = typed_answers($primary, $column);

		is_deeply(typed_answers($standby, $column),
			$there, "$columns{$column}[1], $step: same answers");
		cmp_ok(scalar @$there, '>', 50, "$columns{$column}[1], $step: there are answers");
		is($standby->safe_psql('postgres', "SELECT count(*) FROM vhnsw_check('typed_$column')"),
			0, "$columns{$column}[1], $step: no violated invariant");
	}
	return;
}

my $fill_typed = <<"SQL";
INSERT INTO typed
SELECT id, embedding::sparsevec($dims), binary_quantize(embedding)::bit($dims), embedding
FROM items WHERE embedding IS NOT NULL
SQL
$primary->safe_psql('postgres', <<"SQL");
CREATE TABLE typed (id integer, s sparsevec($dims), b bit($dims), h halfvec($dims));
$fill_typed AND id % 2 = 0;
SQL
$primary->safe_psql('postgres',
	"CREATE INDEX typed_$_ ON typed USING vhnsw ($_ $columns{$_}[1])")
  foreach sort keys %columns;
compare_typed('built');
$primary->safe_psql('postgres', "$fill_typed AND id % 6 = 1");
compare_typed('inserted');
$primary->safe_psql('postgres', $_)
  foreach 'DELETE FROM typed WHERE id % 3 = 0', 'VACUUM typed',
  "$fill_typed AND id % 6 = 3";
compare_typed('slots reused');

# ----------------------------------------------------------------------
# Promotion
# ----------------------------------------------------------------------

my $before = answers($primary, 60);
my %typed_before = map { $_ => typed_answers($primary, $_) } keys %columns;
$primary->stop('immediate');
$standby->promote;
is_deeply(answers($standby, 60), $before, 'promoted: same answers');
is_deeply(typed_answers($standby, $_), $typed_before{$_}, "promoted: same answers of $_")
  foreach sort keys %columns;

$standby->safe_psql('postgres', <<'SQL');
DELETE FROM items WHERE id % 3 = 0;
VACUUM items;
INSERT INTO items (embedding) SELECT embedding FROM queries;
SQL
is( $standby->safe_psql('postgres', "SELECT count(*) FROM vhnsw_check('items_v', true)"),
	0, 'promoted: no violated invariant after more changes');
is( $standby->safe_psql('postgres', <<'SQL'), 25, 'promoted: new rows are found');
SET enable_seqscan = off;
SELECT count(*) FROM queries q,
    LATERAL (SELECT embedding FROM items ORDER BY embedding <-> q.embedding LIMIT 1) near
WHERE near.embedding <-> q.embedding = 0
SQL

done_testing();

# Sketches of every storage mode find neighbors, and stay true as lists change.
#
# 3,000 vectors of 160 dimensions whose variance decays, so that a basis is
# learned, for each storage mode and metric, and for vector and halfvec: recall
# stays above floors when the index was built, and (vector, l2 or storage auto)
# after a third of the rows was deleted, vacuumed and inserted again;
# vhnsw_check() proves each time that all sketches are those of their neighbors,
# and with a large ef answers are exact.  Modes differ in size as they say, and
# compact and tiny have codes of 4 bits (not under l1) unless they are told to
# have 8, as they had once.  Data that vary alike in all directions get sketches
# of 1 bit, and where these keep little, larger ones, with a NOTICE.  An index on
# an empty table gets sketches without a basis, and advice.

use strict;
use warnings;

use Test::More;
use VecdistTest;

my $server = make_server('storage', conf => "autovacuum = off\n");

# vec(n, decay): normal deviates, in dimension i times exp(-i / decay)
$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE FUNCTION vec(n bigint, decay float8) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg((sqrt(-2 * ln(u)) * cos(2 * pi() * v) * exp(-i / decay))::float4 ORDER BY i)::vector
    FROM (SELECT i, ((hashint8extended(n * 1000 + i, 1) & 1048575) + 1) / 1048577.0 AS u,
                 (hashint8extended(n * 1000 + i, 2) & 1048575) / 1048576.0 AS v
          FROM generate_series(1, 160) i) s
$$;
CREATE TABLE items (id integer PRIMARY KEY, v vector(160));
INSERT INTO items SELECT i, vec(i, 30) FROM generate_series(1, 3000) i;
CREATE TABLE queries AS SELECT i AS id, vec(100000 + i, 30) AS v FROM generate_series(1, 60) i;
SQL

# The share of the exact 10 nearest that the index finds at this ef.
sub recall
{
	my ($operator, $ef) = @_;

	return $server->safe_psql('postgres', <<"SQL");
SET enable_seqscan = off;
SET vhnsw.ef_search = $ef;
CREATE TEMP TABLE found AS
    SELECT q.id AS query, f.id FROM queries q,
        LATERAL (SELECT id FROM items ORDER BY v $operator q.v LIMIT 10) f;
SET enable_seqscan = on;
SET enable_indexscan = off;
SELECT round(avg((f.id IS NOT NULL)::integer), 4)
FROM (SELECT q.id AS query, e.id FROM queries q,
          LATERAL (SELECT id FROM items ORDER BY v $operator q.v LIMIT 10) e) exact
LEFT JOIN found f USING (query, id);
SQL
}

sub check
{
	my ($name, $operator, %floors) = @_;

	foreach my $ef (sort { $a <=> $b } keys %floors)
	{
		my $recall = recall($operator, $ef);

		cmp_ok($recall, '>=', $floors{$ef}, "$name: recall $recall at ef $ef");
	}
	is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('items_v', true)}),
		'', "$name: vhnsw_check");
	return;
}

my %operators = (l2 => '<->', cosine => '<=>', ip => '<#>', l1 => '<+>');
my %floors = (
	l2     => { 20 => 0.9,  80  => 0.98 },
	cosine => { 20 => 0.9,  80  => 0.98 },
	ip     => { 40 => 0.95, 160 => 0.98 },
	l1     => { 20 => 0.75, 80  => 0.95 });
my %bytes;

# Delete a third of the rows and insert them again.
sub change_rows
{
	$server->safe_psql('postgres', $_)
	  foreach 'DELETE FROM items WHERE id % 3 = 1', 'VACUUM items',
	  'INSERT INTO items SELECT i, vec(i, 30) FROM generate_series(1, 3000) i WHERE i % 3 = 1';
	return;
}

# An index over this type, in this storage mode, for this metric
sub check_mode
{
	my ($type, $storage, $metric) = @_;
	my $name = "$type, $storage, $metric";
	my $bits = $storage =~ /^compact$|^tiny$/ && $metric ne 'l1' ? 4 : 8;

	$server->safe_psql('postgres', <<"SQL");
DROP INDEX IF EXISTS items_v;
CREATE INDEX items_v ON items USING vhnsw (v ${type}_${metric}_ops) WITH (storage = $storage);
SQL
	check("$name, built", $operators{$metric}, %{ $floors{$metric} });
	is($server->safe_psql('postgres', q{SELECT bits_per_dimension FROM vhnsw_info('items_v')}),
		$bits, "$name: $bits bits");
	cmp_ok(recall($operators{$metric}, 600), '>=', 0.9999, "$name: exact with a large ef");
	$bytes{$type}{$storage} //=
	  $server->safe_psql('postgres', q{SELECT bytes_per_row FROM vhnsw_info('items_v')});

	if ($type eq 'vector' && ($storage eq 'auto' || $metric eq 'l2'))
	{
		change_rows();
		check("$name, changed", $operators{$metric},
			map { $_ => $floors{$metric}{$_} - 0.03 } keys %{ $floors{$metric} });
	}
	return;
}

foreach my $type (qw(halfvec vector))
{
	$server->safe_psql('postgres', <<"SQL");
DROP INDEX IF EXISTS items_v;
ALTER TABLE items ALTER v TYPE $type(160) USING v::$type(160);
ALTER TABLE queries ALTER v TYPE $type USING v::$type;
SQL
	foreach my $storage ('auto', 'fast', 'compact', 'compact, code_bits = 8', 'tiny')
	{
		check_mode($type, $storage, $_) foreach qw(l2 cosine ip l1);
	}
}
is_deeply($bytes{halfvec}, $bytes{vector}, 'halfvec takes as much as vector');
cmp_ok($bytes{vector}{fast},    '>', $bytes{vector}{auto},    'fast is larger than auto');
cmp_ok($bytes{vector}{compact}, '<', $bytes{vector}{'compact, code_bits = 8'},
	'compact is smaller than with 8 bits');
cmp_ok($bytes{vector}{'compact, code_bits = 8'}, '<', $bytes{vector}{auto}, '... which is smaller than auto');
cmp_ok($bytes{vector}{tiny},    '<', $bytes{vector}{compact}, 'tiny is smaller still');
is($server->safe_psql('postgres',
		q{SELECT storage, sketch_dimensions, sketch_bits FROM vhnsw_info('items_v')}),
	'tiny|0|0', 'vhnsw_info says so');

# Of 100 dimensions slots are so small that one less on a page makes no room.
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE short AS SELECT id, subvector(v, 1, 100)::vector(100) AS v FROM items;
CREATE INDEX short_auto ON short USING vhnsw (v vector_l2_ops);
CREATE INDEX short_fast ON short USING vhnsw (v vector_l2_ops) WITH (storage = fast);
SQL
is($server->safe_psql('postgres', <<'SQL'), '64|96', 'fast has more dimensions than auto');
SELECT a.sketch_dimensions, f.sketch_dimensions FROM vhnsw_info('short_auto') a, vhnsw_info('short_fast') f
SQL

my ($stdout, $stderr);
$server->psql('postgres',
	'CREATE INDEX ON items USING vhnsw (v vector_l2_ops) WITH (storage = small)',
	stderr => \$stderr);
like($stderr, qr/invalid value for enum option "storage": small.*auto.*tiny/s,
	'another storage is refused');

# All directions alike: nothing can be left out, and bits matter less
$server->safe_psql('postgres', <<'SQL');
DROP INDEX items_v;
TRUNCATE items, queries;
INSERT INTO items SELECT i, vec(i, 1e9) FROM generate_series(1, 2000) i;
INSERT INTO queries SELECT i, vec(100000 + i, 1e9) FROM generate_series(1, 60) i;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
SQL
is($server->safe_psql('postgres', q{SELECT sketch_dimensions, sketch_bits FROM vhnsw_info('items_v')}),
	'128|1', 'a flat spectrum gets sketches of 1 bit');
check('flat', '<->', 300 => 0.9);

# Of 1,600 such dimensions, ten rows one after the other
$server->safe_psql('postgres', <<'SQL');
CREATE TABLE wide AS
SELECT n AS id, a.v || b.v || c.v || d.v || e.v || f.v || g.v || h.v || i.v || j.v AS v
FROM generate_series(1, 2300) n
JOIN items a ON a.id = 1 + n % 2000 JOIN items b ON b.id = 1 + n * 3 % 1999
JOIN items c ON c.id = 1 + n * 5 % 1997 JOIN items d ON d.id = 1 + n * 7 % 1993
JOIN items e ON e.id = 1 + n * 11 % 1987 JOIN items f ON f.id = 1 + n * 13 % 1979
JOIN items g ON g.id = 1 + n * 17 % 1973 JOIN items h ON h.id = 1 + n * 19 % 1951
JOIN items i ON i.id = 1 + n * 23 % 1949 JOIN items j ON j.id = 1 + n * 29 % 1933;
ALTER TABLE wide ALTER v TYPE vector(1600);
SQL
$server->psql('postgres', 'CREATE INDEX wide_v ON wide USING vhnsw (v vector_l2_ops)',
	stderr => \$stderr);
like($stderr, qr/NOTICE:.*wide_v.* uses larger sketches.*The usual ones would keep/s,
	'wide and flat: a NOTICE');
is($server->safe_psql('postgres',
		q{SELECT sketch_dimensions, sketch_bits FROM vhnsw_info('wide_v')}),
	'544|1', '... and more dimensions');

# An index that starts empty
$server->safe_psql('postgres', <<'SQL');
DROP INDEX items_v;
TRUNCATE items, queries;
INSERT INTO queries SELECT i, vec(100000 + i, 30) FROM generate_series(1, 60) i;
CREATE INDEX items_v ON items USING vhnsw (v vector_cosine_ops);
INSERT INTO items SELECT i, vec(i, 30) FROM generate_series(1, 2000) i;
SQL
check('inserted', '<=>', 20 => 0.85, 80 => 0.96);
like($server->safe_psql('postgres', q{SELECT advice FROM vhnsw_info('items_v')}),
	qr/REINDEX advised/, 'REINDEX is advised');
$server->safe_psql('postgres', 'REINDEX INDEX items_v');
is($server->safe_psql('postgres', q{SELECT advice IS NULL FROM vhnsw_info('items_v')}),
	't', 'and heeded');
check('reindexed', '<=>', 20 => 0.9, 80 => 0.98);

done_testing();

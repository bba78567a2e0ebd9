# Blocked builds give good graphs, on data that clustering does not suit too.
#
# Each set of generated vectors is built by clusters: recall stays above a
# floor, and vhnsw_check() finds every element reachable, every sketch true.
# Where clusters do not hold the neighbors, a NOTICE says what was done, and
# recall is kept.  Another one says where searches for elements fail.  The index
# is the same, byte for byte, when it is built again and with scalar arithmetic.
# Small tables are built by searching.
#
# Under inner product, short vectors that point elsewhere than all others are in
# no list of largest products: they are planted, and found.

use strict;
use warnings;

use Test::More;
use VecdistTest;

my $server = make_server('blocked', conf => "autovacuum = off\n");

# random(n, i): uniform in (0, 1); normal(n, i): normal deviate
$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE FUNCTION uniform(n bigint, i bigint) RETURNS float8 LANGUAGE sql IMMUTABLE
    RETURN ((hashint8extended(n * 1000 + i, 1) & 1048575) + 0.5) / 1048576;
CREATE FUNCTION normal(n bigint, i bigint) RETURNS float8 LANGUAGE sql IMMUTABLE
    RETURN sqrt(-2 * ln(uniform(n, i))) * cos(2 * pi() * uniform(n, i + 500));
CREATE TABLE queries (id integer, v vector);
CREATE TABLE exact (query integer, d float8);
SQL

# Build, measure and check; returns what the build said.  'value' is an SQL
# expression for element i of vector n.
sub try_set
{
	my ($name, %set) = @_;
	my ($dims, $rows, $value) = @set{qw(dims rows value)};
	my $metric   = $set{metric} // 'l2';
	my $operator = { l2 => '<->', cosine => '<=>', ip => '<#>' }->{$metric};
	my $query    = $set{query} // $value;
	my $options  = $set{options} // '';
	my ($stdout, $notices);

	$server->safe_psql('postgres', <<"SQL");
DROP TABLE IF EXISTS items;
CREATE TABLE items (id integer, v vector($dims));
INSERT INTO items SELECT n, (SELECT array_agg(($value)::float4 ORDER BY i)::vector
                             FROM generate_series(1, $dims) i)
    FROM generate_series(1, $rows) n;
TRUNCATE queries;
INSERT INTO queries SELECT n, (SELECT array_agg(($query)::float4 ORDER BY i)::vector
                               FROM generate_series(1, $dims) i)
    FROM generate_series($rows + 1, $rows + 50) n;
SQL
	$server->psql('postgres', <<"SQL", stdout => \$stdout, stderr => \$notices);
SET client_min_messages = debug1;
SET vhnsw.build_method = blocked;
CREATE INDEX items_v ON items USING vhnsw (v vector_${metric}_ops) $options;
SQL

	check_recall($name, $operator, $set{floor}, $set{ef});
	is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('items_v', true)}),
		'', "$name: vhnsw_check");
	is($server->safe_psql('postgres', q{SELECT unreachable FROM vhnsw_info('items_v')}),
		0, "$name: all reachable");

	# What the build said is what the index keeps.
	my ($percent) = $notices =~ /lists of index "items_v" hold (\S+) % of the exact neighbors/;
	is($server->safe_psql('postgres', qq{SELECT abs(100 * list_recall - $percent) < 0.051 FROM vhnsw_info('items_v')}),
		't', "$name: recall of lists");
	is($server->safe_psql('postgres', 'SELECT (searches_found < 0.97)::text FROM vhnsw_info(\'items_v\')'),
		$notices =~ /NOTICE:  searches of index "items_v" may miss rows/ ? 'true' : 'false', "$name: said where few are found");

	# With half of the rows gone, what took the place of entries is as good.
	return $notices if !$set{vacuum};
	$server->safe_psql('postgres', 'DELETE FROM items WHERE uniform(id, 0) < 0.5; VACUUM (INDEX_CLEANUP on) items');
	check_recall("$name, half of them deleted", $operator, $set{floor}, $set{ef});
	is($server->safe_psql('postgres', q{SELECT unreachable FROM vhnsw_info('items_v')}), 0, "$name, half of them deleted: all reachable");
	return $notices;
}

# Built again with less memory than the graph takes, the index is the same, so that
# searches find the same.
sub same_in_files
{
	my ($name, $memory) = @_;
	my $in_memory = index_pages($server, 'items_v');

	$server->safe_psql('postgres', "SET maintenance_work_mem = '$memory'; SET vhnsw.build_method = blocked; REINDEX INDEX items_v");
	is($server->safe_psql('postgres', q{SELECT build_method FROM vhnsw_info('items_v')}), 'blocked in files', "$name: in files");
	is(index_pages($server, 'items_v'), $in_memory, "$name: in files the same");
	return;
}

sub check_recall
{
	my ($name, $operator, $floor, $ef) = @_;
	my $setting = $ef ? "SET vhnsw.ef_search = $ef;" : '';

	# What is as near as the 10th counts.
	my $recall = $server->safe_psql('postgres', <<"SQL");
TRUNCATE exact;
SET enable_indexscan = off;
INSERT INTO exact SELECT q.id, max(d) FROM queries q,
    LATERAL (SELECT v $operator q.v AS d FROM items ORDER BY 1 LIMIT 10) e GROUP BY q.id;
RESET enable_indexscan;
SET enable_seqscan = off;
$setting
SELECT round(count(*) / (SELECT 10.0 * count(*) FROM queries), 3) FROM queries q JOIN exact e ON e.query = q.id,
    LATERAL (SELECT v $operator q.v AS d FROM items ORDER BY v $operator q.v LIMIT 10) f
WHERE f.d <= e.d;
SQL
	cmp_ok($recall, '>=', $floor, "$name: recall $recall");
	return;
}

# 40 clusters, of which the first has half of the rows
my $clusters = '10 * normal(-1 - greatest(n % 80 - 40, 0), i) + normal(n, i)';

unlike(try_set('clusters', dims => 24, rows => 6000, value => $clusters, floor => 0.95),
	qr/clustered|searching|may miss rows|islands are linked/, 'clusters: no notice');
is($server->safe_psql('postgres', q{SELECT searches_found > 0.97 AND coalesce(weak_searches_found, 1) BETWEEN 0.8 AND 1 FROM vhnsw_info('items_v')}),
	't', 'clusters: searches find');
# More than entries, and each fills the lists of its elements
try_set('clusters far apart', dims => 32, rows => 20000, value => '5 * normal(-1 - n % 80, i) + normal(n, i)', floor => 0.95);
# Each has an entry
try_set('many clusters far apart', dims => 64, rows => 6000, value => '5 * normal(-1 - n % 150, i) + normal(n, i)', floor => 0.99);
is($server->safe_psql('postgres', q{SELECT entries BETWEEN 150 AND 200 FROM vhnsw_info('items_v')}),
	't', 'many clusters far apart: entries');
# So too of directions
try_set('many clusters far apart, inner product', dims => 64, rows => 6000, metric => 'ip',
	value => '5 * normal(-1 - n % 150, i) + normal(n, i)', floor => 0.99);
is($server->safe_psql('postgres', q{SELECT entries BETWEEN 150 AND 200 FROM vhnsw_info('items_v')}),
	't', 'many clusters far apart, inner product: entries');
# One zero vector is near to nobody
try_set('many clusters far apart and a zero, inner product', dims => 64, rows => 4000, metric => 'ip',
	value => '(n <> 17)::integer * (5 * normal(-1 - n % 150, i) + normal(n, i))', floor => 0.99);
is($server->safe_psql('postgres', q{SELECT entries BETWEEN 150 AND 200 FROM vhnsw_info('items_v')}),
	't', 'many clusters far apart and a zero, inner product: entries');
# Elements of clusters are nearer to each other than codes of 4 bits can tell
foreach my $metric (qw(l2 ip))
{
	try_set("tight clusters far apart, $metric", dims => 72, rows => 4000, metric => $metric,
		value => '5 * normal(-1 - n % 150, i) + 0.4 * normal(n, i)', options => 'WITH (storage = compact)', floor => 0.95);
	is($server->safe_psql('postgres', q{SELECT entries BETWEEN 150 AND 200 FROM vhnsw_info('items_v')}),
		't', "tight clusters far apart, $metric: entries");
}
# From between two, both are found; also when their first entries are gone
try_set("between clusters, $_", dims => 64, rows => 12000, metric => $_, value => 'normal(-1 - n % 120, i) + 0.25 * normal(n, i)',
	query => '0.5 * (normal(-1 - n % 120, i) + normal(-1 - 7 * n % 120, i)) + 0.2 * normal(n, i)', floor => 0.82, vacuum => 1) foreach qw(l2 ip);
# As far from each other as they are wide: lists of nearest elements lead nowhere
try_set('clusters that touch', dims => 128, rows => 6000, value => 'normal(-1 - n % 60, i) + normal(n, i)', floor => 0.99);
try_set('cosine', dims => 24, rows => 3000, metric => 'cosine', value => $clusters, floor => 0.9);
try_set('one tight cluster', dims => 12, rows => 5000, value => '100 + 0.01 * normal(n, i)', floor => 0.9);
try_set('many duplicates', dims => 8, rows => 4000, value => 'floor(4 * uniform(n % 300, i))', floor => 0.99);
# Of one cluster all have much the same codes: of the sketch of one beside another nothing follows,
# and each would list the same few of them.
try_set('all but equal, queries between', dims => 32, rows => 6000,
	value => 'normal(-1 - n % 40, i) + 1e-4 * normal(n, i)', query => 'normal(n, i)', floor => 0.98);
try_set('one dimension, sorted', dims => 1, rows => 4000, value => 'n', query => 'n * 0.7', floor => 0.9);
same_in_files('one dimension, sorted', '2500kB');
try_set('two dimensions', dims => 2, rows => 4000, value => 'n % 60 + i * (n / 60 - n % 60)', query => '40 * uniform(n, i)', floor => 0.9);
try_set('three dimensions, a spiral', dims => 3, rows => 4000,
	value => '(ARRAY[cos(n * 0.01), sin(n * 0.01), n * 0.002])[i] + 0.01 * normal(n, i)', query => '(ARRAY[cos(n * 0.7), sin(n * 0.7), n * 0.001])[i]', floor => 0.95);
try_set('many dimensions, sorted', dims => 24, rows => 4000, value => 'n * 0.01 + normal(n, i)', query => '40 * uniform(n, 0) + normal(n, i)', floor => 0.99);
# With centroids from the first rows only it would be 0.992.
is($server->safe_psql('postgres', q{SELECT list_recall > 0.997 FROM vhnsw_info('items_v')}), 't', 'many dimensions, sorted: lists');
same_in_files('many dimensions, sorted', '2500kB');
try_set('all zero', dims => 16, rows => 2000, value => '0', query => 'normal(n, i)', floor => 0.99);
try_set('small and large', dims => 8, rows => 3000, value => 'normal(n, i) * 10.0 ^ (n % 7 * 4 - 12)', floor => 0.9);
try_set('as small and large as can be', dims => 8, rows => 3000, value => 'normal(n, i) * 10.0 ^ (n % 5 * 18 - 36)', floor => 0.9);
try_set('zeros and a few others', dims => 16, rows => 2000,
	value => 'CASE WHEN n % 10 = 0 THEN normal(n, i) ELSE 0 END', query => 'normal(n, i)', floor => 0.95);

try_set('inner product, long and short', dims => 24, rows => 6000, metric => 'ip',
	value => "exp(0.6 * normal(n, 999)) * ($clusters)", floor => 0.95);
# Where lengths differ this much, places filled by angle would go to short ones, which are no answers.
try_set('inner product, lengths of all sizes', dims => 24, rows => 6000, metric => 'ip', ef => 10,
	value => 'exp(0.8 * normal(n, 999)) * normal(n, i)', query => 'normal(n, i)', floor => 0.97);
# All list the few that are long; of more than 256 lists, which ones count is the same in files.
try_set('inner product, a few are long and many zero', dims => 24, rows => 6000, metric => 'ip',
	value => 'CASE WHEN n % 10 = 0 THEN 0 WHEN n < 45 THEN 1000 * (1 + 0.05 * normal(n, i)) WHEN n % 10 = 1 THEN -uniform(n, i) ELSE uniform(n, i) END',
	query => 'normal(n, i)', floor => 0.9);
same_in_files('inner product, a few are long and many zero', '3MB');
# What is nearest to a query does not depend on its length.
try_set('inner product, short queries', dims => 48, rows => 6000, metric => 'ip',
	value => 'normal(n, i)', query => '0.001 * normal(n, i)', floor => 0.95);
try_set('inner product, planted', dims => 16, rows => 6000, metric => 'ip',
	value => 'CASE WHEN n % 100 = 0 THEN (i > 8)::integer * abs(normal(n, i))
	          WHEN i > 8 THEN -abs(normal(n, i)) ELSE 5 * normal(n, i) END',
	query => '(i > 8)::integer * abs(normal(n, i))', floor => 0.95);
# Clusters of directions, of which lists of largest products tell each other nothing
try_set('inner product, clusters, queries in any direction', dims => 64, rows => 6000, metric => 'ip',
	value => 'normal(-1 - n % 100, i) + 0.25 * normal(n, i)', query => 'normal(n, i)', floor => 0.8);
# Of a cluster, those that point a little more to its middle are in all lists, others in none
try_set('inner product, large clusters, queries in any direction', dims => 128, rows => 6000, metric => 'ip',
	value => 'normal(-1 - n % 30, i) + 0.25 * normal(n, i)', query => 'normal(n, i)', floor => 0.8);
# 3 % of the rows, of which searches miss many: more of them are searched for
my $small = '5 * normal(-100 - %s %% 45, i) + 0.1 * normal(n, i)';
try_set('inner product, small clusters beside large ones', dims => 64, rows => 12000, metric => 'ip',
	value => 'CASE WHEN n % 33 = 0 THEN ' . sprintf($small, 'n / 33') . ' ELSE 5 * normal(-1 - n % 20, i) + 0.5 * normal(n, i) END',
	query => sprintf($small, 'n'), floor => 0.9);

# All of the same length: products order as distances do, and nothing is done for
# what has a large product with everybody.  For one that is longer all is.
my $angles = 'cos(normal(-1 - n % 40, (i + 1) / 2) + 0.7 * normal(n, (i + 1) / 2) - pi() / 2 * (i % 2))';
my $hubs   = q{SET vecdist.debug_points = 'vhnsw-build-hubs=error'; SET vhnsw.build_method = blocked; REINDEX INDEX items_v};
try_set('inner product, equally long', dims => 32, rows => 6000, metric => 'ip', value => $angles, query => 'normal(n, i)', floor => 0.95);
is($server->psql('postgres', $hubs), 0, 'inner product, equally long: no hubs');
same_in_files('inner product, equally long', '3MB');
try_set('inner product, one is longer', dims => 32, rows => 6000, metric => 'ip', value => "(1 + 0.1 * (n = 3000)::integer) * $angles",
	query => 'normal(n, i)', floor => 0.95);
isnt($server->psql('postgres', $hubs), 0, 'inner product, one is longer: hubs');

# Too few links for so many directions
my $few = try_set('few links', dims => 48, rows => 6000, value => 'normal(n, i)', options => 'WITH (m = 4, ef_construction = 8)', floor => 0.1);
like($few, qr/may miss rows.*DETAIL:  Of searches .* [1-9]\S* % fail/s, 'few links: notice of searches');
like($few, qr/HINT:  Set vhnsw.ef_search higher\.  Building with vhnsw.build_method = search/, 'few links: hint');
like($few, qr/[1-9]\d* islands are linked, since [1-9]/, 'few links: islands');
my (undef, undef, $in_files) = $server->psql('postgres', "SET maintenance_work_mem = '3MB'; REINDEX INDEX items_v");
is($server->safe_psql('postgres', q{SELECT build_method FROM vhnsw_info('items_v')}),
	'blocked in files', 'few links: in files');
like($in_files, qr/HINT:  Set vhnsw.ef_search higher\.  With a maintenance_work_mem/, 'few links: hint about memory');

# More clusters far apart than a sample of one element in 32 shows.  Without links among islands
# 0.87 of the searches find their elements.
like(try_set('thousands of clusters far apart', dims => 64, rows => 30000, value => 'normal(-1 - n % 1500, i) + 0.1 * normal(n, i)',
	options => 'WITH (m = 4, ef_construction = 16)', ef => 10, floor => 0.9),
	qr/\b1[45]\d\d islands are linked/, 'thousands of clusters far apart: islands');
is($server->safe_psql('postgres', q{SELECT searches_found > 0.95 FROM vhnsw_info('items_v')}),
	't', 'thousands of clusters far apart: searches find');
same_in_files('thousands of clusters far apart', '5MB');
my $pages = index_pages($server, 'items_v');
foreach my $memory (qw(5MB 64MB))
{
	$server->safe_psql('postgres', <<"SQL");
ALTER TABLE items SET (parallel_workers = 2);
SET max_parallel_maintenance_workers = 2;
SET maintenance_work_mem = '$memory';
SET vhnsw.build_method = blocked;
REINDEX INDEX items_v;
SQL
	is(index_pages($server, 'items_v'), $pages, "thousands of clusters far apart: the same with workers and $memory");
}

# As many directions as dimensions
my $said = try_set('no clusters', dims => 64, rows => 24000, value => 'normal(n, i)', floor => 0.4);
like($said, qr/clustered 2 times/, 'no clusters: notice');
note($said);

sub bytes
{
	my ($settings) = @_;

	$server->safe_psql('postgres',
		"$settings DROP INDEX IF EXISTS again; CREATE INDEX again ON items USING vhnsw (v vector_l2_ops)");
	return index_pages($server, 'again');
}

try_set('for equality', dims => 10, rows => 4000, value => $clusters, floor => 0.95);
my $first = bytes('SET vhnsw.build_method = blocked;');
is(bytes(''), $first, 'by clusters unless told otherwise, and the same again');
is(bytes('SET vecdist.simd = scalar;'), $first, 'the same with scalar arithmetic');
isnt(bytes('SET vhnsw.build_method = search;'), $first, 'another by searching');

# An element that all others choose: it lists the nearest of them.
$server->safe_psql('postgres', <<'SQL');
DROP TABLE items;
CREATE TABLE items (id integer, v vector(48));
INSERT INTO items SELECT n, l2_normalize((SELECT array_agg(normal(n, i)::float4 ORDER BY i)
                                          FROM generate_series(1, 48) i)::vector) *
    array_fill((2 - n / 2000.0)::float4, ARRAY[48])::vector
    FROM generate_series(1, 1000) n;
INSERT INTO items SELECT 0, array_fill(0::float4, ARRAY[48])::vector;
SET vhnsw.build_method = blocked;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
CHECKPOINT;
SQL
is(join(' ', @{ lists_by_id()->{0} }), join(' ', reverse 969 .. 1000),
	'hub: its nearest are listed');

# Clusters of more elements than lists have places for, and far candidates from
# among them: links lead out of them all the same.
$server->safe_psql('postgres', <<'SQL');
DROP TABLE items;
CREATE TABLE items (id integer, v vector(64));
INSERT INTO items SELECT n, (SELECT array_agg((normal(-1 - n % 20, i) + normal(n, i))::float4 ORDER BY i)::vector
                             FROM generate_series(1, 64) i)
    FROM generate_series(1, 6000) n;
SET vhnsw.build_method = blocked;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
CHECKPOINT;
SQL
my $lists = lists_by_id();
my $out   = 0;
foreach my $id (keys %$lists)
{
	$out += grep { $_ % 20 != $id % 20 } @{ $lists->{$id} };
}
my $links_out = $out / scalar keys %$lists;
cmp_ok($links_out, '>=', 2.2, "large clusters that touch: $links_out links of an element lead to others");

# And so many of them that a sample of all does not link each: if far candidates
# were not of classes, 0.984 would be found, and searches_found be 0.982.
$server->safe_psql('postgres', 'DROP TABLE items');
load_clusters($server, 'items', 40300, 64, clusters => 100, width => 256);
$server->safe_psql('postgres', <<'SQL');
TRUNCATE queries;
WITH taken AS (DELETE FROM items WHERE id > 40000 RETURNING *)
INSERT INTO queries SELECT * FROM taken;
CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);
SQL
check_recall('many large clusters that touch', '<->', 0.991, 10);
is($server->safe_psql('postgres', q{SELECT build_method, searches_found > 0.99 FROM vhnsw_info('items_v')}),
	'blocked|t', 'many large clusters that touch: searches find');

# The ids of the elements that each row's element lists, by what is on disk.
sub lists_by_id
{
	my ($hex, $size, $degree) = split /\|/, $server->safe_psql('postgres', <<'SQL');
SELECT encode(pg_read_binary_file(pg_relation_filepath('items_v')), 'hex'), bytes_per_element, degree
FROM vhnsw_info('items_v')
SQL
	my %id_of = map { split /\|/ } split /\n/,
	  $server->safe_psql('postgres', q{SELECT ctid, id FROM items});
	my $pages    = pack 'H*', $hex;
	my $per_page = int((8192 - 24 - 16) / $size);
	my (%slots, %lists);

	for my $element ($per_page .. length($pages) / 8192 * $per_page - 1)
	{
		my $slot = substr $pages, int($element / $per_page) * 8192 + 24 + $element % $per_page * $size, 32 + 4 * $degree;
		my ($flags, undef, $count, undef, $high, $low, $item) = unpack 'C4 v3', $slot;
		my $row = $id_of{ '(' . ($high << 16 | $low) . ",$item)" };

		next if $flags == 0 || !defined $row;
		$slots{$element} = $row;
		$lists{$row} = [ unpack "x32 V$count", $slot ];
	}
	@$_ = map { $slots{$_} } @$_ foreach values %lists;
	return \%lists;
}

done_testing();

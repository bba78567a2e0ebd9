# What pgvector 0.8 and vecdist have in common is the same in both, tried on
# pgvector itself: catalogs, values and errors of hundreds of expressions, text
# and binary COPY files in both directions, stored bytes.
#
# Needs pgvector's files in an archive that unpacks over an installation, named
# by PGVECTOR; they go over a copy of ours, and each extension into a database of
# its own.  Differences that we want are listed here, each with its reason.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $archive = $ENV{PGVECTOR} // '';
plan skip_all => 'PGVECTOR names no archive of pgvector' if !-r $archive;
plan skip_all => 'zstd is not installed'
  if system('zstd --version >/dev/null 2>&1') != 0;

# ----------------------------------------------------------------------
# A server with both
# ----------------------------------------------------------------------

chomp(my ($bindir, $libdir) = `pg_config --bindir --pkglibdir`);
my ($member) = `zstd -dcq '$archive' | tar -t` =~ m{^(?:\./)?(\S+)/vector\.so$}m;
plan skip_all => "$archive does not fit this installation"
  if !$member || $libdir !~ m{^(.+)/\Q$member\E$};
my $root = $1;
my $copy = PostgreSQL::Test::Utils::tempdir_short();

system("cp -a '$root/.' '$copy/' && zstd -dcq '$archive' | tar -x --no-same-owner -C '$copy'") == 0
  or die "could not unpack $archive\n";
$bindir =~ s{^\Q$root\E(.*)/bin$}{$copy$1}
  or die "unexpected place of programs: $bindir\n";

my $server = PostgreSQL::Test::Cluster->new('both', install_path => $bindir);
$server->init;
$server->start;

my %extension = (pgvector => 'vector', vecdist => 'vecdist');
my @databases = sort keys %extension;

foreach my $database (@databases)
{
	$server->safe_psql('postgres', "CREATE DATABASE $database");
	$server->safe_psql($database, "CREATE EXTENSION $extension{$database}");
}

# ----------------------------------------------------------------------
# Catalogs
# ----------------------------------------------------------------------

# One line for each object of the extension, without its OID.
sub catalog
{
	my ($database) = @_;
	my $rows = $server->safe_psql($database, <<"SQL");
CREATE TEMP VIEW ours AS
SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = '$extension{$database}');
SELECT format('function %s returns %s %s', p.oid::regprocedure, prorettype::regtype,
    concat_ws(' ', prokind, provolatile, proisstrict, proparallel, proretset, proleakproof, prosecdef))
FROM pg_proc AS p JOIN ours ON classid = 'pg_proc'::regclass AND objid = p.oid
UNION ALL
SELECT format('aggregate %s %s', aggfnoid::regprocedure, concat_ws(' ', aggtransfn, aggtranstype::regtype, agginitval, aggfinalfn, aggcombinefn))
FROM pg_aggregate JOIN ours ON classid = 'pg_proc'::regclass AND objid = aggfnoid
UNION ALL
SELECT format('type %s %s', t.oid::regtype, concat_ws(' ', typlen, typbyval, typalign, typstorage, typcategory, typispreferred,
    typdelim, typarray::regtype, typinput, typoutput, typreceive, typsend, typmodin, typmodout, typsubscript))
FROM pg_type AS t JOIN ours ON classid = 'pg_type'::regclass AND objid = t.oid
UNION ALL
SELECT format('cast %s to %s %s', castsource::regtype, casttarget::regtype, concat_ws(' ', castcontext, castmethod, castfunc::regprocedure))
FROM pg_cast AS c JOIN ours ON classid = 'pg_cast'::regclass AND objid = c.oid
UNION ALL
SELECT format('operator %s %s', o.oid::regoperator, concat_ws(' ', oprresult::regtype, oprcode, oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin))
FROM pg_operator AS o JOIN ours ON classid = 'pg_operator'::regclass AND objid = o.oid
UNION ALL
SELECT format('class %s for %s using %s %s', opcname, opcintype::regtype, amname, concat_ws(' ', opcdefault,
    (SELECT string_agg(concat_ws(' ', amopstrategy, amopopr::regoperator, amoppurpose), ', ' ORDER BY amopstrategy) FROM pg_amop WHERE amopfamily = opcfamily)))
FROM pg_opclass AS c JOIN ours ON classid = 'pg_opclass'::regclass AND objid = c.oid JOIN pg_am AS a ON a.oid = opcmethod;
SQL
	return map { s/\bpublic\.//gr } split /\n/, $rows;
}

my %has = map { $_ => 1 } catalog('vecdist');
my @missing;
foreach my $object (catalog('pgvector'))
{
	# Index access methods are not the same; their classes have their own tests.
	next if $object =~ /^function (hnsw|ivfflat)|^class .* using (hnsw|ivfflat)/;

	# pgvector estimates <> as if it were =.
	$object =~ s/ eqsel eqjoinsel$/ neqsel neqjoinsel/ if $object =~ /^operator <>/;
	push @missing, $object if !$has{$object};
}
is_deeply(\@missing, [], 'vecdist has every object of pgvector');

# ----------------------------------------------------------------------
# Expressions
# ----------------------------------------------------------------------

# Text forms with every character missing, or others beside or in its place.
sub damaged
{
	my ($type, $literal) = @_;
	my @expressions;

	foreach my $i (0 .. length $literal)
	{
		foreach my $character ('', split //, '[]{}:,/+-.eEx019 ')
		{
			foreach my $replaced (0, 1)
			{
				my $text = $literal;

				next if $i + $replaced > length $text;
				substr $text, $i, $replaced, $character;
				push @expressions, "'$text'::$type";
			}
		}
		push @expressions, sprintf "'%s'::$type", substr $literal, 0, $i;
	}
	return @expressions;
}

# One expression for every way to choose a word from each @(list of words).
sub expanded
{
	my ($template) = @_;
	my ($before, $words, $after) = $template =~ /^(.*?)\@\((.*?)\)(.*)$/s
	  or return $template;

	return map { expanded("$before$_$after") } split ' ', $words;
}

my @expressions = map { expanded($_) } split /\n/, <<'EXPRESSIONS';
'@([nan] [0,-NaN] [inf] [1,-Infinity] [65504] [65519] [65520] [1e5] [3.4e38] [3.5e38] [1e400])'::@(vector halfvec)
'@([1e-40] [1e-400] [6e-8] [2e-8] [-0] [0x1p3] [1_0] [0.1,0.3333333,16777217,123456.78,1e10,1e-10])'::@(vector halfvec)
'[1,2,3]'::@(vector halfvec)(@(3 2 0 -1 16000 16001 1,2 2147483648))
('[' || repeat('1,', @(15999 16000)) || '1]')::@(vector halfvec)
'[1,2,3]'::@(vector halfvec) @(<-> <=> <#> <+> + - * || < <= = <> >= >) '@([4,5,6] [1,2,3] [1,2] [0,0,0] [1,2,3,4])'
'@([3e38] [60000] [1e-30] [1e-5])'::@(vector halfvec) @(+ - *) '@([3e38] [-3e38] [60000] [-60000] [1e-30] [-1e-5] [0])'
@(l2_distance inner_product cosine_distance l1_distance)('[1,2,3]'::@(vector halfvec), '@([4,5,6] [1,2])')
@(vector halfvec)_@(lt le eq ne ge gt cmp l2_squared_distance negative_inner_product spherical_distance add sub mul concat)('[1,2,3]', '@([4,5,6] [1,2])')
@(vector_dims vector_norm l2_norm l2_normalize binary_quantize)('@([3,0,-4] [0,0])'::@(vector halfvec))
subvector('[1,2,3]'::@(vector halfvec), @(-2147483648 -1 0 1 3 4 2147483647), @(-1 0 1 3 20000 2147483647))
(SELECT @(avg sum)(v) FROM (VALUES ('[1,2,3]'::@(vector halfvec)), (NULL), ('@([4,5,7] [4,5])')) AS f (v))
(SELECT @(avg sum)(v) FROM (SELECT '[1]'::@(vector halfvec sparsevec) WHERE false) AS f (v))
@(vector halfvec)_avg('@({} {0} {1,2,3} {{1}} {NULL} {1,NULL})')
@(vector halfvec)_accum('@({} {0} {1,2} {{1}} {NULL})', '[1]')
@(vector halfvec)_combine('@({0} {1,2})', '@({0} {2,3} {1,2,3} {{1}})')
'{1:@(nan inf -inf 4e38 1e-46 1e-40 1e400 0x10 1_0)}/2'::sparsevec
'{@(0 -1 3 2147483648 -2147483649 99999999999999999999 01 +1 0x1):1}/2'::sparsevec
'@({1:1,1:2} {2:1,1:2} {2:1,1:2,2:3} {1:0,5:0} {2:1,5:1,2:1} {5:1,2:1,2:1} {})/@(2 0 -1 1e3 0x10 1000000000 1000000001 2147483648 99999999999999999999)'::sparsevec
('{' || (SELECT string_agg(i || ':1', ',') FROM generate_series(1, @(16000 16001)) AS i) || '}/20000')::sparsevec
'{1:1}/3'::sparsevec(@(3 2 0 -1 1000000000 1000000001 1,2))
'@({1:1,3:3}/3 {1:1}/2 {}/3)'::sparsevec @(<-> <=> <#> <+> < <= = <> >= > + ||) '@({1:2,2:4}/3 {}/3 {3:-1}/3)'
sparsevec_@(lt le eq ne ge gt cmp l2_squared_distance negative_inner_product)('{1:1,3:3}/3', '{1:2,2:4}/@(3 4)')
@(l2_norm l2_normalize vector_norm binary_quantize)('@({1:3,3:-4} {1:3e38,2:1e-20} {1:1e-45} {})/3'::sparsevec)
'{1:1,2:@(65520 1e-9 0.1)}/@(2 16000 16001 1000000000)'::sparsevec::@(vector(2) halfvec(2) vector(3) halfvec(3) vector(16001) real[])
@('{1:3}/2'::sparsevec '[3,0]'::vector '[3,0]'::halfvec '[70000,1e-9]'::vector '[-0,0.1]'::vector)::@(vector(2) halfvec(2) sparsevec(2) vector(3) halfvec(3) sparsevec(3) real[] text)
'@({1,0,3} {} {{1,2}} {1,NULL} {100000} {NaN} {1,-Infinity} {1e39} {1e-60} {0.1} {1e5,65520})'::@(int real float8 numeric bigint text)[]::@(vector halfvec sparsevec)
'{1,2}'::@(int real float8 numeric)[]::@(vector halfvec sparsevec)(3)
array_fill(1::@(int real numeric), ARRAY[16001])::@(vector halfvec sparsevec)
array_fill(0::@(int real numeric), ARRAY[16001])::sparsevec
B'@(101 000 1)' @(<~> <%>) B'@(110 000 11 0)'
B'1'::varbit @(<~> <%>) B'0'::varbit
@(hamming jaccard)_distance('@(1 10)', '10')
'[1]'::vector @(<-> <=> || + =) '@([1] {1:1}/1)'::@(vector halfvec sparsevec)
@(l2_distance vector_dims l2_norm)('[1]')
format_type('@(vector halfvec sparsevec)'::regtype, @(3 -1))
pg_column_size('[1,2,3]'::@(vector halfvec sparsevec))
@(vector_send('[1,-2.5]') halfvec_send('[1,-2.5]') sparsevec_send('{1:1,30:2}/40') ARRAY['[1,2]'::vector] '{"[1,2]"}'::halfvec[] '{"{1:1}/2"}'::sparsevec[])
EXPRESSIONS

push @expressions, damaged('vector', '[1,-2.5e-3]'), damaged('halfvec', '[1,-2.5e-3]'),
  damaged('sparsevec', '{1:1,30:-2.5e-3}/40');

# Returns for each expression its text, or SQLSTATE and primary message.
sub outcomes
{
	my ($database, @list) = @_;
	my $values = join ',', map { "(\$e\$$_\$e\$)" } @list;

	return split /\n/, $server->safe_psql($database, <<"SQL");
CREATE FUNCTION pg_temp.outcome(expression text) RETURNS text LANGUAGE plpgsql AS \$f\$
DECLARE result text;
BEGIN
    EXECUTE 'SELECT (' || expression || ')::text' INTO result;
    RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END \$f\$;
CREATE TEMP TABLE list (number serial, expression text);
INSERT INTO list (expression) VALUES $values;
SELECT replace(left(pg_temp.outcome(expression), 400), E'\\n', ' ') FROM list ORDER BY number;
SQL
}

my @wanted_differences = (

	# pgvector cannot combine the states of two workers that saw no row.
	qr/^\w+_combine\('\{0\}', '\{0\}'\): 22000 vector must have at least 1 dimension; here: \{0\}$/,

	# Its function has one name for both types.
	qr/^halfvec_combine.*: XX000 vector_combine: expected state array; here: XX000 halfvec_combine: expected state array$/,

	# It stops at a number that is too large; we read to the end, and what is
	# not a list of numbers comes first.
	qr/::halfvec: 22003 ".*" is out of range for type halfvec; here: 22P02 invalid input syntax for type halfvec/
);

# The lists are alike, but for what we want.
sub is_same
{
	my ($names, $theirs, $ours, $test) = @_;
	my @different;

	foreach my $i (0 .. $#$names)
	{
		my $difference = "$names->[$i]: $theirs->[$i]; here: $ours->[$i]";

		next if $theirs->[$i] eq $ours->[$i];
		push @different, $difference
		  if !grep { $difference =~ $_ } @wanted_differences;
	}
	is(scalar @$ours, scalar @$names, "$test: each has an outcome");
	is(join("\n", @different), '', "$test: outcomes are the same");
	return;
}

is_same(\@expressions,
	[ outcomes('pgvector', @expressions) ],
	[ outcomes('vecdist',  @expressions) ],
	scalar(@expressions) . ' expressions');

# ----------------------------------------------------------------------
# Values from one to the other
# ----------------------------------------------------------------------

# Of all kinds and lengths; those of "long" are stored out of line.
my $tables = <<'SQL';
CREATE TABLE short (id int, v vector, h halfvec, s sparsevec, b bit(7),
    vn vector(3), hn halfvec(3), sn sparsevec(3));
CREATE TABLE long (id int, v vector, h halfvec, s sparsevec);
SQL
$server->safe_psql('vecdist',  $tables);
$server->safe_psql('pgvector', $tables . <<'SQL');
CREATE FUNCTION numbers(seed int, n int) RETURNS real[] LANGUAGE sql AS $$
    SELECT array_agg(CASE WHEN i * seed % 3 = 0 THEN 0
                     ELSE (sin(seed * 31 + i) * 10.0 ^ (i % 9 - 5))::real END)
    FROM generate_series(1, n) AS i
$$;
INSERT INTO short
SELECT n, numbers(n, n)::vector, numbers(n, n)::halfvec, numbers(n, n)::sparsevec, n::bit(7),
       numbers(n, 3), numbers(n, 3)::halfvec, numbers(n, 3)::sparsevec
FROM generate_series(1, 70) AS n;
INSERT INTO short (id, v, h, s) VALUES (0, NULL, NULL, NULL), (-1, '[0]', '[0]', '{}/1'),
    (-2, '[-0,1e-45,3.4028235e38]', '[-0,6e-8,65504,-65504]',
     '{1:1e-45,1000000000:-3.4028235e38}/1000000000');
INSERT INTO long
SELECT n, numbers(n, n)::vector, numbers(n, n)::halfvec, numbers(n, n)::sparsevec
FROM unnest(ARRAY[5000, 10000, 16000]) AS n;
SQL

# Their COPY loads here, ours is the same file, and loads there.
foreach my $table ('short', 'long')
{
	foreach my $format ('binary', 'text')
	{
		my %file =
		  map { $_ => $server->basedir . "/$_.$table.$format" } @databases;
		my $options = "(FORMAT $format)";

		$server->safe_psql('pgvector', "COPY $table TO '$file{pgvector}' $options");
		$server->safe_psql('vecdist',
			"TRUNCATE $table; COPY $table FROM '$file{pgvector}' $options; COPY $table TO '$file{vecdist}' $options");
		ok(slurp_file($file{pgvector}) eq slurp_file($file{vecdist}),
			"$format COPY of table $table is the same");
		$server->safe_psql('pgvector',
			"TRUNCATE $table; COPY $table FROM '$file{vecdist}' $options");
	}
}

# Both have now loaded the same files: what lies in the tables?
my %stored = map { $_ => $server->safe_psql($_, <<'SQL') } @databases;
CREATE EXTENSION pageinspect;
SELECT count(*), sum(length(t_data)), md5(string_agg(t_data, '' ORDER BY page, lp))
FROM generate_series(0, pg_relation_size('short') / 8192 - 1) AS page,
    heap_page_items(get_raw_page('short', page::int));
SELECT reltoastrelid::regclass AS toast FROM pg_class WHERE oid = 'long'::regclass \gset
SELECT count(*), sum(length(chunk_data)), md5(string_agg(chunk_data, '' ORDER BY chunk_id, chunk_seq))
FROM :toast;
SELECT sum(pg_column_size(v)), sum(pg_column_size(h)), sum(pg_column_size(s)) FROM long;
SQL
is($stored{vecdist}, $stored{pgvector}, 'stored bytes are the same');
like($stored{vecdist}, qr/^73\|\d+\|\w+\n\d{2,}\|\d{6,}\|/, 'there are some');

# ----------------------------------------------------------------------
# Binary forms that are damaged
# ----------------------------------------------------------------------

# Good ones cut after every byte, with every byte set to other values, and
# with a byte too many.
my @fields;
foreach my $good (
	[ vector    => '0002 0000 3f800000 c0200000' ],
	[ halfvec   => '0002 0000 3c00 c100' ],
	[ sparsevec => '00000028 00000002 00000000 00000000 0000001d 3f800000 c0200000' ])
{
	my ($type, $hex) = @$good;
	my $bytes = pack 'H*', $hex =~ s/ //gr;

	push @fields, map { [ $type, $_ ] } "$bytes\0",
	  map { substr $bytes, 0, $_ } 0 .. length $bytes;
	foreach my $i (0 .. length($bytes) - 1)
	{
		foreach my $value (0, 1, 127, 128, 255)
		{
			my $other = $bytes;

			substr $other, $i, 1, chr $value;
			push @fields, [ $type, $other ];
		}
	}
}
foreach my $i (0 .. $#fields)
{
	append_to_file($server->basedir . "/field.$i",
		"PGCOPY\n\xff\r\n\0" . pack('NNnN/a*n', 0, 0, 1, $fields[$i][1], 0xffff));
}

# Returns for each field the text of the value, or SQLSTATE and message.
sub copied
{
	my ($database) = @_;
	my $values = join ',', map { "($_, '$fields[$_][0]')" } 0 .. $#fields;
	my $path   = $server->basedir . '/field.';

	return split /\n/, $server->safe_psql($database, <<"SQL");
CREATE FUNCTION pg_temp.copied(type text, file text) RETURNS text LANGUAGE plpgsql AS \$f\$
DECLARE result text;
BEGIN
    EXECUTE format('CREATE TEMP TABLE one (x %s)', type);
    EXECUTE format('COPY one FROM %L (FORMAT binary)', file);
    SELECT x::text INTO result FROM one;
    DROP TABLE one;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END \$f\$;
SELECT pg_temp.copied(type, '$path' || number) FROM (VALUES $values) AS f (number, type)
ORDER BY number;
SQL
}

is_same(
	[ map { "$_->[0] " . unpack 'H*', $_->[1] } @fields ],
	[ copied('pgvector') ],
	[ copied('vecdist') ],
	scalar(@fields) . ' binary values');

# ----------------------------------------------------------------------
# A dump of pgvector's database, restored where our extension vector stands in
# ----------------------------------------------------------------------

$server->safe_psql('postgres', 'CREATE DATABASE dumped');
$server->safe_psql('dumped', <<'SQL');
CREATE EXTENSION vector;
CREATE TABLE items (id integer PRIMARY KEY, e vector(8), h halfvec(4), s sparsevec(9), b bit(16));
INSERT INTO items SELECT i,
    (SELECT array_agg(sin(i * j)::real ORDER BY j) FROM generate_series(1, 8) j)::vector,
    ARRAY[i % 83, 1, 2, 3]::real[]::vector::halfvec, format('{1:%s}/9', i)::sparsevec, i::bit(16)
FROM generate_series(1, 1000) i;
CREATE INDEX ON items USING hnsw (e vector_cosine_ops) WITH (m = 8, ef_construction = 40);
CREATE INDEX ON items USING hnsw (h halfvec_l2_ops);
CREATE INDEX ON items USING hnsw (s sparsevec_l2_ops);
CREATE INDEX ON items USING hnsw (b bit_hamming_ops);
CREATE INDEX ON items USING hnsw ((binary_quantize(e)::bit(8)) bit_hamming_ops) WHERE id > 10;
CREATE VIEW near AS SELECT id FROM items ORDER BY e <=> '[1,0,1,0,1,0,1,0]' LIMIT 5;
CREATE FUNCTION length(x vector) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT public.vector_norm($1)';
SQL
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
command_ok(
	[
		"$bindir/bin/pg_dump", '-h', $server->host, '-p', $server->port, '-f',
		$dump, 'dumped'
	],
	'pg_dump of a database with pgvector');

my $shim = PostgreSQL::Test::Cluster->new('shim');
$shim->init;
$shim->start;
$shim->safe_psql('postgres', 'CREATE EXTENSION vecdist');
$shim->command_ok(
	[ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'postgres' ],
	'it is restored');
is( $shim->safe_psql('postgres',
		q{SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = relam JOIN pg_index i ON i.indexrelid = c.oid
		WHERE amname = 'hnsw' AND indisvalid}),
	'5', 'with its indexes');
foreach my $query (
	'TABLE near', 'SELECT * FROM items ORDER BY id',
	q{SELECT id FROM items ORDER BY s <-> '{1:500.2}/9' LIMIT 3},
	'SELECT length(e) FROM items WHERE id = 7')
{
	is( $shim->safe_psql('postgres',
			"SET enable_seqscan = off; SET hnsw.ef_search = 1000; $query"),
		$server->safe_psql('dumped', "SET enable_indexscan = off; $query"),
		"the exact answer: $query");
}

$shim->stop;
$server->stop;
done_testing();

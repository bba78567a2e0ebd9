# Damaged pages give errors, never crashes, endless loops or wrong memory.
#
# Every field of the metapage, of special areas, slots, entries and TID cells is
# overwritten in turn with extreme values, in the file, after its pages have
# left shared buffers.  Scans, inserts, vacuum and vhnsw_check() then work, or
# raise SQLSTATE XX002 (XX001 if PostgreSQL itself finds the page damaged); the
# server stays up.  What vhnsw_check() promises to find it finds.
#
# The server has few buffers, so that others drive the index out of them, and
# is not restarted: rows of the table come and go in transactions that fail.
# The index has tombstones, so that each vacuum repairs links.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my $dims   = 6;
my $m      = 4;
my $degree = 8;
my $server = make_server(
	'damage',
	conf => q{
autovacuum = off
bgwriter_lru_maxpages = 0
shared_buffers = 256kB
statement_timeout = 60s
});

$server->safe_psql('postgres', <<"SQL");
CREATE EXTENSION vecdist;
CREATE EXTENSION pg_buffercache;
CREATE FUNCTION vec(n bigint) RETURNS vector LANGUAGE sql IMMUTABLE AS \$\$
    SELECT array_agg((hashint8extended(i, n) & 65535) / 65535.0)::vector
    FROM generate_series(1, $dims) i
\$\$;
CREATE TABLE t (id bigint PRIMARY KEY, embedding vector($dims));
INSERT INTO t SELECT i, CASE WHEN i % 10 = 0 THEN NULL WHEN i % 7 = 0 THEN vec(7) ELSE vec(i) END
FROM generate_series(1, 400) i;
CREATE INDEX i ON t USING vhnsw (embedding vector_l2_ops) WITH (m = $m, ef_construction = 16);
SQL
$server->safe_psql('postgres', 'DELETE FROM t WHERE id % 20 = 3');
$server->psql('postgres', q{SET vecdist.debug_points = 'vhnsw-vacuum-barrier=error'; VACUUM t});
is($server->safe_psql('postgres', q{SELECT tombstones > 0 FROM vhnsw_info('i')}),
	't', 'there are tombstones');

my $path = $server->data_dir . '/'
  . $server->safe_psql('postgres', q{SELECT pg_relation_filepath('i')});
my $query = random_vector($dims, seed => 3);

# ----------------------------------------------------------------------
# Where things are: README, section "Pages"
# ----------------------------------------------------------------------

my $page_size = 8192;
my $header    = 24;
my $special   = $page_size - 16;
my $slot_size =
  $server->safe_psql('postgres', q{SELECT bytes_per_element FROM vhnsw_info('i')});

drive_out();
my $image = slurp_file($path);
my %block;    # the first block of each kind

foreach my $number (0 .. length($image) / $page_size - 1)
{
	my $kind = unpack 'C', substr $image, $number * $page_size + $special + 4, 1;
	$block{$kind} //= $number;
}
is(join(' ', sort keys %block), '1 2 3 4 5', 'the index has pages of all kinds');

# A slot whose TIDs are in a list, and a cell with a successor
my $slot = 0;
my $cell = 0;
sub field
{
	my ($kind, $offset, $format) = @_;
	my $at = $block{$kind} * $page_size + $offset;
	return unpack $format, substr $image, $at, 8;
}

++$slot while field(4, $header + $slot * $slot_size + 14, 'v') == 0;
++$cell while field(5, $header + $cell * 64 + 4, 'v') == 0;

# name => [kind, offset, length, what vhnsw_check() must say, if anything]
my $at_slot = $header + $slot * $slot_size;
my $at_cell = $header + $cell * 64;
my %fields  = (
	'meta magic'          => [ 1, $header,      4 ],
	'meta version'        => [ 1, $header + 4,  2 ],
	'meta metric'         => [ 1, $header + 6,  1 ],
	'meta own bits'       => [ 1, $header + 7,  1 ],
	'meta dims'           => [ 1, $header + 8,  2 ],
	'meta m'              => [ 1, $header + 10, 2 ],
	'meta ef'             => [ 1, $header + 12, 2 ],
	'meta degree'         => [ 1, $header + 14, 2 ],
	'meta edge dims'      => [ 1, $header + 16, 2, 'damage' ],
	'meta edge bits'      => [ 1, $header + 18, 1, 'damage' ],
	'meta PCA'            => [ 1, $header + 48, 4, 'damage' ],
	'meta slot size'      => [ 1, $header + 20, 2 ],
	'meta slots per page' => [ 1, $header + 22, 2 ],
	'meta mean'           => [ 1, $header + 32, 4 ],
	'meta entry block'    => [ 1, $header + 36, 4 ],
	'meta entry count'    => [ 1, $header + 40, 4 ],
	'meta generation'     => [ 1, $header + 44, 4 ],
	'meta free cells'     => [ 1, $header + 64, 4, 'damage' ],
	'meta flags'          => [ 1, $header + 68, 4, 'damage' ],
	'meta list of NULLs'  => [ 1, $header + 72, 6, 'damage' ],
	'meta list of zeros'  => [ 1, $header + 78, 6, 'damage' ],
	'meta list extreme'   => [ 1, $header + 84, 6, 'damage' ],
	'meta counts'         => [ 1, $header + 96, 8 ],
	'meta build kind'     => [ 1, $header + 128, 1, 'damage' ],
	'meta build inserted' => [ 1, $header + 136, 8 ],
	'meta build seconds'  => [ 1, $header + 144, 4 ],
	'entry element'       => [ 3, $header,      4, 'damage' ],
	'entry version'       => [ 3, $header + 4,  1, 'damage' ],
	'entry scale'         => [ 3, $header + 8,  4, 'damage' ],
	'entry code'          => [ 3, $header + 24, 4, 'damage' ],
	'slot flags'          => [ 4, $at_slot,      1, 'damage' ],
	'slot version'        => [ 4, $at_slot + 1,  1 ],
	'slot neighbor count' => [ 4, $at_slot + 2,  1, 'damage' ],
	'slot heap TID'       => [ 4, $at_slot + 4,  6, 'damage' ],
	'slot list'           => [ 4, $at_slot + 10, 6, 'damage' ],
	'slot scale'          => [ 4, $at_slot + 16, 4, 'damage' ],
	'slot norm'           => [ 4, $at_slot + 20, 4, 'damage' ],
	'slot residual'       => [ 4, $at_slot + 24, 4, 'damage' ],
	'slot neighbor'       => [ 4, $at_slot + 32, 4, 'damage' ],
	'slot edge scale'     => [ 4, $at_slot + 28, 4 ],
	'slot edge factor A'  => [ 4, $at_slot + 32 + 4 * $degree, 4 ],
	'slot edge factor S'  => [ 4, $at_slot + 32 + 6 * $degree, 4 ],
	'slot edge codes'     => [ 4, $at_slot + 32 + 8 * $degree, 32 ],
	'slot code'           => [ 4, $at_slot + $slot_size - 8, 4, 'damage' ],
	'cell next'           => [ 5, $at_cell,      6, 'damage' ],
	'cell TID count'      => [ 5, $at_cell + 6,  1, 'damage' ],
	'cell version'        => [ 5, $at_cell + 7,  1, 'damage' ],
	'cell owner'          => [ 5, $at_cell + 8,  4, 'damage' ],
	'cell sequence'       => [ 5, $at_cell + 12, 4 ],
	'cell TID'            => [ 5, $at_cell + 16, 6, 'damage' ]);

foreach my $kind (1 .. 5)
{
	$fields{"next of kind $kind"}    = [ $kind, $special,      4 ];
	$fields{"kind $kind"}            = [ $kind, $special + 4,  1, 'damage' ];
	$fields{"flags of kind $kind"}   = [ $kind, $special + 5,  1 ];
	$fields{"page id of kind $kind"} = [ $kind, $special + 14, 2, 'damage' ];
	$fields{"pd_lower of kind $kind"} = [ $kind, 12, 2, 'damage' ];
}

# ----------------------------------------------------------------------
# Overwrite and try
# ----------------------------------------------------------------------

# Damage what stands at each of [offset in the file, bytes], then see what
# every kind of access makes of it, in one session.  'expected' is true if it
# must be found, or matches what is then said.
sub try_damage
{
	my ($name, $expected, @changes) = @_;
	my $damaged = $image;
	my ($stdout, $stderr);

	substr $damaged, $_->[0], length $_->[1], $_->[1] foreach @changes;
	drive_out();
	write_file($damaged);
	my $ret = $server->psql('postgres', <<"SQL", stdout => \$stdout, stderr => \$stderr, on_error_stop => 0);
\\set VERBOSITY verbose
SET enable_seqscan = off;
SET client_min_messages = error;
SELECT 'scan ' || count(*) FROM (SELECT id FROM t ORDER BY embedding <-> '$query' LIMIT 5) s;
SET vhnsw.ef_search = 1000;
SELECT 'all ' || count(*) FROM (SELECT id FROM t ORDER BY embedding <-> '$query') s;
SELECT 'check ' || severity || ' ' || message FROM vhnsw_check('i', true);
SELECT 'info ' || elements FROM vhnsw_info('i');
BEGIN;
INSERT INTO t SELECT 1000 + i, CASE WHEN i % 5 = 0 THEN NULL WHEN i % 5 = 1 THEN vec(7) ELSE vec(i) END FROM generate_series(1, 20) i;
ROLLBACK;
VACUUM (INDEX_CLEANUP on) t;
SELECT 'alive';
SQL

	# A TID that leads outside the table, or a code that is not the row's, is
	# found by PostgreSQL.
	my @other = grep {
		/ERROR|FATAL|PANIC|server/
		  && !/ERROR:  (XX00[12]|55000:.*format version)/
		  && !/index returned tuples in wrong order|could not open file "base/
	} split /\n/, $stderr;
	is($ret, 0, "$name: the session lives") or diag $stderr;
	is("@other", '', "$name: no error but of damage");
	like($stdout, qr/alive/, "$name: it answers");
	like("$stdout\n$stderr", ref $expected ? $expected : qr/check damage|ERROR:  XX00[12]/,
		"$name: is found")
	  if $expected;
	return;
}

# Write out all pages of the index and read others until they are forgotten.
# Index scans are not confined to a ring of buffers.
sub drive_out
{
	$server->safe_psql('postgres', <<'SQL');
CHECKPOINT;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
DO $$
BEGIN
    FOR n IN 1 .. 100 LOOP
        PERFORM count(proname) FROM pg_proc WHERE oid > 0;
        IF NOT EXISTS (SELECT FROM pg_buffercache WHERE relfilenode = pg_relation_filenode('i')) THEN
            RETURN;
        END IF;
    END LOOP;
    RAISE 'the index stays in shared buffers';
END $$;
SQL
	return;
}

sub write_file
{
	my ($contents) = @_;
	open my $fh, '+<', $path or die "$path: $!";
	binmode $fh;
	print $fh $contents;
	truncate $fh, length $contents;
	close $fh or die "$path: $!";
	return;
}

sub at { my ($kind, $offset) = @_; return $block{$kind} * $page_size + $offset; }

foreach my $name (sort keys %fields)
{
	my ($kind, $offset, $length, $expected) = @{ $fields{$name} };

	foreach my $byte ("\xFF", "\x00", "\x01")
	{
		my $bytes = $byte x $length;

		# Zero and one may be what was there, or be allowed.
		next if substr($image, at($kind, $offset), $length) eq $bytes;
		next if $byte ne "\xFF" && $offset == 12;    # PostgreSQL's own business
		try_damage(
			"$name = " . unpack('H*', $bytes),
			$byte eq "\xFF" ? $expected : undef,
			[ at($kind, $offset), $bytes ]);
	}
}

# ----------------------------------------------------------------------
# Circles and whole pages
# ----------------------------------------------------------------------

my $cell_address = pack 'vvv', $block{5} >> 16, $block{5} & 0xFFFF, $cell + 1;

try_damage('a cell that leads to itself', 1, [ at(5, $at_cell), $cell_address ]);
try_damage('a TID page that follows itself in the list of those with free cells',
	1, [ at(5, $special), pack 'V', $block{5} ], [ at(1, $header + 64), pack 'V', $block{5} ]);
try_damage('an entry page that follows itself', 0, [ at(3, $special), pack 'V', $block{3} ]);
my $other_codes = qr/ERROR:  XX002.*DETAIL:  The metapage names another metric or type/s;
try_damage('codes of sparse vectors', 1, [ at(1, $header + 7), pack 'C', 16 ]);
try_damage('codes of 4 bits', 1, [ at(1, $header + 7), pack 'C', 4 ]);
try_damage('codes of bit strings', 1, [ at(1, $header + 6), pack 'CC', 5, 1 ]);
try_damage('codes for the inner product', $other_codes, [ at(1, $header + 6), pack 'C', 2 ]);
try_damage('a thousand million dimensions', 1, [ at(1, $header + 120), pack 'v', 15000 ]);
try_damage('an element that lists itself', 1,
	[ at(4, $at_slot + 32), pack 'V', $block{4} * int(8152 / $slot_size) + $slot ]);
try_damage("a page of kind $_ of zeros", $_ != 4, [ at($_, 0), "\x00" x $page_size ]) foreach 1 .. 5;
foreach my $kind (2 .. 5)
{
	my $other = $kind == 2 ? 5 : $kind - 1;
	try_damage("a page of kind $other in place of one of kind $kind", $kind != 2,
		[ at($kind, 0), substr $image, at($other, 0), $page_size ]);
}

drive_out();
write_file($image);
is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('i', true)}), '',
	'without damage nothing is reported');

# ----------------------------------------------------------------------
# A code that is not of its row is noticed by a scan whose bounds are likely
# ones: those of 8 or 4 bits and many dimensions
# ----------------------------------------------------------------------

foreach my $storage (qw(auto tiny))
{
	my $search = load_wide($server, $storage);
	my $file = $server->safe_psql('postgres', q{SELECT pg_relation_filepath('wide_v')});
	my @found = split / /, $server->safe_psql('postgres', $search);
	is(scalar @found, 50, "$storage: all rows are found");
	$server->stop;

	# The norm of the first element is doubled.
	$file = $server->data_dir . "/$file";
	my $damaged = slurp_file($file);
	my ($block) = grep { unpack('C', substr $damaged, $_ * $page_size + $special + 4, 1) == 4 }
	  0 .. length($damaged) / $page_size - 1;
	my $norm = $block * $page_size + $header + 20;
	substr $damaged, $norm, 4, pack 'f<', 2 * unpack 'f<', substr $damaged, $norm, 4;
	open my $fh, '>:raw', $file or die "$file: $!";
	print $fh $damaged;
	close $fh or die "$file: $!";
	$server->start;
	my ($ret, $stdout, $stderr) = $server->psql('postgres', "\\set VERBOSITY verbose\n$search");
	like("$stdout\n$stderr", qr/ERROR:  XX002: index "wide_v" has a code that is not of its row/,
		"$storage: a scan notices a code of another row");
}
drive_out();

# ----------------------------------------------------------------------
# Indexes of other format versions: one that is known is used as it is
# ----------------------------------------------------------------------

# All that uses an index, after its metapage says this version.
my @uses = (
	"SELECT id FROM t ORDER BY embedding <-> '$query' LIMIT 5",
	'INSERT INTO t VALUES (2000, vec(1))',
	'VACUUM (INDEX_CLEANUP on) t',
	q{SELECT * FROM vhnsw_check('i', true)},
	q{SELECT * FROM vhnsw_info('i')});

sub set_version
{
	my ($version) = @_;
	my $other = $image;

	substr $other, at(1, $header + 4), 2, pack 'v', $version;
	drive_out();
	write_file($other);
	return;
}

sub use_index
{
	my ($use) = @_;
	my ($ret, $stdout, $stderr) =
	  $server->psql('postgres', "\\set VERBOSITY verbose\nSET enable_seqscan = off;\n$use");
	return $stderr;
}

my $hint_if_older = 'HINT:  REINDEX the index';
my $hint_if_later = 'DETAIL:  A later version.*HINT:  Install that version, or REINDEX';
foreach my $case ([ 0, $hint_if_older ], [ 1, $hint_if_older ], [ 4, $hint_if_later ], [ 65535, $hint_if_later ])
{
	my ($version, $hint) = @$case;

	set_version($version);
	like(
		use_index($_),
		qr/ERROR:  55000: index "i" has format version $version, .* versions 2 to 3\n.*$hint/s,
		"format version $version: $_") foreach @uses;
}

set_version(2);
is(use_index($_), '', "format version 2: $_") foreach @uses;
is($server->safe_psql('postgres', q{SELECT format_version FROM vhnsw_info('i')}),
	2, '... which the index keeps');
is($server->safe_psql('postgres', q{SELECT count(*) FROM vhnsw_check('i', true)}),
	0, '... and it is whole');

set_version(1);
$server->safe_psql('postgres', 'REINDEX INDEX i');
is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('i', true)}), '',
	'REINDEX makes it whole');
is($server->safe_psql('postgres', q{SELECT format_version FROM vhnsw_info('i')}),
	3, '... and of the latest version');

done_testing();

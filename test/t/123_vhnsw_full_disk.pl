# A build that finds the disk full ends with an error that says so, and leaves
# nothing; the next one succeeds.
#
# Servers load a library that lets files of one kind have so many bytes
# (test/preload/full_disk.c).  A build that succeeds tells how many it writes;
# those that have room for a part of them, from nothing to nearly all, fail:
# of temporary files, where it is done in files, and of the index.  Alone and
# with a worker.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use VecdistTest;

my @compiler = split ' ', $ENV{CC} // 'cc';
plan skip_all => 'the library is for Linux' if $^O ne 'linux';
plan skip_all => 'no C compiler'            if system("@compiler --version >/dev/null 2>&1") != 0;

my $directory = PostgreSQL::Test::Utils::tempdir;
my $library   = "$directory/full_disk.so";
system(@compiler, qw(-shared -fPIC -O1 -Wall -Werror -o), $library, 'test/preload/full_disk.c', '-ldl') == 0
  or die 'full_disk.c is not compiled';

# What the library reads: how many bytes are left, and below which part of a path
my $disk = "$directory/disk";

sub limit_disk
{
	my ($left, $below) = @_;

	open my $file, -e $disk ? '+<' : '>', $disk or die "$disk: $!";
	binmode $file;
	print $file pack 'q a120', $left, $below;
	close $file or die "$disk: $!";
	return;
}

sub left_on_disk { return unpack 'q', slurp_file($disk); }

limit_disk(0, '');
my $server = make_server('full_disk', start => 0, conf => <<'CONF');
autovacuum = off
shared_buffers = 2MB
checkpoint_timeout = 1h
max_parallel_workers = 8
CONF
{
	local $ENV{LD_PRELOAD} = join ':', $library, $ENV{LD_PRELOAD} // ();
	local $ENV{FULL_DISK}  = $disk;
	$server->start;
}

$server->safe_psql('postgres', 'CREATE EXTENSION vecdist');
load_clusters($server, 'items', 9000, 136, workers => 1);
my $database   = 'base/' . $server->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'postgres'});
my $create     = 'CREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops)';
my $huge       = 2**60;
my $files_then = files();

# Of the database.  Files of dropped relations go with a checkpoint.
sub files
{
	return $server->safe_psql('postgres', "CHECKPOINT; SELECT count(*) FROM pg_ls_dir('$database')");
}

# Build with so much room for what is below; returns what is said.
sub build
{
	my ($room, $below, $settings) = @_;
	my $said;

	limit_disk($room, $below);
	$server->psql('postgres', "\\set VERBOSITY verbose\n$settings; $create;", stderr => \$said);
	return $said;
}

# In each kind of files: where they are, how to build, what it is called, and
# what is said when they find no room
my @kinds = (
	[ 'base/pgsql_tmp/', q{SET maintenance_work_mem = '8MB'}, 'blocked in files',
		qr/ERROR:  53100: could not write to temporary file of an index build: No space left on device$/m ],
	[ "$database/", q{SET maintenance_work_mem = '200MB'}, 'blocked',
		qr/ERROR:  53100: could not (?:extend|write blocks? [\d.]+ in) file "\S+"(?: with \w+\(\))?: (?:No space left on device|wrote only \d+ of \d+ bytes)/m ]);

foreach my $kind (@kinds)
{
	my ($below, $memory, $method, $expected) = @$kind;

	foreach my $workers (0, 1)
	{
		my $settings = "$memory; SET max_parallel_maintenance_workers = $workers";
		my $name     = "$method, $workers workers";

		is(build($huge, $below, $settings), '', "$name: with room enough");
		my $wanted = $huge - left_on_disk();
		cmp_ok($wanted, '>', 1_000_000, "$name: $wanted bytes are written");
		$server->safe_psql('postgres', 'DROP INDEX items_v; CHECKPOINT');

		foreach my $part (0, 0.2, 0.4, 0.6, 0.8)
		{
			my $said = build(int($wanted * $part), $below, $settings);

			limit_disk(0, '');
			like($said, $expected, "$name: error with $part of the room");
			like($said, qr/^HINT:  Check free disk space\.$/m, "$name: and what to do") if $said =~ /extend/;
			is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 'items_v'}), 0, "$name: no index");
			is(temporary_files($server), '', "$name: no temporary file");
			is(files(), $files_then, "$name: no file");
		}
		is(build(0, '', $settings), '', "$name: built after all that");
		is($server->safe_psql('postgres', q{SELECT build_method, build_workers FROM vhnsw_info('items_v')}),
			"$method|$workers", "$name: as it was to be");
		is($server->safe_psql('postgres', q{SELECT * FROM vhnsw_check('items_v')}), '', "$name: vhnsw_check");
		$server->safe_psql('postgres', 'DROP INDEX items_v');
	}
}

done_testing();

# make install-vector-shim does not overwrite pgvector's files, whose names its
# own have, and make uninstall-vector-shim removes only what is its own.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $destdir = PostgreSQL::Test::Utils::tempdir();
chomp(my $sharedir = `pg_config --sharedir`);
my $directory = "$destdir$sharedir/extension";

# Run make; returns whether it succeeded, and what it wrote.
sub run_make
{
	my ($target) = @_;
	my $output = '';
	my $ok = IPC::Run::run(
		[ 'make', '-C', 'shim', $target, "DESTDIR=$destdir" ],
		'<', \undef, '>&', \$output);
	return ($ok, $output);
}

# What stands in the directory: names, and the contents of all files.
sub files
{
	return join ' ', sort map { s{.*/}{}r } glob "$directory/*";
}

sub contents
{
	return join "\0", map { "$_\0" . slurp_file($_) } sort glob "$directory/*";
}

sub write_file
{
	my ($name, $text) = @_;
	open my $out, '>', "$directory/$name" or die "could not write $name: $!\n";
	print $out $text;
	close $out;
	return;
}

# Alone, and over itself
my ($ok, $output) = run_make('install-vector-shim');
ok($ok, 'install') or diag $output;
like(files(), qr/^vector--0\.8\.\S+\.sql vector\.control$/, 'two files');
my ($script) = files() =~ /^(\S+\.sql)/;
my $ours = contents();
($ok) = run_make('install-vector-shim');
ok($ok, 'install again');
is(contents(), $ours, 'gives the same');

# Among the files of others
write_file('vecdist.control', "comment = 'vecdist'\n");
write_file('vector--0.7.0--0.7.1.sql', "-- an upgrade\n");
($ok) = run_make('uninstall-vector-shim');
ok($ok, 'uninstall');
is(files(), 'vecdist.control vector--0.7.0--0.7.1.sql', 'removes its own');
($ok) = run_make('uninstall-vector-shim');
ok($ok, 'nothing to uninstall is no error');

# Where pgvector is
foreach my $name ('vector.control', $script)
{
	write_file($name, "-- of pgvector\n");
	my $before = contents();
	($ok, $output) = run_make('install-vector-shim');
	ok(!$ok, "not installed over pgvector's $name");
	like($output, qr/\Q$name\E belongs to pgvector; remove its package first/, 'and says why');
	is(contents(), $before, 'all files are as before');
	unlink "$directory/$name";
}

# pgvector's package was installed later: what is left of ours goes.
run_make('install-vector-shim');
write_file('vector.control', "comment = 'of pgvector'\n");
($ok, $output) = run_make('uninstall-vector-shim');
ok($ok, "uninstall beside pgvector's control file") or diag $output;
is(files(), 'vecdist.control vector--0.7.0--0.7.1.sql vector.control', 'which stays');
is(slurp_file("$directory/vector.control"), "comment = 'of pgvector'\n", 'as it was');

done_testing();

# The examples in docs/reference of types and functions run as they stand and
# give the output printed below them.
#
# An example is a block marked sql; its output is the unmarked block that
# follows at once, as psql prints it less the row counts.  All examples of one
# file run in one session, in order, each file in a database of its own.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @files = grep { -e } map { "docs/reference/$_.md" } qw(vector halfvec sparsevec bit);
plan skip_all => 'docs/reference is not here' if !@files;

my $server = PostgreSQL::Test::Cluster->new('server');
$server->init;
$server->start;

# Returns a list of [statements, expected output, line number].
sub examples
{
	my ($file) = @_;
	my @examples;
	my $block;

	open my $in, '<', $file or die "could not read $file: $!\n";
	while (my $line = <$in>)
	{
		if ($line =~ /^```(\w*)$/)
		{
			my $kind = $1;
			my $text = '';
			my $start = $.;

			while (defined($line = <$in>) && $line !~ /^```$/)
			{
				$text .= $line;
			}
			if ($kind eq 'sql')
			{
				push @examples, ($block = [ $text, '', $start ]);
			}
			elsif ($kind eq '' && $block)
			{
				$block->[1] = $text;
				$block = undef;
			}
		}
		else
		{
			$block = undef;
		}
	}
	close $in;
	return @examples;
}

# What psql prints differs from what a document shows in white space at the
# end of lines and in row counts.
sub normalized
{
	my ($text) = @_;

	$text =~ s/[ \t]+$//mg;
	$text =~ s/^\(\d+ rows?\)\n//mg;
	$text =~ s/\n+\z//;
	return $text;
}

foreach my $file (@files)
{
	my ($database) = $file =~ m{(\w+)\.md$};
	my @examples = examples($file);
	my $script = join '', map { "\\echo \@\@\@\n$_->[0]\n" } @examples;
	my ($output, $errors);

	$database = "examples_$database";
	$server->safe_psql('postgres', "CREATE DATABASE $database");
	$server->safe_psql($database, 'CREATE EXTENSION vecdist');
	IPC::Run::run [ 'psql', '-Xq', '-d', $server->connstr($database) ],
	  '<', \$script, '>', \$output, '2>', \$errors;

	cmp_ok(scalar @examples, '>', 0, "$file has examples");
	is($errors, '', "examples in $file raise no error");
	my (undef, @outputs) = split /^\@\@\@\n/m, $output;
	foreach my $example (@examples)
	{
		is(normalized(shift @outputs // ''),
			normalized($example->[1]), "$file, line $example->[2]");
	}
}

done_testing();

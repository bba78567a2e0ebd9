# The examples in docs/reference of types and functions, and those of the guides to
# tuning and to building indexes, run as they stand and give the output printed below them.
#
# An example is a block marked sql; its output is the unmarked block that
# follows at once, as psql prints it less the row counts.  All examples of one
# file run in one session, in order, each file in a database of its own.
#
# The tables of errors have examples too: every one gives an SQLSTATE and a
# message of its row.
#
# Nothing is left out: the document of each type speaks of every function and
# cast function, shows every operator and public function in an example, and
# has one for every message; that of vhnsw shows every operator class and speaks of
# every setting, option and function.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @files = grep { -e } map { "docs/reference/$_.md" } qw(vector halfvec sparsevec bit vhnsw);
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

foreach my $file (@files, grep { -e } map { "docs/operations/$_.md" } qw(tuning building_indexes))
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

# ----------------------------------------------------------------------
# Errors
# ----------------------------------------------------------------------

# Returns the rows of the table of errors: [SQLSTATE, messages, examples], the
# messages as patterns.
sub errors
{
	my ($text) = @_;
	my @rows;

	foreach my $line ($text =~ /^\| [0-9A-Z]{5} \|.*$/mg)
	{
		my (undef, $code, $messages, $examples) =
		  map { s/^ +| +$//gr } split /\|/, $line;
		my @patterns = map {
			my $pattern = quotemeta;
			$pattern =~ s/\\\*\w+\\\*/\\S+/g;
			$pattern =~ s/\\\.\\\.\\\./.*/g;
			qr/^$pattern$/
		} split /; /, $messages;

		push @rows, [ $code, \@patterns, [ $examples =~ /`(.+?)`/g ] ];
	}
	return @rows;
}

# The SQLSTATE and the message that an example gives: a statement, an
# expression, or the bytes of the binary form of a type.
sub error_of
{
	my ($database, $type, $example) = @_;
	my $sql = $example =~ /^[A-Z]+ / && $example !~ /^ARRAY/ ? $example : "SELECT $example";

	if ($example =~ /^\\x(.*)/)
	{
		my $file = PostgreSQL::Test::Utils::tempdir() . '/field';

		unlink $file;
		append_to_file($file, "PGCOPY\n\xff\r\n\0" . pack('NNnN/a*n', 0, 0, 1, pack('H*', $1), 0xffff));
		$sql = "CREATE TEMP TABLE one (v $type); COPY one FROM '$file' (FORMAT binary)";
	}
	my (undef, undef, $stderr) =
	  $server->psql($database, "\\set VERBOSITY verbose\n$sql");
	return $stderr =~ /ERROR:  (\w{5}): (.*)/ ? ($1, $2) : ('', $stderr);
}

foreach my $file (@files)
{
	my ($type) = $file =~ m{(\w+)\.md$};
	my @wrong;
	my $examples = 0;

	foreach my $row (errors(slurp_file($file)))
	{
		my ($code, $patterns, $list) = @$row;
		my @unseen = @$patterns;

		foreach my $example (@$list)
		{
			my ($state, $message) = error_of("examples_$type", $type, $example);

			$examples++;
			push @wrong, "$example: $state $message"
			  if $state ne $code || !grep { $message =~ $_ } @$patterns;
			@unseen = grep { $message !~ $_ } @unseen;
		}
		push @wrong, "no example of $code @unseen"
		  if @unseen && ($type ne 'vhnsw' || @$list);
	}
	cmp_ok($examples, '>', 0, "$file has examples of errors");
	is(join("\n", @wrong), '', 'which give what it says');
}

# ----------------------------------------------------------------------
# Completeness
# ----------------------------------------------------------------------

# What the catalogs have for each type: lines of type, kind and name.  Functions
# named after a type serve operators, casts, aggregates and the type's forms:
# no example calls them.
my %text = map { m{(\w+)\.md$} => slurp_file($_) } @files;
my %shown;
foreach my $type (keys %text)
{
	$shown{$type} = join '', $text{$type} =~ /^```sql\n(.*?)^```$/msg;
	$text{$type} =~ s/\\\|/|/g;
}
my @objects = split /\n/, $server->safe_psql('examples_vector', <<'SQL');
WITH ours AS (
    SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass
        AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vecdist')),
types AS (
    SELECT oid, typname FROM pg_type
    WHERE oid IN ('vector'::regtype, 'halfvec'::regtype, 'sparsevec'::regtype, 'bit'::regtype))
SELECT DISTINCT typname, CASE WHEN proname ~ '^(vector|halfvec|sparsevec)_(?!dims|norm)|^array_to|^(vector|halfvec|sparsevec)$'
    THEN 'private' ELSE 'function' END, proname
FROM pg_proc AS p JOIN ours ON classid = 'pg_proc'::regclass AND objid = p.oid
    AND pronamespace <> 'vecdist'::regnamespace
    JOIN types AS t ON t.oid = ANY (proargtypes::oid[]) OR t.oid = prorettype AND proname ~ ('^(array_to_)?' || typname)
UNION
SELECT typname, 'operator', oprname
FROM pg_operator AS o JOIN ours ON classid = 'pg_operator'::regclass AND objid = o.oid
    JOIN types AS t ON t.oid = oprleft
ORDER BY 1, 2, 3;
SQL
my (@unmentioned, @unshown);
foreach my $object (@objects)
{
	my ($type, $kind, $name) = split /\|/, $object, 3;
	my $word = $kind eq 'operator' ? qr/(?<![^\s`])\Q$name\E(?![^\s`])/ : qr/\b$name\b/;

	push @unmentioned, $object if $text{$type} !~ $word;
	push @unshown, $object if $kind ne 'private' && $shown{$type} !~ $word;
}
cmp_ok(scalar @objects, '>', 130, 'the catalogs list functions and operators');
is("@unmentioned", '', 'the documents speak of all of them');
is("@unshown",     '', 'examples show all that users call');

# vhnsw
@objects = split /\n/, $server->safe_psql('examples_vhnsw', <<'SQL');
LOAD 'vecdist';
SELECT 'shown', opcname FROM pg_opclass JOIN pg_am AS a ON a.oid = opcmethod WHERE amname = 'vhnsw'
UNION ALL
SELECT 'mentioned', proname FROM pg_proc WHERE proname ~ '^vhnsw_' AND prorettype <> 'integer'::regtype
    AND prorettype <> 'index_am_handler'::regtype
UNION ALL
SELECT 'mentioned', name FROM pg_settings WHERE name LIKE 'vhnsw.%'
UNION ALL
SELECT 'mentioned', column_name
FROM unnest(ARRAY['vhnsw_info', 'vhnsw_check', 'vhnsw_stats']) AS f,
    LATERAL (SELECT proargnames, proargmodes FROM pg_proc WHERE proname = f) AS p,
    LATERAL unnest(proargnames, proargmodes::text[]) AS c (column_name, mode) WHERE mode IN ('o', 't')
ORDER BY 1, 2;
SQL
my @absent = grep {
	my ($where, $name) = split /\|/;
	($where eq 'shown' ? $shown{vhnsw} : $text{vhnsw}) !~ /\b\Q$name\E\b/
} @objects;
cmp_ok(scalar @objects, '>', 65, 'the catalogs list what there is of vhnsw');
is("@absent", '', 'its document has it all');

done_testing();

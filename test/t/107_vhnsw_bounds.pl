# Bounds are never above the distance, whatever the vectors (I8).
#
# Pairs of vectors that are hard on the arithmetic, of 1 to 16,000 dimensions,
# under each metric, type and length of codes: the bound from the code of one must
# not be above what the SQL function returns, and likely bounds hardly ever; where
# they are, a scan goes on.  VECDIST_PAIRS (default: 100,000 in all) and
# VECDIST_SEED choose others; "make check-bounds" takes three million.

use strict;
use warnings;

use Test::More;

use lib 'test/perl';
use VecdistTest;

my $pairs = $ENV{VECDIST_PAIRS} || 100_000;
my $seed = $ENV{VECDIST_SEED} || 1;

my @dims = (1, 2, 3, 4, 7, 16, 31, 64, 100, 128, 384, 960, 4096);
my %type = (vector => 1, halfvec => 2, sparsevec => 4);

# [type, own bits; 0 = the most], and the share of bounds that must be near
my @codes = (
	[ 'halfvec',   0, 1 / 5 ],
	[ 'sparsevec', 0, 1 / 5 ],
	[ 'vector',    0, 1 / 5 ],
	[ 'halfvec',   4, 1 / 5 ],
	[ 'vector',    4, 1 / 5 ]);
my @metrics = (
	[ L2              => 1, 'l2_distance' ],
	[ 'inner product' => 2, 'negative_inner_product' ],
	[ cosine          => 3, 'cosine_distance' ],
	[ L1              => 4, 'l1_distance' ]);

my $server = make_server('bounds', conf => "autovacuum = off\n");
$server->safe_psql('postgres', <<'SQL');
CREATE EXTENSION vecdist;
CREATE FUNCTION try_bounds(distance regprocedure, convert regprocedure, type integer, metric integer,
    dims integer, pairs bigint, seed bigint, own_bits integer,
    OUT pairs bigint, OUT outside bigint, OUT sharp bigint, OUT unlucky bigint, OUT wrong text) RETURNS record
AS '$libdir/vecdist', 'vhnsw_try_bounds' LANGUAGE C;
SQL

sub try_bounds
{
	my ($type, $metric, $function, $dims, $n, $settings, $bits) = @_;

	$function = "${type}_$function" if $function =~ /^negative/;
	my $convert = $type eq 'vector' ? '0' : "vector_to_$type(vector,integer,boolean)";
	return split /\|/,
	  $server->safe_psql('postgres', <<"SQL"), -1;
$settings
SELECT * FROM try_bounds('$function($type,$type)', '$convert', $type{$type}, $metric, $dims, $n, $seed, $bits)
SQL
}

my $each = int($pairs / (@codes * @metrics * @dims)) + 1;
my $tried = 0;

foreach my $code (@codes)
{
	my ($type, $bits, $near) = @$code;
	my $coded = $bits ? "$type, $bits bits" : $type;

	foreach my $metric (@metrics)
	{
		my ($name, $number, $function) = @$metric;
		my ($all, $bounded, $all_sharp, $all_unlucky) = (0, 0, 0, 0);
		my @wrong;

		foreach my $dims (@dims, $bits ? 16_000 : ())
		{
			my ($n, $outside, $sharp, $unlucky, $message) =
			  try_bounds($type, $number, $function, $dims, $each, '', $bits);

			push @wrong, "$dims dimensions: $message" if $message ne '';
			$all += $n + $outside;
			$bounded += $n;
			$all_sharp += $sharp;
			$all_unlucky += $unlucky;
		}
		is(join("\n", @wrong), '', "$coded, $name: no bound is above the distance");
		cmp_ok($all_sharp, '>', $bounded * $near, "... and $all_sharp of $bounded are near it");
		cmp_ok($bounded, '>', $all / 5, "... of $all pairs");

		# Those that are belong to a few vectors drawn again and again.
		cmp_ok($all_unlucky, '<=', $bits ? $bounded / 100 : 1, "... and $all_unlucky likely bounds are above it");
		$tried += $bounded;
	}
}
cmp_ok($tried, '>', $pairs / 3, "$tried pairs in all");

my ($n, $outside, $sharp, $unlucky, $message) =
  try_bounds('vector', 1, 'l2_distance', 16, 100_000,
	"SET vecdist.debug_mistake = 'vhnsw-bound-too-high';", 0);
like($message, qr/^bound .* distance /, 'a bound that is too high is noticed');

# ----------------------------------------------------------------------
# A likely bound above the distance is bad luck, not damage: a Vhnsw Scan goes on
# (112_vhnsw_damage.pl has the other case)
# ----------------------------------------------------------------------

my $unlucky_bounds = "SET vecdist.debug_mistake = 'vhnsw-unlucky-bound';";

foreach my $storage (qw(auto tiny))
{
	($n, $outside, $sharp, $unlucky, $message) =
	  try_bounds('vector', 1, 'l2_distance', 100, 10_000, $unlucky_bounds, $storage eq 'tiny' ? 4 : 0);
	cmp_ok($unlucky, '>', $n / 4, "$storage: $unlucky likely bounds of $n are made too high");
	my $search = load_wide($server, $storage);
	my $exact = $search =~ s/enable_(seqscan|sort) = off/enable_indexscan = off/gr;
	my ($ret, $stdout, $stderr) = $server->psql('postgres', "$unlucky_bounds\n$search");
	is("$stdout$stderr", $server->safe_psql('postgres', $exact), "$storage: and a scan returns all rows in order");
}

done_testing();

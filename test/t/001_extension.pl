# The extension can be preloaded, created and dropped, and dropping it leaves
# the catalogs as they were.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $server = PostgreSQL::Test::Cluster->new('server');
$server->init;
$server->append_conf('postgresql.conf',
	"shared_preload_libraries = 'vecdist'");
$server->start;

# The number of objects of each kind an extension may bring.
sub count_objects
{
	my $union = join ' UNION ALL ',
	  map { "SELECT '$_', count(*) FROM pg_catalog.$_" }
	  qw(pg_namespace pg_class pg_proc pg_type pg_operator pg_opclass
	  pg_opfamily pg_amop pg_amproc pg_am pg_cast pg_foreign_data_wrapper
	  pg_event_trigger pg_description pg_depend);
	return $server->safe_psql('postgres', "$union ORDER BY 1");
}

my $before = count_objects();
my ($rc, undef, $stderr) =
  $server->psql('postgres', 'CREATE EXTENSION vecdist');
is($rc,     0,  'CREATE EXTENSION with the library preloaded');
is($stderr, '', 'without a message');
$server->safe_psql('postgres', 'DROP EXTENSION vecdist CASCADE');
is(count_objects(), $before, 'DROP EXTENSION leaves nothing behind');

done_testing();

# A build that is at work ends soon after a cancel, whatever it is doing.
#
# In memory and in files, with workers, a build of many short rows is canceled at
# moments that are spread over all of its CPU time.  From then on, leader and
# workers together take a small part of the CPU time of the whole build, and they
# leave nothing behind.  Only their own CPU time counts: how long they wait for
# processors does not matter.

use strict;
use warnings;

use List::Util qw(sum0);
use POSIX qw(sysconf _SC_CLK_TCK);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use VecdistTest;

my $moments = 8;

# Which part of the whole build's CPU time may be used after a cancel
my $part = 0.06;

# In memory, and in files
my %memory = (memory => '200MB', files => '22MB');
my %method = (memory => 'blocked', files => 'blocked in files');

my $server = make_server('cancel', conf => <<'CONF');
autovacuum = off
max_parallel_workers = 8
max_parallel_maintenance_workers = 2
CONF

# Clusters, rows that repeat others, NULLs
$server->safe_psql('postgres', 'CREATE EXTENSION vecdist');
load_clusters($server, 'items', 110000, 8, clusters => 90, width => 64, workers => 2);
$server->safe_psql('postgres', <<'SQL');
INSERT INTO items SELECT id, v FROM items WHERE id % 4 = 0;
INSERT INTO items SELECT n, NULL FROM generate_series(1, 50000) n;
CHECKPOINT;
SQL

my ($postmaster) = slurp_file($server->data_dir . '/postmaster.pid') =~ /^(\d+)/;
my $session = $server->background_psql('postgres', on_error_stop => 0);
my $leader  = $session->query_safe('SET client_min_messages = warning; SELECT pg_backend_pid()');
my $watcher = $server->background_psql('postgres');

# What a file of a process says; nothing when the process has ended
sub file_of
{
	my ($process, $name) = @_;

	return eval { slurp_file("/proc/$process/$name") } // '';
}

# CPU seconds that a process has used
sub cpu_of
{
	my ($process) = @_;
	my @fields = file_of($process, 'stat') =~ /\) (.*)/ ? split ' ', $1 : return;

	return ($fields[11] + $fields[12]) / sysconf(_SC_CLK_TCK);
}

# Of a build: what the leader had used before, and what each worker has used
my ($before, %workers);

# CPU seconds of the build by now; of workers that have ended, as last seen
sub used
{
	foreach my $process (split ' ', slurp_file("/proc/$postmaster/task/$postmaster/children"))
	{
		next unless file_of($process, 'cmdline') =~ /parallel worker for PID $leader\b/;
		$workers{$process} = cpu_of($process) // $workers{$process};
	}
	return cpu_of($leader) - $before + sum0(grep { defined } values %workers);
}

sub is_building { return file_of($leader, 'cmdline') =~ /CREATE INDEX/; }

# Build, and cancel it when that much CPU time is used.  Returns what was used
# until the build has ended, and from the cancel on, and the phase it was in; the
# latter are undefined if the build ends before it can be canceled.
sub build
{
	my ($until) = @_;
	my ($canceled, $phase);
	my $tries = 0;

	%workers = ();
	$before  = cpu_of($leader);
	$session->query_until(qr/begins/, "\\echo begins\nCREATE INDEX items_v ON items USING vhnsw (v vector_l2_ops);\n");
	usleep(1_000) until is_building() || $tries++ > 1000 * $PostgreSQL::Test::Utils::timeout_default;
	usleep(2_000) while used() < $until && is_building();
	if (is_building())
	{
		$phase    = $watcher->query_safe('SELECT phase FROM pg_stat_progress_create_index');
		$canceled = used();
		kill 'INT', $leader;
	}
	my $used = used();
	while (is_building())
	{
		usleep(2_000);
		$used = used();
	}
	$session->query('');
	return ($used) if $session->{stderr} eq '';
	die $session->{stderr} if $session->{stderr} !~ /canceling statement due to user request/;
	$session->{stderr} = '';
	return ($used, $used - $canceled, $phase);
}

foreach my $where (sort keys %memory)
{
	$session->query_safe("SET maintenance_work_mem = '$memory{$where}'");
	my ($whole) = build(9**9**9);
	is($server->safe_psql('postgres', q{SELECT build_method, build_workers FROM vhnsw_info('items_v')}),
		"$method{$where}|2", "$where: how it was built");
	cmp_ok(sum0(values %workers), '>', 0, "$where: workers were seen at work");
	$session->query_safe('DROP INDEX items_v');
	note("$where: $whole CPU seconds");

	foreach my $moment (1 .. $moments)
	{
		my ($used, $after, $phase) = build($whole * ($moment - 0.5) / $moments);

		# On an idle machine a build takes less than on a busy one.
		until (defined $after)
		{
			$session->query_safe('DROP INDEX items_v');
			$whole = $used;
			($used, $after, $phase) = build($whole * ($moment - 0.5) / $moments);
		}
		cmp_ok($after, '<', $whole * $part, "$where, moment $moment: CPU seconds after a cancel");
		note(sprintf "canceled in phase '$phase': %.2f CPU seconds to the end, of %.2f", $after, $used);
		is($server->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 'items_v'}), 0, "$where, moment $moment: no index");
		is(temporary_files($server), '', "$where, moment $moment: no temporary file");
	}
}

$session->quit;
$watcher->quit;
done_testing();

=pod

=head1 NAME

VecdistProxy - a TCP proxy between PostgreSQL servers that counts and fails

=head1 SYNOPSIS

  my $proxy = VecdistProxy->new(target => $server->port);

  # ... connect to 127.0.0.1, $proxy->port ...
  my $stats = $proxy->stats;       # connections, turns, bytes_to_server, ...
  $proxy->reset_stats;

  $proxy->rule('cut', to_client => 3);   # close when the 3rd message arrives
  $proxy->rule('stall', to_server => 5); # swallow from the 5th message on
  $proxy->delay(50);                     # hold every message for 50 ms
  $proxy->refuse(1);                     # close new connections at once
  $proxy->pass;                          # forget rules, delays and refusals

=head1 DESCRIPTION

The proxy speaks enough of the frontend/backend protocol to see messages, not
only bytes: rules act at the start of the n-th message, and the message itself
is not passed on.  Messages are counted per connection for rules, and over all
connections for the statistics.  A rule acts once, on the first connection
that reaches it; the one that a "stall" hit stays silent until pass() or the
end.  A turn is one burst from the client that comes after the server spoke (or
first): the number of round-trips an exchange took.

The proxy is a process of its own, in which no test code runs.  Commands go
through its standard input; when that closes, it exits, so it does not survive
the test that started it.

=cut

package VecdistProxy;

use strict;
use warnings;

use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use IPC::Open2 qw(open2);
use Socket ();
use Time::HiRes qw(time);

# The first messages of a connection have no type byte but these codes.
use constant SSL_REQUEST    => 80877103;
use constant GSSENC_REQUEST => 80877104;
use constant CANCEL_REQUEST => 80877102;

# ----------------------------------------------------------------------
# The test's side
# ----------------------------------------------------------------------

# Start a proxy for 127.0.0.1:target.  "port" is where it listens; by default
# the kernel chooses.
sub new
{
	my ($class, %params) = @_;
	my $self = bless {}, $class;

	(my $dir = $INC{'VecdistProxy.pm'}) =~ s{/?VecdistProxy\.pm$}{};
	$dir = '.' if $dir eq '';
	$self->{pid} = open2(
		$self->{from}, $self->{to}, $^X, "-I$dir", '-MVecdistProxy', '-e',
		'VecdistProxy::serve(@ARGV)', $params{target}, $params{port} // 0);
	$self->{to}->autoflush(1);
	chomp(my $port = readline($self->{from}) // die 'proxy did not start');
	$self->{port} = $port;
	return $self;
}

sub port
{
	my ($self) = @_;
	return $self->{port};
}

# Send one command and return the one-line answer.
sub command
{
	my ($self, $command) = @_;
	print { $self->{to} } "$command\n";
	chomp(my $answer = readline($self->{from}) // die 'proxy is gone');
	die "proxy: $answer" if $answer =~ /^error/;
	return $answer;
}

# Counters since the start or the last reset_stats, as a hash reference.
sub stats
{
	my ($self) = @_;
	return { map { split /=/ } split / /, $self->command('stats') };
}

sub reset_stats
{
	my ($self) = @_;
	return $self->command('reset');
}

# rule(ACTION, DIRECTION => N), ACTION cut or stall, DIRECTION to_server or
# to_client.
sub rule
{
	my ($self, $action, $direction, $n) = @_;
	return $self->command("rule $action $direction $n");
}

sub delay
{
	my ($self, $ms) = @_;
	return $self->command("delay $ms");
}

sub refuse
{
	my ($self, $on) = @_;
	return $self->command("refuse $on");
}

sub pass
{
	my ($self) = @_;
	return $self->command('pass');
}

# Close every connection now.
sub cut_all
{
	my ($self) = @_;
	return $self->command('cut_all');
}

sub stop
{
	my ($self) = @_;
	return unless $self->{pid};
	close $self->{to};
	waitpid($self->{pid}, 0);
	delete $self->{pid};
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!);
	$self->stop;
	return;
}

# ----------------------------------------------------------------------
# The proxy's side
# ----------------------------------------------------------------------

my (%stats, @rules, @connections, $delay_s, $refuse);

sub reset_counters
{
	%stats = map { $_ => 0 }
	  qw(connections turns messages_to_server messages_to_client
	  bytes_to_server bytes_to_client);
	return;
}

sub reset_rules
{
	@rules = ();
	$delay_s = 0;
	$refuse = 0;
	$_->{stalled} = 0 foreach @connections;
	return;
}

sub obey
{
	my ($line) = @_;
	my ($command, @args) = split ' ', $line;

	if ($command eq 'stats')
	{
		return join ' ', map { "$_=$stats{$_}" } sort keys %stats;
	}
	elsif ($command eq 'reset')
	{
		reset_counters();
	}
	elsif ($command eq 'rule'
		&& @args == 3
		&& $args[0] =~ /^(cut|stall)$/
		&& $args[1] =~ /^to_(server|client)$/)
	{
		push @rules, { action => $args[0], way => $args[1], n => $args[2] };
	}
	elsif ($command eq 'delay')
	{
		$delay_s = $args[0] / 1000;
	}
	elsif ($command eq 'refuse')
	{
		$refuse = $args[0];
	}
	elsif ($command eq 'pass')
	{
		reset_rules();
	}
	elsif ($command eq 'cut_all')
	{
		close_connection($_) foreach @connections;
		@connections = ();
	}
	else
	{
		return "error: command \"$line\" is not known";
	}
	return 'ok';
}

sub open_connection
{
	my ($listener, $target) = @_;
	my $client = $listener->accept or return;

	if ($refuse)
	{
		close $client;
		return;
	}
	my $server = IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => $target,
		Proto    => 'tcp');
	if (!$server)
	{
		close $client;
		return;
	}
	$stats{connections}++;
	my $connection = {
		client    => $client,
		server    => $server,
		to_server => { unparsed => '', out => [], count => 0, startup => 1 },
		to_client => { unparsed => '', out => [], count => 0 },
		spoke     => 'server',
		stalled   => 0,
		ssl_reply => 0
	};
	foreach my $socket ($client, $server)
	{
		$socket->blocking(0);
		$socket->sockopt(Socket::SO_KEEPALIVE(), 1);
		setsockopt($socket, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
	}
	push @connections, $connection;
	return;
}

sub close_connection
{
	my ($connection) = @_;
	close $connection->{client};
	close $connection->{server};
	$connection->{closed} = 1;
	return;
}

# Take the first whole message off the stream, or return undef.  Keeps track
# of the untyped messages at the beginning of a connection.
sub next_message
{
	my ($connection, $way) = @_;
	my $stream = $connection->{$way};
	my $length;

	if ($way eq 'to_client' && $connection->{ssl_reply})
	{
		return undef if length $stream->{unparsed} < 1;
		$connection->{ssl_reply}--;
		return substr $stream->{unparsed}, 0, 1, '';
	}
	if ($stream->{startup})
	{
		return undef if length $stream->{unparsed} < 8;
		my ($len, $code) = unpack 'NN', $stream->{unparsed};
		return undef if length $stream->{unparsed} < $len;
		if ($code == SSL_REQUEST || $code == GSSENC_REQUEST)
		{
			$connection->{ssl_reply}++;
		}
		elsif ($code != CANCEL_REQUEST)
		{
			$stream->{startup} = 0;
		}
		$length = $len;
	}
	else
	{
		return undef if length $stream->{unparsed} < 5;
		$length = 1 + unpack 'x1N', $stream->{unparsed};
	}
	return undef if length $stream->{unparsed} < $length;
	return substr $stream->{unparsed}, 0, $length, '';
}

# Apply the first matching rule to the message just counted.  Returns false if
# the message must not be passed on.
sub apply_rules
{
	my ($connection, $way) = @_;

	foreach my $i (0 .. $#rules)
	{
		my $rule = $rules[$i];
		next
		  if $rule->{way} ne $way
		  || $connection->{$way}{count} != $rule->{n};
		splice @rules, $i, 1;
		if ($rule->{action} eq 'cut')
		{
			# What came before the n-th message still arrives.
			write_out($connection, $_, 1) foreach qw(to_server to_client);
			close_connection($connection);
		}
		else
		{
			$connection->{stalled} = 1;
		}
		return 0;
	}
	return 1;
}

# Read what arrived, count its messages, and queue them with their due time.
sub read_in
{
	my ($connection, $way) = @_;
	my $stream = $connection->{$way};
	my $from   = $way eq 'to_server' ? 'client' : 'server';
	my $got    = sysread $connection->{$from}, my $bytes, 65536;

	if (!defined $got)
	{
		return if $!{EAGAIN} || $!{EINTR};
		close_connection($connection);
		return;
	}
	if ($got == 0)
	{
		# A stalled connection hides the other side's end as well.
		if ($connection->{stalled})
		{
			$connection->{"${from}_ended"} = 1;
			return;
		}
		write_out($connection, $_, 1) foreach qw(to_server to_client);
		close_connection($connection);
		return;
	}

	$stats{"bytes_$way"} += $got;
	if ($from eq 'client' && $connection->{spoke} eq 'server')
	{
		$stats{turns}++;
	}
	$connection->{spoke} = $from;
	return if $connection->{stalled};

	$stream->{unparsed} .= $bytes;
	while (defined(my $message = next_message($connection, $way)))
	{
		$stream->{count}++;
		$stats{"messages_$way"}++;
		return if !apply_rules($connection, $way);
		push @{ $stream->{out} }, [ time + $delay_s, $message ];
	}
	return;
}

# Pass on what is due ("all": everything queued).
sub write_out
{
	my ($connection, $way, $all) = @_;
	my $queue = $connection->{$way}{out};
	my $to = $connection->{ $way eq 'to_server' ? 'server' : 'client' };

	while (@$queue && ($all || $queue->[0][0] <= time))
	{
		return if $connection->{closed};
		my $written = syswrite $to, $queue->[0][1];
		if (!defined $written)
		{
			return if $!{EAGAIN} || $!{EINTR};
			close_connection($connection);
			return;
		}
		if ($written == length $queue->[0][1])
		{
			shift @$queue;
		}
		else
		{
			substr $queue->[0][1], 0, $written, '';
		}
	}
	return;
}

# Main loop of the proxy process.
sub serve
{
	my ($target, $port) = @_;
	my $listener = IO::Socket::INET->new(
		LocalAddr => '127.0.0.1',
		LocalPort => $port,
		Proto     => 'tcp',
		Listen    => 64,
		ReuseAddr => 1) or die "could not listen on port $port: $!";
	my $commands = '';

	$SIG{PIPE} = 'IGNORE';
	STDOUT->autoflush(1);
	print $listener->sockport, "\n";
	reset_counters();
	reset_rules();

	for (;;)
	{
		my $reads  = IO::Select->new($listener, \*STDIN);
		my $writes = IO::Select->new;
		my $wakeup;

		@connections = grep { !$_->{closed} } @connections;
		foreach my $connection (@connections)
		{
			$reads->add($connection->{client})
			  unless $connection->{client_ended};
			$reads->add($connection->{server})
			  unless $connection->{server_ended};
			foreach my $way (qw(to_server to_client))
			{
				my $queue = $connection->{$way}{out};
				next if !@$queue;
				my $wait = $queue->[0][0] - time;
				if ($wait <= 0)
				{
					$writes->add($connection->{
							$way eq 'to_server' ? 'server' : 'client' });
				}
				elsif (!defined $wakeup || $wait < $wakeup)
				{
					$wakeup = $wait;
				}
			}
		}

		my ($readable) = IO::Select->select($reads, $writes, undef, $wakeup);
		my %readable = map { fileno($_) => 1 } @{ $readable // [] };

		if ($readable{ fileno STDIN })
		{
			exit 0 if !sysread STDIN, $commands, 4096, length $commands;
			while ($commands =~ s/^(.*)\n//)
			{
				print obey($1), "\n";
			}
			next;
		}
		open_connection($listener, $target) if $readable{ fileno $listener };
		foreach my $connection (@connections)
		{
			foreach my $way (qw(to_server to_client))
			{
				my $from =
				  $connection->{ $way eq 'to_server' ? 'client' : 'server' };
				next if $connection->{closed};
				read_in($connection, $way) if $readable{ fileno $from };
				write_out($connection, $way) unless $connection->{closed};
			}
		}
	}
	return;
}

1;

# The helper that the `ssh` host starts on its machine: it takes requests as frames on standard input and answers on
# standard output, many at once. Needs only what Debian and Ubuntu call essential (perl-base).
#
# A frame is a length (32 bits, big endian) and that many bytes: fields, each with a length of its own. The first field of
# a request is its number, the second its verb; every answer begins with that number and a letter.
# When its input ends, or nothing was heard for a while, whatever it runs is ended, and then the helper itself.
use strict;
use warnings;
use Errno qw(EAGAIN EINTR ENOENT ENOTDIR ESRCH EPERM EEXIST);
use Fcntl;
use IO::Handle;
use POSIX qw(:sys_wait_h);

my ($HALF, $FRAME_MAX, $BUSY_MAX) = (2 << 20, 64 << 20, 1 << 20);
my ($GRACE_S, $PIPE_GRACE_S, $SILENCE_S, $NOTE_S) = (5, 1, 90, 10);
my ($in, $out, $heard, $ending) = ('', '', time, 0);
my (%run, %of, %follow, @wake);
my %login = %ENV;
$0 = 'wiab-helper';

my $ticks_per_s = POSIX::sysconf(POSIX::_SC_CLK_TCK());
sub now { return (POSIX::times())[0] / $ticks_per_s }
sub say_ { my $frame = pack '(N/a*)*', @_; $out .= pack 'N/a*', $frame }
sub failed { say_($_[0], 'f', $! + 0, "$!") }
sub slurp { my ($path) = @_; open my $file, '<', $path or return; local $/; my $all = <$file>; return $all }

# --- commands -------------------------------------------------------------------------------------------------------

# A child in a process group of its own; `$work` is what it does. Answers its pid and the pipes.
sub child {
    my ($with_input, $work) = @_;
    pipe my $in_r, my $in_w or return;
    pipe my $out_r, my $out_w or return;
    pipe my $err_r, my $err_w or return;
    pipe my $fail_r, my $fail_w or return;
    my $pid = fork;
    return unless defined $pid;
    if (!$pid) {
        POSIX::setpgid(0, 0);
        $SIG{$_} = 'DEFAULT' for qw(CHLD PIPE TERM HUP INT);
        open $in_r, '<', '/dev/null' unless $with_input;
        POSIX::dup2(fileno $in_r, 0);
        POSIX::dup2(fileno $out_w, 1);
        POSIX::dup2(fileno $err_w, 2);
        $work->();
        syswrite $fail_w, $! + 0;
        POSIX::_exit(127);
    }
    POSIX::setpgid($pid, $pid);
    close $_ for $in_r, $out_w, $err_w, $fail_w;
    my $errno = '';
    while (!defined sysread $fail_r, $errno, 16) { last if $! != EINTR }
    if ($errno) {
        waitpid $pid, 0;
        $! = $errno;
        return;
    }
    for ($in_w, $out_r, $err_r) { my $flags = fcntl $_, F_GETFL, 0; fcntl $_, F_SETFL, $flags | O_NONBLOCK }
    close $in_w unless $with_input;
    return { pid => $pid, in => $with_input ? $in_w : undef, o => $out_r, e => $err_r, sent_o => 0, sent_e => 0,
        tail_o => '', tail_e => '', dropped_o => 0, dropped_e => 0, input => '' };
}

sub verb_run {
    my ($id, $limit_ms, $has_input, $input, $variables, @rest) = @_;
    my %with = splice @rest, 0, 2 * $variables;
    my $job = child($has_input, sub {
        %ENV = (%login, %with);
        $ENV{PATH} = ($login{PATH} // '') . ':/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin' unless exists $with{PATH};
        no warnings 'exec';
        exec { $rest[0] } @rest;
    });
    return say_($id, 'n', $! + 0, "$!") unless $job;
    @$job{qw(id input until)} = ($id, $input, now() + $limit_ms / 1000);
    $run{$id} = $of{$job->{pid}} = $job;
}

# Something of our own that waits: in a child, so that nothing else does.
sub beside {
    my ($id, $work) = @_;
    my $job = child(0, sub { %run = (); POSIX::_exit($work->()) });
    return failed($id) unless $job;
    @$job{qw(id until)} = ($id, now() + 120);
    $run{$id} = $of{$job->{pid}} = $job;
}

sub take {
    my ($job, $name) = @_;
    my $count = sysread $job->{$name}, my $bytes, 65536;
    if (!defined $count) { return if $! == EAGAIN || $! == EINTR }
    if (!$count) { close $job->{$name}; $job->{$name} = undef; return }
    my $room = $HALF - $job->{"sent_$name"};
    if ($room > 0) {
        my $head = substr $bytes, 0, $room, '';
        $job->{"sent_$name"} += length $head;
        say_($job->{id}, $name, $head);
    }
    $job->{"tail_$name"} .= $bytes;
    if (length $job->{"tail_$name"} > 2 * $HALF) { cut($job, $name) }
}

sub cut {
    my ($job, $name) = @_;
    my $over = length($job->{"tail_$name"}) - $HALF;
    return if $over <= 0;
    substr $job->{"tail_$name"}, 0, $over, '';
    $job->{"dropped_$name"} += $over;
}

sub give {
    my ($job) = @_;
    my $count = length $job->{input} ? syswrite $job->{in}, $job->{input} : 0;
    if (!defined $count) {
        return if $! == EAGAIN || $! == EINTR;
        $job->{input} = '';
    } else { substr $job->{input}, 0, $count, '' }
    if (!length $job->{input}) { close $job->{in}; $job->{in} = undef }
}

sub strike {
    my ($job, $grace_s) = @_;
    return if $job->{kill_at};
    $job->{kill_at} = now() + $grace_s;
    kill 'TERM', -$job->{pid};
}

sub reap {
    while ((my $pid = waitpid -1, WNOHANG) > 0) {
        my $job = delete $of{$pid} or next;
        $job->{code} = WIFEXITED($?) ? WEXITSTATUS($?) : 128 + WTERMSIG($?);
        $job->{ended} = now();
        # Members that outlive the leader get the last word too.
        kill 'KILL', -$pid if $job->{kill_at};
    }
}

sub finish {
    my ($job) = @_;
    for my $name ('o', 'e') { cut($job, $name); close $job->{$name} if $job->{$name} }
    say_($job->{id}, 'x', $job->{code}, map { ($job->{"dropped_$_"}, $job->{"tail_$_"}) } 'o', 'e');
    delete $run{ $job->{id} };
}

sub tend {
    my $now = now();
    for my $job (values %run) {
        if (defined $job->{code}) {
            finish($job) if !$job->{o} && !$job->{e} || $now >= $job->{ended} + $PIPE_GRACE_S;
        } elsif ($job->{kill_at}) {
            if ($now >= $job->{kill_at}) { kill 'KILL', -$job->{pid} }
        } elsif ($now >= $job->{until}) { strike($job, $GRACE_S) }
    }
}

# --- files ----------------------------------------------------------------------------------------------------------

sub verb_read {
    my ($id, $path, $from, $most) = @_;
    sysopen my $file, $path, O_RDONLY or return $! == ENOENT ? say_($id, 'r', 0) : failed($id);
    sysseek $file, $from, 0 if $from;
    my $all = '';
    while (length $all < $most) {
        my $count = sysread $file, $all, $most - length $all, length $all;
        return failed($id) unless defined $count;
        last unless $count;
    }
    say_($id, 'r', 1, $all);
}

sub parents {
    my ($path, $mode) = @_;
    my @missing;
    while ((my $slash = rindex $path, '/') > 0) {
        $path = substr $path, 0, $slash;
        last if -d $path;
        unshift @missing, $path;
    }
    for (@missing) { mkdir $_, $mode or $! == EEXIST or return 0 }
    return 1;
}

sub away {
    my ($path) = @_;
    if (!lstat $path) { return $! == ENOENT || $! == ENOTDIR ? 0 : undef }
    (-d _ ? rmdir $path : unlink $path) or return;
    return 1;
}

sub beside_name { my ($path) = @_; my $at = 1 + rindex $path, '/'; return substr($path, 0, $at) . '.' . substr($path, $at) . '.wiab-new' }

# Mode and owner stand before the first byte does; a reader sees the old file or the new one, whole.
sub verb_write {
    my ($id, $path, $mode, $owner, $bytes) = @_;
    my $temp = beside_name($path);
    parents($path, 0755) or return failed($id);
    defined away($temp) or return failed($id);
    sysopen my $file, $temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600 or return failed($id);
    if (length $owner) {
        my ($user, $group) = split /:/, $owner, 2;
        $group //= $user;
        my $uid = $user =~ /^\d+$/ ? $user : getpwnam $user;
        my $gid = $group =~ /^\d+$/ ? $group : getgrnam $group;
        return say_($id, 'f', 22, "no such owner: $owner") unless defined $uid && defined $gid;
        # The owner comes before the mode: changing owners clears set-id bits.
        chown $uid, $gid, $file or return failed($id);
    }
    chmod $mode, $file or return failed($id);
    while (length $bytes) {
        my $count = syswrite $file, $bytes, 1 << 20;
        return failed($id) unless defined $count;
        substr $bytes, 0, $count, '';
    }
    $file->sync or return failed($id);
    close $file or return failed($id);
    rename $temp, $path or return failed($id);
    keep(substr $path, 0, 1 + rindex $path, '/') or return failed($id);
    say_($id, 'r');
}

# Makes a directory's entries durable.
sub keep { my ($path) = @_; sysopen my $dir, length $path ? $path : '.', O_RDONLY or return 0; return $dir->sync }

sub verb_stat {
    my ($id, $path) = @_;
    my @is = stat $path or return $! == ENOENT || $! == ENOTDIR ? say_($id, 'r', 0) : failed($id);
    my ($user, $group) = (scalar getpwuid $is[4], scalar getgrgid $is[5]);
    say_($id, 'r', 1, -d _ ? 1 : 0, $is[7], $is[2] & 07777, ($user // $is[4]) . ':' . ($group // $is[5]));
}

sub verb_remove {
    my ($id, $path) = @_;
    defined away(beside_name($path)) or return failed($id);
    my $done = away($path);
    return defined $done ? say_($id, 'r', $done) : failed($id);
}

# --- detached jobs: what a job's directory and /proc say about it -----------------------------------------------------

sub process {
    my ($pid) = @_;
    my $text = slurp("/proc/$pid/stat") or return;
    $text =~ s/.*\)//s;
    my @is = split ' ', $text;
    return { ended => scalar($is[0] =~ /[ZX]/), parent => $is[1], session => $is[3], start => $is[19] };
}

sub session {
    my ($leader) = @_;
    opendir my $all, '/proc' or return;
    return grep { my $seen = /^\d+$/ && process($_); $seen && !$seen->{ended} && $seen->{session} == $leader } readdir $all;
}

sub claim { my ($dir) = @_; my @is = split ' ', slurp("$dir/pid") // ''; return @is == 3 ? \@is : undef }
sub boot { my $id = slurp('/proc/sys/kernel/random/boot_id') // ''; $id =~ s/\s//g; return $id }

# Whether any process of the job's session lives; its first one, the wrapper, may be gone.
sub lives {
    my ($claim) = @_;
    return 0 if boot() ne $claim->[2];
    my $seen = process($claim->[0]);
    return 1 if $seen && $seen->{start} == $claim->[1] && !$seen->{ended};
    # The number is another process's now, which cannot be while the session has members.
    return 0 if $seen && $seen->{start} != $claim->[1];
    return scalar(session($claim->[0])) ? 1 : 0;
}

sub exit_of { my $text = slurp("$_[0]/exit"); return defined $text && $text =~ /^(\d+)$/ ? $1 : undef }

# Where a job stands: absent, running, lost, or its exit code.
sub state_of {
    my ($dir) = @_;
    my $claim = claim($dir) or return 'absent';
    # Asked twice: it may end between the two questions.
    my $alive = !defined exit_of($dir) && lives($claim);
    return exit_of($dir) // ($alive ? 'running' : 'lost');
}

sub verb_jobdir {
    my ($id, $dir) = @_;
    # A directory above it may just be removed because it was empty.
    for (1 .. 5) { last if parents("$dir/x", 0700) || $! != ENOENT }
    return -d $dir ? say_($id, 'r', state_of($dir)) : failed($id);
}
sub verb_state { my ($id, $dir) = @_; say_($id, 'r', state_of($dir)) }

# Answers as soon as the log is longer than `from`, or the job does not run any more.
sub verb_follow { my ($id, $dir, $from) = @_; $follow{$id} = { id => $id, dir => $dir, at => $from, pause => 0.01, next => 0 } }

sub look {
    my ($job) = @_;
    return if now() < $job->{next};
    my $state = state_of($job->{dir});
    my $bytes = '';
    if (sysopen my $log, "$job->{dir}/log", O_RDONLY) {
        sysseek $log, $job->{at}, 0;
        sysread $log, $bytes, $BUSY_MAX;
    }
    if (length $bytes || $state ne 'running') {
        say_($job->{id}, 'r', $state, $bytes);
        delete $follow{ $job->{id} };
        return;
    }
    $job->{next} = now() + $job->{pause};
    $job->{pause} = 2 * $job->{pause} if $job->{pause} < 0.2;
}

# Waits until it is so, at most so long.
sub gone { my ($most_s, $so) = @_; my $until = now() + $most_s; select undef, undef, undef, 0.01 while !$so->() && now() < $until; return $so->() }

sub signal_each { my ($name, @pids) = @_; my $ok = 1; for (@pids) { $ok = 0 if !kill($name, $_) && $! == EPERM } return $ok }

# Living processes of a job's session that belong to the command: not the wrapper, nor what it notes the exit code with. Before
# the note is begun the wrapper has no other child than the command; it is renamed, so it is asked for in this order.
sub command {
    my ($dir, $leader) = @_;
    my @all = grep { $_ != $leader } session($leader);
    return @all unless -e "$dir/exit.$leader" || -e "$dir/exit";
    return grep { my $seen = process($_); $seen && $seen->{parent} != $leader } @all;
}

# A process and the program that it is: one that was forked is its parent's until it becomes another, and a signal that came
# before that may have met its parent's handler.
sub program { my ($pid) = @_; my $seen = process($pid); return join ' ', $pid, $seen ? $seen->{start} : 0, slurp("/proc/$pid/cmdline") // '' }

# Ends everything in the job's session, whoever is left of it: TERM, some time, KILL. The wrapper is the last. Ends with 13
# when somebody may not be signalled. The session is looked at again and again: the wrapper may start the command, and the
# command another one, between a look and the signal.
sub verb_jobkill {
    my ($id, $dir, $grace_ms) = @_;
    beside($id, sub {
        my $claim = claim($dir) or return 0;
        return 0 unless lives($claim);
        my $leader = $claim->[0];
        return 13 if !kill(0, $leader) && $! == EPERM;
        my ($barred, %told) = (0);
        my $none = sub { !session($leader) };
        my $until_none = sub {
            my ($most_s, $name, $which) = @_;
            gone($most_s, sub { $barred ||= !signal_each($name, $which->(command($dir, $leader))); $barred || $none->() });
        };
        $until_none->($grace_ms / 1000, 'TERM', sub { grep { !$told{ program($_) }++ } @_ });
        return 13 if $barred;
        $until_none->($NOTE_S, 'KILL', sub { @_ });
        return 13 if $barred;
        signal_each('KILL', session($leader));
        return gone($NOTE_S, $none) ? 0 : 1;
    });
}

# Removes the directory of a job that has ended, and those above it, up to `top`, that are empty then.
sub verb_forget {
    my ($id, $dir, $top) = @_;
    return say_($id, 'r', 'running') if state_of($dir) eq 'running';
    if (opendir my $all, $dir) {
        for (readdir $all) { next if $_ eq '.' || $_ eq '..'; unlink "$dir/$_" or $! == ENOENT or return failed($id) }
    }
    rmdir $dir or $! == ENOENT or return failed($id);
    while (length $dir > length $top) {
        $dir = substr $dir, 0, rindex $dir, '/';
        last unless rmdir $dir;
    }
    say_($id, 'r', 'gone');
}

# --- the helper itself ------------------------------------------------------------------------------------------------

# Ends a helper of an earlier connection, and so what it runs.
sub verb_succeed {
    my ($id, $pid, $start) = @_;
    beside($id, sub {
        my $there = sub { my $seen = process($pid); $seen && $seen->{start} == $start && !$seen->{ended} };
        return 0 unless $there->();
        kill 'TERM', $pid or return 13;
        return gone($GRACE_S + $NOTE_S, sub { !$there->() }) ? 0 : 1;
    });
}

sub verb_kill { my ($id, $what, $grace_ms) = @_; strike($run{$what}, $grace_ms / 1000) if $run{$what}; delete $follow{$what} }
sub verb_ping { }

my %verb = (run => \&verb_run, kill => \&verb_kill, ping => \&verb_ping, read => \&verb_read, write => \&verb_write,
    stat => \&verb_stat, remove => \&verb_remove, jobdir => \&verb_jobdir, state => \&verb_state, follow => \&verb_follow,
    jobkill => \&verb_jobkill, forget => \&verb_forget, succeed => \&verb_succeed);

sub hear {
    my $count = sysread STDIN, $in, 262144, length $in;
    if (!defined $count) { return if $! == EAGAIN || $! == EINTR }
    return $ending ||= 1 unless $count;
    $heard = time;
    while (length $in >= 4) {
        my $length = unpack 'N', $in;
        return $ending ||= 1 if $length > $FRAME_MAX;
        last if length $in < 4 + $length;
        my ($id, $verb, @rest) = unpack '(N/a*)*', substr $in, 4, $length;
        substr $in, 0, 4 + $length, '';
        my $do = $verb{$verb};
        $do ? $do->($id, @rest) : say_($id, 'f', 38, "unknown request $verb");
    }
}

sub speak {
    my $count = syswrite STDOUT, $out, 1 << 18;
    if (defined $count) { substr $out, 0, $count, '' }
    elsif ($! != EAGAIN && $! != EINTR) { $out = ''; $ending ||= 1 }
}

sub turn {
    my ($r, $w, $busy) = ('', '', length($out) > $BUSY_MAX);
    my $wait = %follow ? 0.02 : %run ? 0.1 : 5;
    vec($r, fileno STDIN, 1) = 1 unless $ending || $busy;
    vec($r, fileno $wake[0], 1) = 1;
    vec($w, fileno STDOUT, 1) = 1 if length $out;
    for my $job (values %run) {
        for ('o', 'e') { vec($r, fileno $job->{$_}, 1) = 1 if $job->{$_} && !$busy }
        vec($w, fileno $job->{in}, 1) = 1 if $job->{in};
    }
    if (select($r, $w, undef, $wait) > 0) {
        sysread $wake[0], my $drop, 4096 if vec $r, fileno $wake[0], 1;
        for my $job (values %run) {
            for ('o', 'e') { take($job, $_) if $job->{$_} && vec $r, fileno $job->{$_}, 1 }
            give($job) if $job->{in} && vec $w, fileno $job->{in}, 1;
        }
        hear() if !$ending && vec $r, fileno STDIN, 1;
        speak() if length $out && vec $w, fileno STDOUT, 1;
    }
    reap();
    tend();
    look($_) for values %follow;
    $ending ||= 1 if time - $heard > $SILENCE_S;
}

pipe $wake[0], $wake[1] or die "no pipe: $!";
for ($wake[0], $wake[1], \*STDIN, \*STDOUT) { my $flags = fcntl $_, F_GETFL, 0; fcntl $_, F_SETFL, $flags | O_NONBLOCK }
$SIG{CHLD} = sub { syswrite $wake[1], 'x' };
$SIG{PIPE} = 'IGNORE';
$SIG{$_} = sub { $ending ||= 1; syswrite $wake[1], 'x' } for qw(TERM HUP INT);
$out = "\nwiab-helper 1\n";
my $self = process($$);
say_(0, 'h', $>, $login{HOME} // '/', $$, $self ? $self->{start} : 0);
turn() until $ending;
%follow = ();
strike($_, $GRACE_S) for values %run;
$SIG{ALRM} = sub { kill 'KILL', -$_->{pid} for values %of; POSIX::_exit(1) };
alarm 2 * $GRACE_S;
turn() while %run;

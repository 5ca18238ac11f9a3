package MapiLog;

# Reading HttpProxy log files as strictly as anybody might.
#
#   log_rows($folder)       every row of the folder's files, in their order: a
#                           hash by column name, and "line".  Dies of a file
#                           that is not as Exchange writes it: six header
#                           lines, CR LF, UTF-8, no control byte, as many
#                           columns for a CSV reader as for split(",")
#   log_files($folder)      names of the files, oldest first
#   new_rows($folder, $n)   waits until so many have come since the last call,
#                           asserts that it is these and no more and that
#                           their latencies hold, and returns them
#   latency_errors($row)    what is wrong with the latencies of a row, as text
#   pairs($text)            a key=value column as a hash
#   filled($row)            indices of the columns that are not empty

use strict;
use warnings;

use Carp qw( croak );
use Encode qw( decode FB_CROAK );
use Exporter qw( import );
use MapiRoad qw( wait_for );
use Test::More;
use Time::HiRes qw( sleep );

our @EXPORT = qw( log_rows log_files new_rows latency_errors pairs filled );

my %seen;


sub log_files
{
    my ($folder) = @_;
    my @names;

    opendir my $handle, $folder or return;

    for (readdir $handle) {
        push @names, [ $1, $2, $_ ]
            if /^HttpProxy_(\d{10})-([1-9]\d*)\.LOG$/;
    }

    return map { $_->[2] } sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] }
                           @names;
}


sub log_rows
{
    my ($folder) = @_;

    return map { read_file("$folder/$_") } log_files($folder);
}


sub new_rows
{
    my ($folder, $n) = @_;
    my $from = $seen{$folder} || 0;
    my @rows;

    wait_for { -d $folder && (@rows = log_rows($folder)) >= $from + $n };
    sleep 0.12;

    @rows = log_rows($folder);
    $seen{$folder} = @rows;

    my @new = @rows[$from .. $#rows];

    is(scalar @new, $n, "$n more rows") or diag map { "$_->{line}\n" } @new;
    is(latency_errors($_), '', 'latencies hold') or diag $_->{line} for @new;

    return @new;
}


sub read_file
{
    my ($path) = @_;

    open my $file, '<:raw', $path or croak "$path: $!";
    my $text = do { local $/; <$file> };

    # made this moment, its header is on the way

    return if !defined $text || $text eq '';

    $text =~ /\r\n\z/ or croak "$path: the last line is cut";

    my @lines = split /\r\n/, $text, -1;
    pop @lines;

    /[\x00-\x1f\x7f]/ and croak "$path: a control byte in \"$_\"" for @lines;
    decode('UTF-8', my $copy = $text, FB_CROAK);

    my ($plain, $software, $version, $type, $date, $fields) =
        splice @lines, 0, 6;

    $software eq '#Software: Microsoft Exchange Server'
        && $version =~ /^#Version: \d\d\.\d\d\.\d{4,5}\.\d{3}$/
        && $type eq '#Log-type: HttpProxy Logs'
        && $date =~ /^#Date: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
        && $fields eq "#Fields: $plain"
        or croak "$path: a bad header";

    my @names = split /,/, $plain;
    my %seen;
    $seen{$_}++ and croak "$path: column $_ twice" for @names;

    my @rows;

    for my $line (@lines) {
        my @cells = split /,/, $line, -1;
        my @csv = csv($line);

        @cells == @names or croak "$path: " . @cells . " columns in \"$line\"";
        @csv == @names or croak "$path: a CSV reader sees " . @csv
                                . " columns in \"$line\"";

        my %row = (line => $line, names => \@names);
        @row{@names} = @csv;
        push @rows, \%row;
    }

    return @rows;
}


# RFC 4180; a quote inside a field that is not quoted is an error

sub csv
{
    my ($line) = @_;
    my @cells;

    $line .= ',';

    while ($line =~ /\G(?:"((?:[^"]|"")*)"|([^",]*)),/gc) {
        my $cell = defined $1 ? $1 =~ s{""}{"}gr : $2;
        push @cells, $cell;
    }

    pos($line) == length $line or croak "no CSV: \"$line\"";

    return @cells;
}


sub latency_errors
{
    my ($row) = @_;
    my @errors;

    for (grep { /Latency$|Time$|Overhead$/ && !/Breakup/ && $_ ne 'DateTime' }
              @{ $row->{names} })
    {
        push @errors, "$_ is \"$row->{$_}\"" if $row->{$_} !~ /^\d*$/;
    }

    my ($total, $pipeline, $init, $resp, $overhead, $m2h, $handler, $h2m)
        = map { $_ || 0 } @$row{qw( TotalRequestTime HttpPipelineLatency
                                    BackendReqInitLatency
                                    BackendRespInitLatency HttpProxyOverhead
                                    ModuleToHandlerSwitchingLatency
                                    RequestHandlerLatency
                                    HandlerToModuleSwitchingLatency )};
    my $streams = 0;

    $streams += $_ || 0
        for @$row{qw( ClientReqStreamLatency BackendReqStreamLatency
                      BackendProcessingLatency BackendRespStreamLatency
                      ClientRespStreamLatency )};

    push @errors, 'HttpProxyOverhead' if $overhead != $total - $streams;

    my $routing = $row->{BackendProcessingLatency} eq '' ? ''
                  : positive($overhead - $pipeline);

    push @errors, 'RoutingLatency' if $row->{RoutingLatency} ne $routing;
    push @errors, 'CoreLatency'
        if $row->{CoreLatency} ne positive($overhead - $pipeline - $init
                                           - $resp);
    push @errors, 'TotalRequestTime'
        if $row->{RequestHandlerLatency} ne ''
           && $total != $pipeline + $m2h + $handler + $h2m;
    push @errors, 'ActivityContextLifeTime'
        if $row->{ActivityContextLifeTime} ne $row->{TotalRequestTime};

    my $last = '';

    for (pairs_in_order($row->{GenericInfo})) {
        my ($key, $value) = @$_;

        next if $value !~ /^\d{4}-\d\d-\d\dT/;
        push @errors, "$key before its predecessor" if $value lt $last;
        $last = $value;
    }

    push @errors, 'DateTime' if $row->{DateTime} ne $last;

    return join ', ', @errors;
}


sub positive { return $_[0] > 0 ? $_[0] : 0 }


sub pairs_in_order
{
    my ($text) = @_;

    return if $text eq '';
    $text =~ /;\z/ or croak "no ; after the last of \"$text\"";

    return map { /^([^=]+)=([^=]*)$/ or croak "no pair: \"$_\""; [ $1, $2 ] }
               split /;/, $text;
}


sub pairs
{
    return map { @$_ } pairs_in_order($_[0]);
}


sub filled
{
    my ($row) = @_;
    my @cells = split /,/, $row->{line}, -1;

    return join ' ', grep { $cells[$_] ne '' } 0 .. $#cells;
}

1;

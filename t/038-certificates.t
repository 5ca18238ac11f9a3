# Extended Protection: the listener's certificates and the servers', compared.

use strict;
use warnings;

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw( sleep );
use MapiRig;
use MapiRoad;

my $check = 'interval=100ms timeout=2s fails=2 passes=2 uri=/mapi/health';
my ($port, $tls);

# checks speak TLS on port 443 only, of addresses that no other run has

my $net = join '.', 127, 1 + int rand 250, int rand 250;
my $can = IO::Socket::INET->new(LocalAddr => "$net.31", LocalPort => 443,
                                Listen => 1);
plan skip_all => 'port 443 needs root' if !$can && $>;
die "port 443 of $net.31 is in use\n" if !$can;
close $can;


# a key and a certificate for so many days, of any kind

sub make
{
    my ($name, $days, @kind) = @_;
    my ($crt, $key) = map { run_folder() . "/$name.$_" } qw( crt key );

    @kind = ('rsa:2048') if !@kind;
    system(join ' ', 'openssl req -x509 -nodes -newkey', @kind,
           "-days $days -subj /CN=mail.contoso.com -keyout $key -out $crt",
           '2>', run_folder() . '/openssl.log') == 0
        or die slurp(run_folder() . '/openssl.log');

    return ($crt, $key);
}

my ($right, $right_key) = make('right', 90);
my ($ec, $ec_key) = make('ec', 90, 'ec', '-pkeyopt ec_paramgen_curve:prime256v1');
my ($wrong, $wrong_key) = make('wrong', 90);
my ($short, $short_key) = make('short', 5);


# three servers with these certificates; they offer NTLM in each 401

sub server_block
{
    my ($i, $crt, $key, $offer) = @_;

    $offer = 'NTLM' if !defined $offer;

    return <<"EOF";
server {
    listen $net.3$i:443 ssl;
    ssl_certificate $crt;
    ssl_certificate_key $key;
    location /mapi/health { return 200 "200 OK"; }
    location / {
        add_header WWW-Authenticate '$offer' always;
        add_header X-Server $net.3$i always;
        return 401;
    }
}
EOF
}


sub front_end
{
    my ($name, $more, @servers) = @_;

    $port = free_port();
    $tls = free_port();

    return start_nginx($name, road_http(port => $port, backend => 443,
        alive => [], scheme => 'https',
        upstream => "mapi;\nmapi_health_check $check $more;\n"
                    . join('', map { "server $net.3$_:443;\n" }
                               1 .. @servers),
        http => "mapi_zone mapi 1m;\n" . join('', map {
                    server_block($_, @{ $servers[$_ - 1] }) } 1 .. @servers),
        server => "listen 127.0.0.1:$tls ssl;\n"
                  . "ssl_certificate $right; ssl_certificate_key $right_key;\n"
                  . "ssl_certificate $ec; ssl_certificate_key $ec_key;\n"));
}


sub reached
{
    my ($n) = @_;

    return header(ask($port, mailbox_id($n)), 'X-Server');
}

my $words = qr/has another certificate than the listener/;


# RSA or ECDSA, whichever the listener has

{
    my $front = front_end('same', '', [ $right, $right_key ], [ $ec, $ec_key ],
                          [ $wrong, $wrong_key ]);

    wait_for { log_of($front) =~ /\Q$net\E.$_:443 .* is alive/ } for 31 .. 33;
    unlike(log_of($front), $words, 'who has offered nothing is not warned of');

    # one a second is noted

    wait_for { reached(int rand 1000); log_of($front) =~ $words };
    like(log_of($front), qr/\[warn\].*server \Q$net\E.33:443 .*$words.*same certificate on both/,
         'a server that differs and offers NTLM is warned of');
    sleep 0.5;
    is(() = log_of($front) =~ /$words/g, 1, '... once, and no other');
    ok((grep { reached($_) eq "$net.33" } 1 .. 30),
       '... and is used all the same');
    stop_nginx($front);
}


# mismatch=avoid: as long as another one matches

{
    my $front = front_end('avoid', 'mismatch=avoid', [ $right, $right_key ],
                          [ $wrong, $wrong_key, 'Negotiate' ],
                          [ $wrong, $wrong_key, 'Basic realm="mail"' ]);

    wait_for { reached(int rand 1000); log_of($front) =~ $words };
    wait_for { !grep { reached($_) eq "$net.32" } 1 .. 30 };
    ok(1, 'avoid: a server that differs gets nothing new');
    ok((grep { reached($_) eq "$net.33" } 1 .. 30),
       '... but one that offers no such logon does');
    stop_nginx($front);

    # a check that sees no certificate any more does not remember one

    my $pages = free_port();
    my $conf;

    $front = front_end('forget', 'mismatch=avoid', [ $right, $right_key ],
                       [ $wrong, $wrong_key ]);
    wait_for { reached(int rand 1000); log_of($front) =~ $words };
    wait_for { !grep { reached($_) eq "$net.32" } 1 .. 30 };
    $conf = slurp($front->{conf});
    $conf =~ s/mismatch=avoid/mismatch=avoid port=$pages/;
    $conf =~ s/(?=server \{\s*listen \Q$net\E)/server { listen $net.31:$pages;
        listen $net.32:$pages; return 200 "200 OK"; }\n/;
    spew($front->{conf}, $conf);
    reload_nginx($front);
    wait_for { grep { reached($_) eq "$net.32" } 1 .. 30 };
    ok(1, 'avoid: a certificate that is not looked at any more is forgotten');
    stop_nginx($front);

    $front = front_end('all', 'mismatch=avoid', [ $wrong, $wrong_key ],
                       [ $wrong, $wrong_key ]);
    wait_for { reached(int rand 1000);
               2 == (() = log_of($front) =~ /$words/g) };
    sleep 0.6;
    my %now = map { reached($_) => 1 } 1 .. 30;
    is(scalar keys %now, 2, 'avoid: if all differ, all are used');
    stop_nginx($front);
}


# the end of certificates

{
    my $front = front_end('end', '', [ $short, $short_key ]);

    wait_for { log_of($front) =~ /the certificate of server \Q$net\E.31:443 of upstream "exchange" ends in 4 days/ };
    ok(1, 'a certificate that ends soon is warned of');
    sleep 0.5;
    is(() = log_of($front) =~ /ends in \d days/g, 1, '... once');
    stop_nginx($front);
}


# certificates that nobody can compare

{
    $port = free_port();
    $tls = free_port();
    my $front = start_nginx('variable', road_http(port => $port,
        backend => 443, alive => [], scheme => 'https',
        upstream => "mapi;\nmapi_health_check $check;\n"
                    . "server $net.31:443;\n",
        http => "mapi_zone mapi 1m;\nmap \$ssl_server_name \$crt {"
                . " default $right; }\n"
                . server_block(1, $wrong, $wrong_key),
        server => "listen 127.0.0.1:$tls ssl;\nssl_certificate \$crt;\n"
                  . "ssl_certificate_key $right_key;\n"));

    like(slurp("$front->{prefix}/logs/start"),
         qr/certificates of this server are given by variables and cannot be compared/,
         'certificates from variables are not compared, and nginx -t says so');
    wait_for { log_of($front) =~ /\Q$net\E.31:443 .* is alive/ };
    reached(1);
    sleep 0.5;
    unlike(log_of($front), $words, '... nor warned of');
    stop_nginx($front);
}

done_testing();

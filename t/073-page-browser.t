# The debug page in a browser: Debian's chromium.

use strict;
use warnings;

use Test::More;

use MapiRig;
use MapiRoad;

my ($browser) = grep { -x } map { "$_/chromium" } split /:/, $ENV{PATH};

defined $browser or die 'there is no chromium: run "./build.sh deps browser"';

my $folder = run_folder() . '/browser';
my $backend = free_port('127.0.0.11');
my $path = make_directory('main', directory_csv());
my $port = free_port();
my $front = start_nginx('front', road_http(
    port => $port, backend => $backend,
    http => "mapi_directory $path;\nmapi_zone mapi 1m;\n"
            . 'mapi_server_name front.example.com;',
    server => "mapi_page local;\nmapi_debug_allow 127.0.0.1;"));

mkdir $folder;


# the document as the browser has understood it

sub dom
{
    my ($url) = @_;

    open my $pipe, '-|', 'timeout', '60', $browser, '--headless',
         '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
         "--user-data-dir=$folder/profile", '--virtual-time-budget=3000',
         '--dump-dom', $url
        or die "$browser: $!";
    local $/;
    my $text = <$pipe>;
    close $pipe;

    return defined $text ? $text : '';
}


open my $saved, '>&', \*STDERR or die;
open STDERR, '>', "$folder/errors" or die;


# markup in what a client sends

(my $id = mailbox_id(2)) =~ s/\@.*/\@%3Cscript%3Edocument.title='evil'%3C%2Fscript%3E%3Cimg%20src=x%20onerror=document.title='evil'%3E/;
$id =~ s/%20/%2F/g;

my $page = dom("http://127.0.0.1:$port/mapi/emsmdb/?showdebug=yes&MailboxId=$id");

like($page, qr{<title>Exchange MAPI/HTTP Connectivity Endpoint</title>},
     'the page');
like($page, qr{<p class="why">Rule 3: database DB2}, '... with the rule');
like($page, qr{<b>Domain:</b> &lt;script&gt;document\.title='evil'},
     '... with the hostile domain as text');
unlike($page, qr{<(?:script|img)}, '... and no such element');
is(() = $page =~ m{<h2>}g, 2, '... two headings');
like($page, qr{<td>User-Agent</td><td>Mozilla/5\.0 }, '... the browser\'s name');


# no wider than the window: tables scroll for themselves

my $answer = talk($port, request('GET', '/mapi/emsmdb/?showdebug=yes&MailboxId='
    . mailbox_id(2), 'X-Long: ' . 'x' x 500, 'User-Agent: ' . 'word ' x 100));

for my $width (320, 380, 1200) {
    (my $text = $answer->{body}) =~ s/&/&amp;/g;
    $text =~ s/"/&quot;/g;

    spew("$folder/wide.html",
         "<!DOCTYPE html><title></title><iframe id=f style=\"border:0;"
         . "width:${width}px;height:600px\" srcdoc=\"$text\"></iframe>"
         . '<script>onload = () => { const e = document.getElementById("f")'
         . '.contentDocument.documentElement; document.title = "too wide by "'
         . ' + (e.scrollWidth - e.clientWidth) }</script>');

    like(dom("file://$folder/wide.html"), qr{<title>too wide by 0</title>},
         "in a window of $width pixels");
}

open STDERR, '>&', $saved or die;

stop_nginx($front);
done_testing();

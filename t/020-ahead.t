# After a reboot the directory is on the disk alone: a worker reads it, before
# anybody asks for a mailbox.

use strict;
use warnings;

use Test::More;
use MapiRig;
use MapiRoad;

my $port = free_port();
my $path = make_directory('main', directory_csv(count => 20000));


# does as it is told with the file's pages: prints how many are in memory, of
# how many

sub pages
{
    my ($evict) = @_;

    open(my $fh, '-|', 'python3', '-c', <<'EOT', "$path/data.mdb", $evict || 0);
import ctypes, mmap, os, sys

fd = os.open(sys.argv[1], os.O_RDONLY)

if sys.argv[2] == "1":
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

size = os.fstat(fd).st_size
area = mmap.mmap(fd, size, mmap.MAP_PRIVATE)
count = -(-size // mmap.PAGESIZE)
vector = (ctypes.c_ubyte * count)()
address = ctypes.addressof(ctypes.c_char.from_buffer(area))

if ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(size),
                             vector) != 0:
    sys.exit("mincore")

print(sum(x & 1 for x in vector), count)
EOT
    my ($there, $all) = split ' ', scalar <$fh>;
    close $fh or die 'python3 failed';

    return ($there, $all);
}


my ($before, $all) = pages(1);

cmp_ok($all, '>', 1000, "a file of $all pages");

# where /tmp is memory there is nothing that could be read ahead

note "$before of them are in memory before nginx starts";

my $front = start_nginx('front', road_http(port => $port, alive => [],
    backend => free_port(), http => "mapi_directory $path;"));

ok(wait_for { my ($there) = pages(); $there == $all },
   'all of them are, soon after it has started');

stop_nginx($front);


# a worker that ends meanwhile: how it ends stands in its log.  The moment has
# to be met at which its code is gone and the process is not yet.

truncate "$path/data.mdb", (1 << 30) or die "truncate: $!";

my $ended = '';

for my $n (1 .. 16) {
    my $other = start_nginx("other$n", road_http(port => free_port(),
        alive => [], backend => free_port(),
        http => "mapi_directory $path;"));

    stop_nginx($other, $n % 2 ? 'QUIT' : 'TERM');
    $ended .= log_of($other);
}

ok($ended !~ /exited on signal/, 'workers end in order while it is read');

done_testing();

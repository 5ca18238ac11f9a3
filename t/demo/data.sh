# The demo's organisation: 1,000 mailboxes, 6 databases, 3 servers, as CSV
# files like those that docs/Export-MapiDirectory.ps1 writes.


# make_data FOLDER

make_data()
{
    mkdir -p "$1"

    {
        echo 'Name,Fqdn,Addresses,AdminDisplayVersion'
        for i in 1 2 3; do
            echo "EX$i,ex$i.demo.example,127.0.0.1$i,Version 15.2 (Build 1544.4)"
        done
    } > "$1/servers.csv"

    # database DBn is mounted on the first server of its row, with copies on
    # all three

    cat > "$1/databases.csv" << 'CSV'
Name,Guid,MountedOnServer,ActivationPreference
DB1,db000001-0000-4000-8000-000000000001,EX1,"[EX1, 1] [EX2, 2] [EX3, 3]"
DB2,db000002-0000-4000-8000-000000000002,EX2,"[EX2, 1] [EX3, 2] [EX1, 3]"
DB3,db000003-0000-4000-8000-000000000003,EX3,"[EX3, 1] [EX1, 2] [EX2, 3]"
DB4,db000004-0000-4000-8000-000000000004,EX1,"[EX1, 1] [EX3, 2] [EX2, 3]"
DB5,db000005-0000-4000-8000-000000000005,EX2,"[EX2, 1] [EX1, 2] [EX3, 3]"
DB6,db000006-0000-4000-8000-000000000006,EX3,"[EX3, 1] [EX2, 2] [EX1, 3]"
CSV

    awk -v first="anna ben carla david emma felix greta hugo ida jonas klara
                  leo marie nora oskar paula quentin rosa simon tilda ulrich
                  vera wanda xaver yvonne" \
        -v last="adler bauer berg brandt busch dietrich ebert engel fischer
                 fuchs graf gross haas hahn hartmann horn huber jung kaiser
                 keller klein koch kraus kuhn lang lorenz maier meyer neumann
                 otto peters richter roth sauer schmidt simon stein vogel
                 weber wolf" '
        # the same numbers in every demo, by Park and Miller
        function random()
        {
            seed = seed * 16807 % 2147483647
            return seed % 65536
        }

        BEGIN {
            seed = 20260101
            nfirst = split(first, f)
            nlast = split(last, l)

            print "ExchangeGuid,PrimarySmtpAddress,Database,EmailAddresses," \
                  "UserPrincipalName,SamAccountName"

            for (i = 0; i < nfirst * nlast; i++) {
                name = f[i % nfirst + 1] "." l[int(i / nfirst) + 1]
                guid = sprintf("%04x%04x-%04x-4%03x-a%03x-%04x%04x%04x",
                               random(), random(), random(),
                               random() % 4096, random() % 4096,
                               random(), random(), random())

                printf "%s,%s@demo.example,DB%d," \
                       "SMTP:%s@demo.example;smtp:%s@mail.demo.example," \
                       "%s@ad.demo.example,DEMO\\u%04d\n",
                       guid, name, i % 6 + 1, name, name, name, i + 1
            }
        }' > "$1/mailboxes.csv"
}


# make_server_conf NUMBER PORT: nginx's lines for one emulated server

make_server_conf()
{
    cat << CONF
server {
    listen  127.0.0.1$1:$2;

    keepalive_requests  100000;

    # PENDING every second here, every 15 on a real server
    location /mapi/ {
        mapi_mailbox_server  ex$1.demo.example exchange directory=directory
                             zone=mailboxes:1m pending=1s wait=1m;
    }

    location = /control {
        mapi_mailbox_control;
    }
}
CONF
}

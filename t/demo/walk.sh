# The steps of the demo.  Databases DB1 and DB4 are mounted on EX1, DB2 and DB5
# on EX2, DB3 and DB6 on EX3, see data.sh.


# mailbox_of DATABASE N: the GUID of the Nth mailbox of database DB<n>
# address_of DATABASE N: its address

mailbox_of() { field_of "$1" "$2" 1; }
address_of() { field_of "$1" "$2" 2; }

field_of()
{
    awk -F, -v base="DB$1" -v n="$2" -v field="$3" '
        $3 == base && ++i == n { print $field; exit }' "$RUN/csv/mailboxes.csv"
}


walk()
{
    local mailbox address

    mailbox=$(mailbox_of 1 1)
    address=$(address_of 1 1)

    step_places
    step_move
    step_cookie
    step_stream
    step_drain
    step_stop
    step_refuse
    step_why
    step_log

    check "the error log has no alert" \
        [ "$(grep -cE '\[(alert|emerg|crit)\]' "$RUN/error.log")" = 0 ]
}


step_places()
{
    local alias guid

    title "1  Each mailbox has a server, however it is named"
    heading "named by"

    ask Connect "emsmdb/?MailboxId=$mailbox@demo.example" -c "$RUN/jar"
    row "MailboxId" "$address" ex1 directory

    guid=$(mailbox_of 2 1)
    ask Connect "emsmdb/?mailboxid=${guid^^}@elsewhere.example"
    row "MAILBOXID, any domain" "$(address_of 2 1)" ex2 directory

    ask Bind "nspi/?MailboxId=$(mailbox_of 3 1)@demo.example"
    row "address book" "$(address_of 3 1)" ex3 directory

    alias=$(address_of 4 1)
    alias=${alias%%@*}@mail.demo.example
    ask Connect "emsmdb/?smtpAddress=$alias"
    row "second address" "$(address_of 4 1)" ex1 directory

    ask Connect "emsmdb/?useMailboxOfAuthenticatedUser=true" \
        -u 'DEMO\u0005:a password'
    row "user DEMO\\u0005" "$(address_of 5 1)" ex2 directory

    page nspi/ -H "X-AnchorMailbox: $(address_of 6 1)"
    row "page, anchor mailbox" "$(address_of 6 1)" ex3 directory

    check "no request took a second hop behind the front end" \
        [ "$(counted second_hops)" = 0 ]
}


step_move()
{
    title "2  A database moves, the next request knows"
    note "Outlook works on DB1, then DB1 is mounted on another server. Sessions do" \
         "not move with it: code 10 makes Outlook connect again by itself."
    heading request

    ask Execute "emsmdb/?MailboxId=$mailbox@demo.example" \
        -b "$RUN/jar" -c "$RUN/jar"
    row Execute "$address" ex1 directory

    show "mapi-directory move DB1 EX2"
    directory move DB1 EX2 || bad "mapi-directory failed"

    ask Execute "emsmdb/?MailboxId=$mailbox@demo.example" \
        -b "$RUN/jar" -c "$RUN/jar"
    row "Execute, same session" "$address" ex2 directory 10

    ask Connect "emsmdb/?MailboxId=$mailbox@demo.example" -c "$RUN/jar"
    row Connect "$address" ex2 directory
}


step_cookie()
{
    local cookie first unknown=0badcafe-0000-4000-8000-000000000001

    title "3  A mailbox that the directory does not hold"
    note "A hash finds a server, and a sealed cookie keeps the client there."
    heading request

    ask Connect "emsmdb/?MailboxId=$unknown@demo.example" -c "$RUN/jar2"
    first=$(header X-Demo-Server)
    row "without a cookie" "0badcafe-..." '*' balance

    cookie=$(header Set-Cookie | grep '^MapiAffinity=')
    check "set: ${cookie:0:40}...; ${cookie#*; }" [ -n "$cookie" ]

    ask Execute "emsmdb/?MailboxId=$unknown@demo.example" \
        -b "$RUN/jar2" -c "$RUN/jar2"
    row "with the cookie" "0badcafe-..." "${first%%.*}" affinity
}


step_stream()
{
    local begun done=0 early=0 event line pending=0

    title "4  A NotificationWait streams"
    note "The server says at once that it works on it, and once a second that it" \
         "still does (a real one every 15 s). After 3 s a mail arrives. Nothing" \
         "may be held back on the way."

    begun=$EPOCHREALTIME
    rm -f "$RUN/arrived"

    (
        sleep 3.3
        : > "$RUN/arrived"
        curl -sS --noproxy '*' -o "$RUN/event" -X POST \
            "http://127.0.0.12:$PORT/control?event=$mailbox"
    ) &
    event=$!

    while IFS= read -r line; do
        line=${line%$'\r'}

        case $line in
            PROCESSING)
                [ -e "$RUN/arrived" ] || early=1 ;;
            PENDING)
                [ -e "$RUN/arrived" ] || pending=$((pending + 1)) ;;
            DONE)
                [ ! -e "$RUN/arrived" ] || done=1 ;;
            *)
                continue ;;
        esac

        awk -v a="$begun" -v b="$EPOCHREALTIME" -v what="$line" \
            'BEGIN { printf "   %6.2f s  %s\n", b - a, what }'

        [ "$line" != DONE ] || break
    done < <(outlook NotificationWait \
                 "emsmdb/?MailboxId=$mailbox@demo.example" -N -b "$RUN/jar")
    wait "$event"

    check "PROCESSING came before anything had happened" [ "$early" = 1 ]
    check "$pending times PENDING while waiting" [ "$pending" -ge 2 ]
    check "DONE when the mail arrived" [ "$done" = 1 ]
}


step_drain()
{
    local guid

    guid=$(mailbox_of 3 1)

    title "5  A server is taken out for maintenance, and comes back"
    note "It finishes what it has and gets nothing new. Exchange serves a mailbox" \
         "through any server, so nobody notices."
    heading request

    ask Connect "emsmdb/?MailboxId=$guid@demo.example" -c "$RUN/jar3"
    row Connect "$(address_of 3 1)" ex3 directory

    show "mapi-directory server EX3 draining"
    directory server EX3 draining || bad "mapi-directory failed"

    ask Execute "emsmdb/?MailboxId=$guid@demo.example" \
        -b "$RUN/jar3" -c "$RUN/jar3"
    row "Execute, same session" "$(address_of 3 1)" '*' balance
    check "EX3 got nothing" [ "$(header X-FEServer)" != EX3 ]

    show "mapi-directory server EX3 active"
    directory server EX3 active || bad "mapi-directory failed"

    ask Execute "emsmdb/?MailboxId=$guid@demo.example" \
        -b "$RUN/jar3" -c "$RUN/jar3"
    row "Execute, same session" "$(address_of 3 1)" ex3 directory
}


step_stop()
{
    local answered guid i n=20 served=0 text

    guid=$(mailbox_of 4 2)

    title "6  A server dies"
    note "EX1 refuses connections now. Its mailboxes go to the other two."
    heading request

    ask Connect "emsmdb/?MailboxId=$guid@demo.example" -c "$RUN/jar4"
    row Connect "$(address_of 4 2)" ex1 directory

    rm "$RUN/servers/ex1.conf"
    reload
    check "a connection to it is refused" ! is_open 127.0.0.11 "$PORT"

    ask Execute "emsmdb/?MailboxId=$guid@demo.example" \
        -b "$RUN/jar4" -c "$RUN/jar4"
    row "Execute, same session" "$(address_of 4 2)" '*' balance

    for ((i = 1; i <= n; i++)); do
        ask Connect "emsmdb/?MailboxId=$(mailbox_of 4 "$i")@demo.example"
        if [ "$STATUS" = 200 ] && [ "$(header X-ResponseCode)" = 0 ]; then
            served=$((served + 1))
            header X-FEServer
        fi
    done > "$RUN/served"

    answered=$(sort "$RUN/served" | uniq -c | awk '{ print $2 ": " $1 }')
    text=$(printf '%s' "$answered" | tr '\n' ',')
    check "$served of $n mailboxes of EX1 are served on (${text//,/, })" \
        [ "$served" = "$n" ]

    make_server_conf 1 "$PORT" > "$RUN/servers/ex1.conf"
    reload
    note "EX1 is back."
    ask Execute "emsmdb/?MailboxId=$guid@demo.example" \
        -b "$RUN/jar4" -c "$RUN/jar4"
    row "Execute, same session" "$(address_of 4 2)" ex1 directory
}


step_refuse()
{
    local before

    title "7  What reaches no server"
    before=$(counted requests)

    refused "MailboxId is no GUID" 400 "emsmdb/?MailboxId=anna"
    refused "no mailbox at all" 400 "emsmdb/"
    refused "a crooked path" 404 "emsmdb/../nspi/?MailboxId=$mailbox@a.example"
    refused "another method" 405 "emsmdb/?MailboxId=$mailbox@a.example" -X PUT

    check "the servers have seen none of these" \
        [ "$(counted requests)" = "$before" ]
}


refused()  # WHAT STATUS QUERY...
{
    local line reason status=$2 what=$1
    shift 2

    ask Connect "$@" --path-as-is
    reason=$(header X-CasErrorCode)
    line=$(printf '%-21s %s%s' "$what" "$STATUS" "${reason:+, $reason}")

    if [ "$STATUS" = "$status" ]; then
        good "$line"
    else
        bad "$line   wanted: $status"
    fi
}


# the same answer as on the debug page, for a terminal

step_why()
{
    local guid said

    guid=$(mailbox_of 4 2)

    title "8  Which server, and why"
    show "mapi-directory why $(address_of 4 2) --url http://127.0.0.1:$HTTP/"

    said=$("$MAPI_BUILD/mapi-directory" why "$(address_of 4 2)" \
           --url "http://127.0.0.1:$HTTP/") \
        || bad "mapi-directory failed"
    printf '%s\n' "$said" | head -n 24 | sed 's/^/   /'

    check "it names the server, the rule and the session" \
        grep -q ex1 <<< "$said"
}


step_log()
{
    local rows

    title "9  What the log says"
    note "A row for each request, in the files and the format of Exchange's own" \
         "HttpProxy\\Mapi log. Those with an error, and the long one: when, what," \
         "where, its status, milliseconds, and why."

    sleep 0.3
    rows=$(cat "$RUN"/rows/HttpProxy_*.LOG | tr -d '\r' | grep '^2')

    awk -F, '$22 != "" || $69 != "" || $64 > 1000 {
        type = $7; sub(/.*;RT:/, "", type); sub(/;.*/, "", type)
        printf "   %s  %-16s %-18s %s %5d  %s\n", substr($1, 12, 8), type, $25,
               $20, $64, $69 == "" ? $22 : $69
    }' <<< "$rows"

    check "$(wc -l <<< "$rows") rows, each with 74 columns" \
        [ "$(awk -F, 'NF != 74' <<< "$rows" | wc -l)" = 0 ]
}

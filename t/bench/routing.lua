-- wrk: requests as Outlook sends them, for mailboxes in random order.
--
-- BENCH_TEMPLATE  a request's head, with {{mailbox}} and {{cookie}} in it
-- BENCH_KEYS      a file with "MAILBOX" or "MAILBOX COOKIE" a line
-- BENCH_COOKIE    a cookie for every request of a file without them
-- BENCH_SEED      where the random order starts
-- BENCH_EACH      "yes": one after the other, in the file's order

local parts, mailboxes, cookies, each
local asked = 0

local function read(path)
    local f = assert(io.open(path, "rb"))
    local text = f:read("*a")
    f:close()
    return text
end

function init(args)
    local text = read(os.getenv("BENCH_TEMPLATE"))

    text = text:gsub("\r?\n", "\r\n") .. "\r\n"
    parts = { text:match("^(.-){{mailbox}}(.-){{cookie}}(.*)$") }
    parts[3] = parts[3] .. string.rep("\0", 64)

    local fixed = os.getenv("BENCH_COOKIE") or ""
    if fixed ~= "" then
        parts[2] = parts[2] .. "; " .. fixed
    end

    mailboxes, cookies = {}, {}
    local n = 0

    for line in io.lines(os.getenv("BENCH_KEYS")) do
        local mailbox, cookie = line:match("^(%S+) (%S+)$")
        n = n + 1
        mailboxes[n] = mailbox or line
        if cookie then
            cookies[n] = "; " .. cookie
        end
    end

    math.randomseed(tonumber(os.getenv("BENCH_SEED") or "1"))
    each = os.getenv("BENCH_EACH") == "yes"
end

function request()
    local i = each and asked % #mailboxes + 1 or math.random(#mailboxes)
    asked = asked + 1

    return parts[1] .. mailboxes[i] .. parts[2] .. (cookies[i] or "")
           .. parts[3]
end

-- requests, answers other than 200, failed connections, microseconds

function done(summary, latency, requests)
    local e = summary.errors

    io.write(string.format("RESULT %d %d %d %d\n", summary.requests, e.status,
                           e.connect + e.read + e.write + e.timeout,
                           summary.duration))
end

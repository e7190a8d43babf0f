-- POST an entry to the ledgers of a file in turn, one path a line.
local paths, n, at, count, salt = {}, 0, 0, 0, 0

function init(args)
  for line in io.lines(args[1]) do
    n = n + 1
    paths[n] = line
  end
  salt = os.time()
end

function request()
  at = at % n + 1
  count = count + 1
  local headers = {
    ["Content-Type"] = "application/json",
    ["If-Match"] = "*",
    ["Idempotency-Key"] = string.format("load-%d-%d", salt, count),
  }
  local body = '{"kind":"fee","value_date":"2026-06-01","amount":"1.00"}'
  return wrk.format("POST", paths[at], headers, body)
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %f %f %f %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.status + e.timeout))
end

-- List 500 projects, sorted, under a filter that no request before it had.
local count, salt = 0, 0

function init(args)
  salt = os.time() % 10000
end

function request()
  count = count + 1
  return wrk.format("GET", string.format(
    "/v1/ops/projects?limit=500&sort=-total_amount&total_amount[gte]=%d.%04d", count, salt))
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %f %f %f %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.status + e.timeout))
end

-- Filtered, sorted pages with one write in a hundred requests; args: file of paths, mean
-- pause of a connection between two requests in ms (none).
local paths, n, at, count = {}, 0, 0, 0

function init(args)
  for line in io.lines(args[1]) do
    n = n + 1
    paths[n] = line
  end
  at = os.time() % n
  local pause_ms = tonumber(args[2])
  if pause_ms then
    function delay() return math.floor(0.5 - math.log(1 - math.random()) * pause_ms) end
  end
end

function request()
  count = count + 1
  if count % 100 == 0 then
    local body = string.format(
      '{"project_name":"Mixed %d","total_amount":"%d.50","currency_code":"EUR",' ..
      '"country_code":"ESP","sector":"wind"}', count, 1000000 + count)
    local headers = { ["Content-Type"] = "application/json" }
    for name, value in pairs(wrk.headers) do headers[name] = value end
    return wrk.format("POST", "/v1/ops/projects", headers, body)
  end
  at = at % n + 1
  return wrk.format("GET", paths[at])
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %f %f %f %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.status + e.timeout))
end

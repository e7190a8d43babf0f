-- POST a new project each time; args: path of the collection.
local path, count, salt = "/v1/ops/projects", 0, 0

function init(args)
  if args[1] then path = args[1] end
  wrk.headers["Content-Type"] = "application/json"
  salt = os.time() % 100000
end

function request()
  count = count + 1
  local body = string.format(
    '{"project_name":"Load %d-%d","total_amount":"%d.50","currency_code":"EUR",' ..
    '"country_code":"ESP","sector":"wind","maturity_years":15,"dscr":1.35}',
    salt, count, 1000000 + count)
  return wrk.format("POST", path, nil, body)
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %f %f %f %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.status + e.timeout))
end

-- GET the paths of a file, one a line ("path" or "path<TAB>etag"), each thread from its own start;
-- args: file of paths, mean pause of a connection between two requests in ms (none).
local paths, etags, n = {}, {}, 0
local at = 0

function init(args)
  for line in io.lines(args[1]) do
    n = n + 1
    local path, etag = line:match("^([^\t]+)\t(.+)$")
    paths[n] = path or line
    etags[n] = etag
  end
  local pause_ms = tonumber(args[2])
  if pause_ms then
    -- Exponential pauses: arrivals are random, as those of independent clients.
    function delay() return math.floor(0.5 - math.log(1 - math.random()) * pause_ms) end
  end
  math.randomseed(os.time() + tonumber(tostring({}):match("0x(%x+)"), 16) % 100000)
  at = math.random(n)
end

function request()
  at = at % n + 1
  local headers = {}
  for name, value in pairs(wrk.headers) do headers[name] = value end
  if etags[at] then headers["If-None-Match"] = etags[at] end
  return wrk.format("GET", paths[at], headers)
end

local bad = 0
function response(status, headers, body)
  if status ~= 200 and status ~= 304 then bad = bad + 1 end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %f %f %f %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.status + e.timeout))
end

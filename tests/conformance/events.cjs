// Reads a page of events as the CloudEvents SDK does, whose strict mode holds each to the JSON schema
// of the specification. Exits with 1 at the first that does not hold.
const { CloudEvent } = require("cloudevents");
const { readFileSync } = require("node:fs");

const { events } = JSON.parse(readFileSync(process.argv[2], "utf-8"));
for (const event of events) {
  new CloudEvent(event, true).validate();
}
if (events.length === 0) {
  throw new Error("there is no event to judge");
}
console.log(`${events.length} events of ${new Set(events.map((one) => one.type)).size} types`);

// Use the types that openapi-typescript generated: create, list, import and size a debt.
// Argument: the address of a running service.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };
type Job = components["schemas"]["Job"];
// Filters are parameters of their own (`style: form`); the default would send `filters[sector]=…`.
const client = createClient<paths>({
  baseUrl: process.argv[2] ?? "",
  querySerializer: { object: { style: "form", explode: true } },
});

function expect<T>(outcome: { data?: T; error?: unknown }): T {
  if (outcome.data === undefined) throw new Error(JSON.stringify(outcome.error));
  return outcome.data;
}

async function importPlants(mark: string): Promise<components["schemas"]["Import"]> {
  const name = `generated-${mark.slice(0, 8)}`;
  const mapping: components["schemas"]["ImportMapping"] = {
    columns: [{ attribute: "project_name", column: "name" }, { attribute: "total_amount", column: "amount" }],
    key: { source: mark, column: "id" },
  };
  expect(await client.PUT("/v1/ops/import-mappings/{name}", { params: { path: { name } }, body: mapping }));
  const submitted = await client.POST("/v1/ops/imports", {
    params: { query: { mapping: name } },
    body: "id,name,amount\n1,North,5\n2,South,x\n",
    bodySerializer: (body) => body,
    headers: { "Content-Type": "text/csv" },
  });
  let job: Job = expect(submitted) as Job;
  while (job.status === "queued" || job.status === "running") {
    await new Promise((resolve) => setTimeout(resolve, 100));
    job = expect(await client.GET("/v1/jobs/{job_id}", { params: { path: { job_id: job.job_id } } }));
  }
  return expect(await client.GET("/v1/ops/imports/{import_id}", { params: { path: { import_id: job.job_id } } }));
}

const mark = crypto.randomUUID().replaceAll("-", "");
// A command returns the project (201), the approval that it waits for (202), or its effect (200, with `dry_run`).
const project = expect(
  await client.POST("/v1/ops/projects", {
    body: { project_name: "Harbour Wind", total_amount: "184500000.00", sector: mark },
  }),
);
if (!("project_id" in project)) throw new Error(JSON.stringify(project));
const page = expect(
  await client.GET("/v1/ops/projects", { params: { query: { filters: { sector: mark }, limit: 10 } } }),
);
if (page.items.length !== 1 || page.items[0]?.project_id !== project.project_id) throw new Error("the list differs");
const result = await importPlants(mark);
if (result.accepted !== 1 || result.quarantined !== 1) throw new Error(JSON.stringify(result));
const sized = expect(
  await client.POST("/v1/analysis/debt-sizing", {
    body: { cfads: [9.8, 10.1, 10.3, 10.6], annual_rates: 0.055, target_dscr: 1.3 },
  }),
);
if (typeof sized !== "object" || !("debt" in sized)) throw new Error(JSON.stringify(sized));
console.log(`project ${project.project_name}, ${result.accepted} imported, debt ${sized.debt.toFixed(3)}`);

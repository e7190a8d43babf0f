// Shows the OpenAPI document in the reference of openapi-explorer, with samples of each request.
"use strict";
(async () => {
  const MAX_SAMPLE_CHARACTERS = 1200;
  const FILES = { "application/x-ndjson": "projects.ndjson", "text/csv": "projects.csv", "application/xml": "projects.xml" };
  const THEMES = {
    light: { "bg-color": "#fbfbf9", "text-color": "#1c2430", "nav-bg-color": "#f1f3f5", "nav-text-color": "#1c2430", "primary-color": "#0b5f6f", "secondary-color": "#8a5a00" },
    dark: { "bg-color": "#12161c", "text-color": "#e6e9ee", "nav-bg-color": "#1a2028", "nav-text-color": "#e6e9ee", "primary-color": "#6cc5d4", "secondary-color": "#e0b458" },
  };
  const explorer = document.querySelector("openapi-explorer");
  const state = document.getElementById("state");
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const applyTheme = () => {
    const theme = darkness.matches ? THEMES.dark : THEMES.light;
    for (const [name, color] of Object.entries(theme)) explorer.setAttribute(name, color);
  };
  darkness.addEventListener("change", applyTheme);
  applyTheme();

  // A proxy may serve the page below a path, so addresses are relative to the page.
  const root = new URL(".", location.origin + location.pathname.replace(/\/$/, ""));
  const response = await fetch(new URL("openapi.json", root));
  if (!response.ok) { state.textContent = `The OpenAPI document cannot be read (${response.status}).`; return; }
  const api = await response.json();
  const resolve = (node) => node.$ref
    ? node.$ref.slice(2).split("/").reduce((parent, name) => parent[name], api) : node;

  const describeRequest = (path, method, operation) => {
    const headers = (operation.parameters || []).map(resolve)
      .filter((one) => one.required && one.in === "header").map((one) => [one.name, "*"]);
    const [type, media] = Object.entries((operation.requestBody || {}).content || {})[0] || [];
    if (type) headers.push(["Content-Type", type]);
    const example = Object.values((media || {}).examples || {}).map((one) => resolve(one).value)[0];
    const json = example === undefined ? "" : JSON.stringify(example, null, 2);
    const isLong = json.length > MAX_SAMPLE_CHARACTERS;
    const isFile = type && FILES[type] !== undefined;
    const file = isFile ? FILES[type] : type && (isLong || !json) ? "request.json" : "";
    return { method: method.toUpperCase(), url: root.href + path.slice(1), headers, json: file ? "" : json, file };
  };
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const curl = ({ method, url, headers, json, file }) => [
    `curl${method === "GET" ? "" : ` -X ${method}`} ${quote(url)}`,
    ...headers.map(([name, value]) => `-H ${quote(`${name}: ${value}`)}`),
    ...(file ? [`--data-binary @${file}`] : json ? [`-d ${quote(json)}`] : []),
  ].join(" \\\n  ");
  const python = ({ method, url, headers, json, file }) => {
    const members = headers.map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`);
    const body = file ? `Path(${JSON.stringify(file)}).read_bytes()` : json ? `r"""${json}"""` : "";
    return [
      ...(file ? ["from pathlib import Path", ""] : []),
      "import httpx", "",
      "response = httpx.request(",
      `    ${JSON.stringify(method)},`,
      `    ${JSON.stringify(url)},`,
      ...(members.length ? [`    headers={${members.join(", ")}},`] : []),
      ...(body ? [`    content=${body},`] : []),
      ")", "response.raise_for_status()", "print(response.text)",
    ].join("\n");
  };
  const javascript = ({ method, url, headers, json, file }) => [
    ...(file ? ['import { readFile } from "node:fs/promises";', ""] : []),
    `const response = await fetch(${JSON.stringify(url)}, {`,
    `  method: ${JSON.stringify(method)},`,
    ...(headers.length ? [`  headers: ${JSON.stringify(Object.fromEntries(headers))},`] : []),
    ...(file ? [`  body: await readFile(${JSON.stringify(file)}),`] : json ? [`  body: JSON.stringify(${json.replaceAll("\n", "\n  ")}),`] : []),
    "});", "console.log(response.status, await response.text());",
  ].join("\n");

  // Problems of every operation are listed once: resolving them a hundred times took a fourth of the
  // time until the page could be used.
  const operations = Object.values(api.paths).flatMap(Object.values);
  const readCodes = (response) => response.$ref ? response.$ref.split("/").pop().split("-").slice(1) : [];
  const listCodes = (operation) => Object.values(operation.responses).flatMap(readCodes);
  const commonCodes = operations.map(listCodes).reduce((left, right) => left.filter((code) => right.includes(code)));
  for (const { responses } of operations) {
    for (const [status, response] of Object.entries(responses)) {
      const codes = readCodes(response);
      if (codes.length && codes.every((code) => commonCodes.includes(code))) delete responses[status];
    }
  }
  api.info.description += `\n\nEvery operation may also return these problems, which [are explained](${new URL("problems", root).href}): `
    + commonCodes.map((code) => `\`${code}\``).join(", ") + ".";

  const LANGUAGES = [["shell", "curl", curl], ["python", "Python", python], ["javascript", "JavaScript", javascript]];
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const request = describeRequest(path, method, operation);
      operation["x-code-samples"] = LANGUAGES.map(([lang, label, write]) => ({ lang, label, source: write(request) }));
    }
  }
  // Requests that are tried go to the host that served the page, which the policy of the page allows.
  api.servers = [{ url: root.href.replace(/\/$/, ""), description: "The service of this page." }];
  const groups = document.createElement("ul");
  groups.slot = "overview-footer";
  for (const { name, description } of api.tags) {
    const item = groups.appendChild(document.createElement("li"));
    item.appendChild(document.createElement("strong")).textContent = name;
    item.append(`: ${description}`);
  }
  explorer.appendChild(groups);
  await customElements.whenDefined("openapi-explorer");
  await explorer.loadSpec(api);
  state.remove();
})();

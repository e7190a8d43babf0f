// Renders /openapi.json. No library: text nodes only, nothing from other hosts.
"use strict";
(async () => {
  const make = (tag, text, ...children) => {
    const node = document.createElement(tag);
    if (text) node.textContent = text;
    node.append(...children);
    return node;
  };
  // Descriptions are plain text, in which `backticks` mark names.
  const prose = (tag, text) => make(tag, "", ...text.split("`").map((part, n) => n % 2 ? make("code", part) : part));
  const json = (value) => make("pre", JSON.stringify(value, null, 2));
  const fold = (title, ...children) => make("details", "", make("summary", "", ...[title].flat()), ...children);
  const capitalize = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const state = document.getElementById("state");
  const response = await fetch("/openapi.json");
  if (!response.ok) { state.textContent = `The document cannot be read (${response.status}).`; return; }
  const api = await response.json();
  const resolve = (node) => node.$ref
    ? node.$ref.slice(2).split("/").reduce((parent, name) => parent[name], api) : node;
  const schemaLink = (schema) => {
    if (!schema || !schema.$ref) return json(schema || {});
    const name = schema.$ref.split("/").pop();
    const link = make("a", name);
    link.href = `#schema-${name}`;
    return make("p", "", "Schema ", link);
  };
  const content = (media) => Object.entries(media || {}).flatMap(([type, body]) => [
    make("p", "", make("code", type)), schemaLink(body.schema),
    ...Object.entries(body.examples || {}).map(([name, example]) => fold(`Example: ${name}`, json(resolve(example).value))),
  ]);
  const cell = (head, ...children) => {
    const node = make("td", "", ...children);
    node.dataset.head = head;
    return node;
  };
  const parameters = (list) => {
    const body = make("tbody");
    for (const parameter of list.map(resolve)) {
      const name = make("code", parameter.name);
      body.append(make("tr", "", cell("Parameter", name, parameter.required ? " (required)" : ""),
        cell("In", parameter.in), cell("Meaning", prose("span", parameter.description || ""))));
    }
    const heads = ["Parameter", "In", "Meaning"].map((name) => make("th", name));
    return make("table", "", make("caption", "Parameters"), make("thead", "", make("tr", "", ...heads)), body);
  };
  const describe = (path, method, operation) => {
    const verb = make("span", method);
    verb.className = "method";
    const box = fold([verb, make("code", path), ` ${operation.summary}`]);
    if (operation.description) box.append(prose("p", operation.description));
    if (operation.parameters) box.append(parameters(operation.parameters));
    if (operation.requestBody) box.append(fold("Body", ...content(operation.requestBody.content)));
    for (const [status, reference] of Object.entries(operation.responses)) {
      const outcome = resolve(reference);
      box.append(fold(`${status} ${outcome.description}`, ...content(outcome.content)));
    }
    return box;
  };
  const root = document.getElementById("api");
  root.append(prose("p", api.info.description));
  const contents = make("ul");
  root.append(make("nav", "", contents));
  root.lastChild.setAttribute("aria-label", "On this page");
  const chapter = (name) => {
    const heading = make("h2", capitalize(name));
    heading.id = `chapter-${name}`;
    const link = make("a", capitalize(name));
    link.href = `#${heading.id}`;
    contents.append(make("li", "", link));
    return heading;
  };
  for (const tag of api.tags) {
    const boxes = Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item)
      .filter(([, operation]) => (operation.tags || []).includes(tag.name))
      .map(([method, operation]) => describe(path, method, operation)));
    if (boxes.length) root.append(chapter(tag.name), prose("p", tag.description), ...boxes);
  }
  root.append(chapter("schemas"));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    const box = fold([make("code", name)], json(schema));
    box.id = `schema-${name}`;
    root.append(box);
  }
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  state.remove();
  open();
})();

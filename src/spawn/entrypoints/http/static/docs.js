// Renders /openapi.json. No library: text nodes only, nothing from elsewhere.
"use strict";
(async () => {
  const make = (tag, text, ...children) => {
    const node = document.createElement(tag);
    if (text) node.textContent = text;
    node.append(...children);
    return node;
  };
  const json = (value) => make("pre", JSON.stringify(value, null, 2));
  const fold = (title, ...children) => make("details", "", make("summary", title), ...children);
  const state = document.getElementById("state");
  const answer = await fetch("/openapi.json");
  if (!answer.ok) { state.textContent = `The document cannot be read (${answer.status}).`; return; }
  const api = await answer.json();
  const resolve = (thing) => thing.$ref
    ? thing.$ref.slice(2).split("/").reduce((place, name) => place[name], api) : thing;
  const schemaLink = (schema) => {
    if (!schema || !schema.$ref) return json(schema || {});
    const name = schema.$ref.split("/").pop();
    const link = make("a", name);
    link.href = `#schema-${name}`;
    return make("p", "", link);
  };
  const content = (media) => Object.entries(media || {}).flatMap(([type, body]) => [
    make("p", type), schemaLink(body.schema),
    ...Object.entries(body.examples || {}).map(([name, one]) => fold(`Example: ${name}`, json(resolve(one).value))),
  ]);
  const parameters = (list) => {
    const table = make("table", "", make("tr", "", make("th", "parameter"), make("th", "in"), make("th", "meaning")));
    for (const given of list.map(resolve)) {
      table.append(make("tr", "", make("td", "", make("code", given.name + (given.required ? " *" : ""))),
        make("td", given.in), make("td", given.description || "")));
    }
    return table;
  };
  const operation = (path, method, one) => {
    const head = make("summary", "", make("span", method), make("code", path), make("span", "  " + one.summary));
    head.firstChild.className = "method";
    const box = make("details", "", head);
    if (one.description) box.append(make("p", one.description));
    if (one.parameters) box.append(parameters(one.parameters));
    if (one.requestBody) box.append(fold("Body", ...content(one.requestBody.content)));
    for (const [status, given] of Object.entries(one.responses)) {
      const response = resolve(given);
      box.append(fold(`${status} ${response.description}`, ...content(response.content)));
    }
    return box;
  };
  const root = document.getElementById("api");
  root.append(make("p", api.info.description));
  for (const tag of api.tags) {
    const found = Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item)
      .filter(([, one]) => one.tags.includes(tag.name)).map(([method, one]) => operation(path, method, one)));
    if (found.length) root.append(make("h2", tag.name), make("p", tag.description), ...found);
  }
  root.append(make("h2", "Schemas"));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    const box = fold(name, json(schema));
    box.id = `schema-${name}`;
    root.append(box);
  }
  state.remove();
})();

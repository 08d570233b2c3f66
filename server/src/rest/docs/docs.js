// Renders /api/v1/openapi.json and sends requests to the server that it came from. No framework, nothing from elsewhere.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const byId = (id) => document.getElementById(id);

/** An element with attributes and children; text is never read as HTML. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

let api;

/** What a `$ref` leads to; anything else is itself. */
function resolve(value) {
  const to = value?.$ref;
  if (!to) return value ?? {};
  return to.slice(2).split("/").reduce((at, part) => at?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], api) ?? {};
}

const nameOf = (ref) => ref.split("/").pop();

/** A schema in a few words, with a link where it is named. */
function brief(schema) {
  if (!schema) return "";
  if (schema.$ref) return make("a", { href: `#schema-${nameOf(schema.$ref)}` }, nameOf(schema.$ref));
  const choices = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (choices) {
    const parts = choices.flatMap((choice, index) => (index ? [" or ", brief(choice)] : [brief(choice)]));
    return make("span", {}, ...parts);
  }
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const type = [schema.type ?? "any"].flat().join(" or ");
  if (schema.items) return make("span", {}, "list of ", brief(schema.items));
  return schema.format ? `${type} (${schema.format})` : type;
}

function table(caption, headings, rows) {
  if (rows.length === 0) return undefined;
  return make("table", {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...headings.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell ?? ""))))));
}

/** Every schema's members. */
function fields(schema) {
  const needed = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, member]) =>
    [make("code", {}, name), brief(member), needed.has(name) ? "required" : "", resolve(member).description ?? ""]);
}

/** Something that a schema would take, to begin with. */
function sample(schema, depth = 0) {
  const whole = resolve(schema);
  if (whole.example !== undefined) return whole.example;
  if (whole.examples?.length) return whole.examples[0];
  if (whole.enum) return whole.enum[0];
  const choice = whole.oneOf ?? whole.anyOf ?? whole.allOf;
  if (choice) return sample(choice[choice.length - 1], depth);
  const type = [whole.type].flat()[0];
  if (depth > 4) return null;
  if (whole.properties) {
    return Object.fromEntries(Object.entries(whole.properties).map(([name, member]) => [name, sample(member, depth + 1)]));
  }
  return { string: "", integer: 0, number: 0, boolean: false, array: [], object: {} }[type] ?? null;
}

/** A form that sends the operation's request and shows what comes back. */
function tryIt(path, method, operation, parameters) {
  const contents = Object.entries(operation.requestBody?.content ?? {});
  const inputs = parameters.filter((parameter) => parameter.in !== "cookie").map((parameter) => {
    const input = make("input", { name: parameter.name, required: parameter.required === true, spellcheck: "false" });
    return { parameter, input, label: make("label", {}, `${parameter.name} (${parameter.in})`, input) };
  });
  const kind = make("select", { "aria-label": "Content-Type" }, ...contents.map(([type]) => make("option", {}, type)));
  const body = make("textarea", { spellcheck: "false", "aria-label": "Body" });
  const fill = () => {
    const content = contents.find(([type]) => type === kind.value)?.[1];
    if (content) body.value = JSON.stringify(content.example ?? sample(content.schema), null, 2);
  };
  kind.addEventListener("change", fill);
  fill();
  const output = make("pre", { role: "status", "aria-live": "polite", hidden: true, tabindex: "0" });
  const form = make("form", { autocomplete: "off" },
    make("fieldset", {},
      make("legend", {}, "Try it"),
      ...inputs.map(({ label }) => label),
      ...(contents.length ? [kind, body] : []),
      make("div", {}, make("button", { type: "submit" }, `Send ${method.toUpperCase()}`)),
      output));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let target = path;
    const query = new URLSearchParams();
    const headers = new Headers();
    for (const { parameter, input } of inputs) {
      if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value === "") continue;
      else if (parameter.in === "query") query.append(parameter.name, input.value);
      else headers.set(parameter.name, input.value);
    }
    const token = byId("token").value.trim();
    if (token) headers.set("Authorization", `Bearer ${token}`);
    const sent = contents.length && body.value !== "" ? body.value : undefined;
    if (sent !== undefined) headers.set("Content-Type", kind.value);
    output.hidden = false;
    output.textContent = "…";
    const began = performance.now();
    try {
      const answer = await fetch(query.size ? `${target}?${query}` : target,
        { method: method.toUpperCase(), headers, body: sent, credentials: "omit", cache: "no-store" });
      const text = await answer.text();
      const took = Math.round(performance.now() - began);
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* Not JSON: shown as it is. */ }
      const told = ["etag", "location", "retry-after"].filter((name) => answer.headers.has(name))
        .map((name) => `${name}: ${answer.headers.get(name)}\n`).join("");
      output.textContent = `${answer.status} ${answer.statusText} · ${took} ms\n${told}\n${shown}`;
    } catch (error) {
      output.textContent = String(error);
    }
  });
  return form;
}

function operationOf(path, method, operation, shared) {
  const parameters = [...shared, ...(operation.parameters ?? [])].map(resolve);
  const open = (operation.security ?? []).some((one) => Object.keys(one).length === 0);
  const block = make("details", { id: operation.operationId },
    make("summary", {},
      make("span", { class: `method ${method}` }, method.toUpperCase()),
      make("span", { class: "path" }, path),
      make("span", {}, operation.summary ?? ""),
      make("span", { class: "lock" }, open ? "no token needed" : "token")));
  block.dataset.words = [method, path, operation.summary, operation.description, operation.operationId].join(" ").toLowerCase();
  // What is inside is made when somebody looks.
  block.addEventListener("toggle", () => {
    if (!block.open || block.dataset.made) return;
    block.dataset.made = "yes";
    const bodies = Object.entries(operation.requestBody?.content ?? {})
      .map(([type, content]) => [make("code", {}, type), brief(content.schema)]);
    const answers = Object.entries(operation.responses ?? {}).map(([status, response]) => {
      const whole = resolve(response);
      const [type, content] = Object.entries(whole.content ?? {})[0] ?? [];
      return [make("code", {}, status), whole.description ?? "", type ?? "", brief(content?.schema)];
    });
    block.append(...[
      operation.description && make("p", {}, operation.description),
      table("Parameters", ["Name", "In", "Type", "", "Meaning"], parameters.map((parameter) => [
        make("code", {}, parameter.name), parameter.in, brief(parameter.schema),
        parameter.required ? "required" : "", parameter.description ?? ""])),
      table("Body", ["Type", "Schema"], bodies),
      table("Answers", ["Status", "When", "Type", "Schema"], answers),
      tryIt(path, method, operation, parameters),
    ].filter(Boolean));
  });
  return block;
}

function show() {
  byId("about").textContent = `${api.info.description ?? ""} Version ${api.info.version}.`;
  const all = Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, operation: item[method], shared: item.parameters ?? [] })));
  for (const tag of api.tags ?? []) {
    const blocks = all.filter(({ operation }) => operation.tags?.includes(tag.name))
      .map(({ path, method, operation, shared }) => operationOf(path, method, operation, shared));
    byId("groups").append(make("li", {}, make("a", { href: `#group-${tag.name}` }, tag.name)));
    byId("operations").append(make("section", { id: `group-${tag.name}`, "aria-label": tag.name },
      make("h2", {}, tag.name), make("p", {}, tag.description ?? ""), ...blocks));
  }
  for (const [name, schema] of Object.entries(api.components?.schemas ?? {})) {
    byId("schemas").append(make("details", { id: `schema-${name}` },
      make("summary", {}, make("code", {}, name), make("span", {}, schema.description ?? "")),
      table("Members", ["Name", "Type", "", "Meaning"], fields(schema)) ?? make("p", {}, brief(schema))));
  }
  byId("state").hidden = true;
}

/** Opens what the address names, so that links into the page work. */
function follow() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.querySelector("summary").focus();
  }
}

byId("signing").addEventListener("submit", (event) => event.preventDefault());
byId("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const block of document.querySelectorAll("#operations details")) {
    block.hidden = !words.every((word) => block.dataset.words.includes(word));
  }
});
addEventListener("hashchange", follow);

fetch("/api/v1/openapi.json")
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`${answer.status}`))))
  .then((description) => { api = description; show(); follow(); })
  .catch((error) => { byId("state").textContent = `The description cannot be loaded: ${error.message}`; });

"use strict";
// The page works without this script, with the first rows only; it adds all others, sorting and filters.
(() => {
  const PAGE = 50;
  const { kinds, units, rows } = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const ORDER = { fail: 0, check: 1, pass: 2 };
  const NAMES = new Intl.Collator("en", { numeric: true });  // localeCompare would make one for each comparison
  const state = { column: null, down: false, start: 0 };

  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };

  const written = (value, unit) => {
    if (value === null) return "n/a";
    if (unit === "fraction") return `${Number((100 * value).toPrecision(3))} %`;
    if (unit === "voxels" || unit === "MiB") return Math.round(value).toLocaleString("en");
    if (unit === "mm" || unit === "s") return value.toFixed(2);
    return String(Number(value.toPrecision(4)));
  };

  const line = (row) => {
    const [pair, link, kind, verdict, reasons, outliers, , ...values] = row;
    const result = make("tr");
    const head = make("th");
    head.scope = "row";
    const anchor = make("a", pair);
    anchor.href = link;
    head.append(anchor);
    const judged = make("td");
    judged.append(make("span", verdict, `badge ${verdict in ORDER ? verdict : ""}`));
    const why = make("td", undefined, "why");
    why.append(...reasons.map((reason) => make("div", reason)));
    result.append(head, judged, why, make("td", outliers, "out"), make("td", kinds[kind], "nowrap"));
    result.append(...values.map((value, place) => make("td", written(value, units[place]), "num")));
    return result;
  };

  const wanted = () => {
    const name = find("name").value.trim().toLowerCase();
    const kind = find("kind").value;
    const verdict = find("verdict").value;
    const unusual = find("unusual").checked;
    return rows.filter((row) =>
      (!name || row[0].toLowerCase().includes(name)) && (kind === "" || row[2] === Number(kind)) &&
      (!verdict || row[3] === verdict) && (!unusual || row[6] > 0));
  };

  // Missing values come last, whichever way the rest is sorted.
  const compare = (a, b) => {
    const [x, y] = [a[state.column], b[state.column]];
    if (x === null || y === null) return (x === null) - (y === null);
    const sign = state.down ? -1 : 1;
    if (state.column === 3) return sign * ((ORDER[x] ?? -1) - (ORDER[y] ?? -1));
    return sign * (typeof x === "string" ? NAMES.compare(x, y) : x - y);
  };

  const show = () => {
    const found = wanted();
    if (state.column !== null) found.sort(compare);
    state.start = Math.max(0, Math.min(state.start, PAGE * Math.floor((found.length - 1) / PAGE)));
    const end = Math.min(state.start + PAGE, found.length);
    find("body").replaceChildren(...found.slice(state.start, end).map(line));
    find("where").textContent = found.length
      ? `${state.start + 1} to ${end} of ${found.length.toLocaleString("en")}` : "no pair";
    find("back").disabled = state.start === 0;
    find("on").disabled = end === found.length;
  };

  for (const cell of document.querySelectorAll("[data-column]")) {
    const button = make("button", cell.textContent);
    button.type = "button";
    cell.replaceChildren(button);
    button.addEventListener("click", () => {
      const column = Number(cell.dataset.column);
      // Outliers: most first.
      state.down = state.column === column ? !state.down : column === 6;
      Object.assign(state, { column, start: 0 });
      for (const other of document.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      show();
    });
  }
  kinds.forEach((kind, place) => {
    const option = make("option", kind);
    option.value = place;
    find("kind").append(option);
  });
  for (const id of ["name", "kind", "verdict", "unusual"]) {
    find(id).addEventListener("input", () => { state.start = 0; show(); });
  }
  find("back").addEventListener("click", () => { state.start -= PAGE; show(); });
  find("on").addEventListener("click", () => { state.start += PAGE; show(); });
  find("filters").hidden = false;
  find("pager").hidden = false;
  show();
})();

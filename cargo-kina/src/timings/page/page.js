"use strict";
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const ROW = 24, LANE = 10, BAR = 16, AXIS = 22, CHART = 74, GAP = 10;
  const PRINT_WIDTH = 740, ZOOM_MAX = 20000, CAPTION_MIN = 44, CHARACTER = 6;
  const PHASES = {
    leased: "A test has it", namespace: "A test has one namespace of it", rewinding: "Being rewound",
    released: "Waits to be rewound", booting: "Booting", starting: "Starting from stopped", thawing: "Thawing",
    ready: "Ready", freezing: "Being frozen", frozen: "Frozen", stopping: "Being stopped", stopped: "Stopped",
    broken: "Being removed",
  };
  // The words for a table, and those for a sentence.
  const SERVED = {
    ready: ["ready", "a ready cluster"], rewound: ["just rewound", "a cluster just rewound"],
    other_template: ["other template", "a cluster with another template"], frozen: ["frozen", "a frozen cluster"],
    stopped: ["stopped", "a stopped cluster"], snapshot: ["new cluster", "a new cluster"],
    bootstrapped: ["first cluster", "the very first cluster"],
  };
  const OUTCOME = { refused: "refused", left: "gave up" };

  const byId = (id) => document.getElementById(id);
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const draw = (name, attributes = {}, ...children) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  const digits = (value, count) => value.toLocaleString("en", { minimumFractionDigits: count, maximumFractionDigits: count });
  const time = (ms) => {
    if (ms < 9.995) return `${digits(ms, 2)} ms`;
    if (ms < 99.95) return `${digits(ms, 1)} ms`;
    if (ms < 999.5) return `${digits(ms, 0)} ms`;
    if (ms < 59995) return `${digits(ms / 1000, 2)} s`;
    const seconds = Math.round(ms / 1000);
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  };
  const offset = (ms) => `${digits(ms / 1000, 3)} s`;
  const bytes = (count) => (count < 2 ** 30 ? `${digits(count / 2 ** 20, 0)} MiB` : `${digits(count / 2 ** 30, 2)} GiB`);
  const plural = (count, one, many) => `${digits(count, 0)} ${count === 1 ? one : many}`;
  const testName = (row) => report.tests[row.test];
  const servedFrom = (row) => (row.served_from ? SERVED[row.served_from][0] : row.is_namespace ? "namespace" : "");
  const lastPart = (name) => name.slice(name.lastIndexOf("::") + 1).replace(/^:/, "");
  const several = report.engines.length > 1;
  const slotName = (slot) => (several ? `${report.engines[slot.engine].engine} · ` : "") + `slot ${slot.slot}`;
  const spanEnd = (span) => span.start_ms + span.duration_ms;

  // ------------------------------------------------------------------------------------------------------- words

  function describe() {
    const begun = new Date(report.start_unix_ms);
    const providers = [...new Set(report.engines.map((engine) => engine.provider).filter(Boolean))];
    const versions = [...new Set(report.engines.map((engine) => engine.version).filter(Boolean))];
    const parts = [
      `${begun.toISOString().slice(0, 19).replace("T", " ")} UTC`,
      time(report.duration_ms),
      providers.length ? `provider ${providers.join(", ")}` : "",
      versions.length ? `kina ${versions.join(", ")}` : "",
      several ? `${report.engines.length} engines` : "",
    ];
    byId("about").textContent = parts.filter(Boolean).join(" · ");
    document.title = `kina timings, ${begun.toISOString().slice(0, 16).replace("T", " ")}`;
    byId("made").textContent =
      "Queue: tests that were waiting for a cluster. Memory: the last measurement of each cluster, or the engine's estimate before the first one. " +
      "A slot has no bar while it does not exist.";

    const notes = byId("notes");
    const note = (text) => notes.append(make("p", { class: "note" }, text));
    if (report.engines.some((engine) => engine.simulated)) {
      note("SIMULATED: these clusters were made by an emulation of their provider. No figure here says anything about the real one.");
    }
    const forgotten = report.engines.reduce((sum, engine) => sum + (engine.forgotten_phases || 0), 0);
    if (forgotten) note(`The engine keeps only its latest phases and has dropped ${digits(forgotten, 0)} earlier ones. KINA_TIMING_LOG=FILE records a whole run.`);
    if (report.omitted_phases) note(`${plural(report.omitted_phases, "phase is", "phases are")} left out: a page shows the latest 20,000.`);
    if (report.unreadable_lines) note(`${plural(report.unreadable_lines, "line", "lines")} of the log could not be read.`);
  }

  function summarize() {
    const { summary } = report;
    const card = (id, name, value, more) => {
      const box = make("div", {}, make("dt", {}, name), make("dd", { id }, value));
      if (more) box.append(make("dd", {}, more));
      byId("summary").append(box);
    };
    const orNone = (value, show) => (value === null || value === undefined ? "–" : show(value));
    const without = summary.without_lease ? `, ${plural(summary.without_lease, "wait", "waits")} without a cluster` : "";
    card("sum-leases", "Leases", digits(summary.leases, 0), plural(summary.tests, "test", "tests") + without);
    card("sum-p50", "Wait, half of the leases", orNone(summary.wait_p50_ms, time), "at most (p50)");
    card("sum-p95", "Wait, 95 % of the leases", orNone(summary.wait_p95_ms, time), "at most (p95)");
    card("sum-max", "Longest wait", orNone(summary.wait_max_ms, time), `queue: ${digits(summary.queue_most, 0)} at most`);
    card("sum-rewinds", "Rewinds", digits(summary.rewinds, 0), orNone(summary.rewind_p50_ms, (ms) => `half within ${time(ms)}`));
    card("sum-boots", "Boots", digits(summary.boots, 0), `${plural(summary.starts, "start", "starts")}, ${plural(summary.thaws, "thaw", "thaws")}`);
    card("sum-memory", "Most memory", bytes(summary.memory_most_bytes), plural(report.slots.length, "slot", "slots"));
    card("sum-share", "Clusters in use", orNone(summary.leased_share, (share) => `${digits(share * 100, 0)} %`), "of the time they ran");
  }

  // ---------------------------------------------------------------------------------------------------- timeline

  const rows = [];
  let top = AXIS;
  for (const slot of report.slots) {
    const height = ROW + (slot.lanes || 0) * LANE + (slot.lanes ? 4 : 0);
    rows.push({ slot, top, height });
    top += height;
  }
  const queueTop = top + GAP, memoryTop = queueTop + CHART, total = memoryTop + CHART + 4;
  let zoom = 1, width = 0, chosen = null;
  const hidden = new Set();

  const definitions = () => draw("defs", {},
    pattern("released", 8, draw("rect", { class: "b-rewinding", width: 8, height: 8 }), draw("path", { class: "m-mark", d: "M0 8L8 0M-2 2L2 -2M6 10L10 6", "stroke-width": 2.5 })),
    pattern("booting", 8, draw("rect", { class: "b-booting", width: 8, height: 8 }), draw("path", { class: "m-mark", d: "M0 0L8 8M-2 6L2 10M6 -2L10 2", "stroke-width": 2 })),
    pattern("starting", 6, draw("rect", { class: "b-booting", width: 6, height: 6 }), draw("path", { class: "m-mark", d: "M3 0V6", "stroke-width": 1.5 })),
    pattern("thawing", 6, draw("rect", { class: "b-booting", width: 6, height: 6 }), draw("circle", { class: "m-dot", cx: 3, cy: 3, r: 1.2 })),
    pattern("frozen", 6, draw("rect", { class: "b-frozen", width: 6, height: 6 }), draw("circle", { class: "m-frozen", cx: 3, cy: 3, r: 1 })),
    pattern("stopped", 6, draw("rect", { class: "b-stopped", width: 6, height: 6 }), draw("path", { class: "m-stopped", d: "M0 3H6", "stroke-width": 1 })),
    pattern("broken", 7, draw("rect", { class: "b-broken", width: 7, height: 7 }), draw("path", { class: "m-mark", d: "M0 0L7 7M7 0L0 7", "stroke-width": 1.2 })),
  );
  const pattern = (name, size, ...parts) =>
    draw("pattern", { id: `p-${name}`, width: size, height: size, patternUnits: "userSpaceOnUse" }, ...parts);

  function legend() {
    const used = new Set(report.slots.flatMap((slot) => slot.spans.map((span) => span.phase)));
    // Slots on their way to a state look the same as in it.
    for (const [passing, there] of [["freezing", "frozen"], ["stopping", "stopped"]]) {
      if (used.delete(passing)) used.add(there);
    }
    for (const [phase, words] of Object.entries(PHASES)) {
      if (!used.has(phase)) continue;
      const swatch = draw("svg", { width: 22, height: 12, "aria-hidden": "true" }, draw("rect", { class: `span ${phase}`, width: 22, height: 12 }));
      byId("legend").append(make("li", {}, swatch, words));
    }
  }

  function ticks(scale) {
    const wanted = 110 / scale;
    const power = 10 ** Math.floor(Math.log10(wanted));
    const nice = [1, 2, 5, 10].map((factor) => factor * power);
    const minutes = [15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 1800e3, 3600e3, 7200e3];
    const step = (wanted > 10e3 ? minutes : nice).find((candidate) => candidate >= wanted) || Math.ceil(wanted / 7200e3) * 7200e3;
    const name = (ms) => {
      if (step >= 15e3) {
        const seconds = Math.round(ms / 1000);
        const rest = `${String(Math.floor(seconds / 60) % 60).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}`;
        return seconds < 3600 ? rest : `${Math.floor(seconds / 3600)}:${rest}`;
      }
      return step < 1 ? `${digits(ms, 3)} ms` : step < 1000 ? `${digits(ms, 0)} ms` : `${digits(ms / 1000, 0)} s`;
    };
    const all = [];
    for (let ms = 0; ms <= report.duration_ms && all.length < 10000; ms += step) all.push([ms, name(ms)]);
    return all;
  }

  function labels() {
    const box = byId("labels");
    const label = (className, height, name, more) => {
      const line = make("div", { class: className, style: `height:${height}px` }, make("span", {}, name));
      if (more) line.firstChild.append(" ", make("small", {}, more));
      box.append(line);
      return line;
    };
    label("", AXIS, "");
    for (const { slot, height } of rows) {
      label("slot", height, slotName(slot), slot.kubernetes || "").setAttribute("data-slot", slot.slot);
    }
    label("", GAP, "");
    const memoryMax = Math.max(0, ...report.engines.map((engine) => engine.memory_max_bytes));
    const chart = (name, ...more) => label("chart", CHART, name).append(...more.map((words) => make("small", {}, words)));
    chart("Queue", `at most ${plural(report.summary.queue_most, "test", "tests")}`);
    chart("Memory", `at most ${bytes(report.summary.memory_most_bytes)}`, ...(memoryMax ? [`of ${bytes(memoryMax)}`] : []));
  }

  function area(steps, y, most, className) {
    const scale = width / Math.max(report.duration_ms, 1e-6), base = y + CHART, height = CHART - 18;
    const at = (value) => base - (most ? (value / most) * height : 0);
    let path = `M0 ${base}`, last = base;
    for (const [ms, value] of steps) {
      const x = Math.max(0, ms * scale).toFixed(2);
      path += `L${x} ${last.toFixed(2)}`;
      last = at(value);
      path += `L${x} ${last.toFixed(2)}`;
    }
    path += `L${width.toFixed(2)} ${last.toFixed(2)}L${width.toFixed(2)} ${base}Z`;
    return draw("path", { class: `area ${className}`, d: path });
  }

  const place = (row, span) => {
    const scale = width / Math.max(report.duration_ms, 1e-6);
    const left = Math.max(0, span.start_ms * scale);
    const right = Math.min(width, spanEnd(span) * scale);
    const isLane = span.phase === "namespace";
    return {
      x: left, width: Math.max(0.8, right - left),
      y: isLane ? row.top + ROW + span.lane * LANE : row.top + (ROW - BAR) / 2,
      height: isLane ? LANE - 2 : BAR,
    };
  };

  function render(fixedWidth) {
    const scroller = byId("scroller");
    width = (fixedWidth || Math.max(200, scroller.clientWidth)) * (fixedWidth ? 1 : zoom);
    const scale = width / Math.max(report.duration_ms, 1e-6);
    const svg = draw("svg", { width, height: total, role: "img", "aria-label": `${plural(report.slots.length, "slot", "slots")} over ${time(report.duration_ms)}, with the queue and the memory below` });
    svg.append(definitions());
    for (const [ms, name] of ticks(scale)) {
      const x = ms * scale, isLast = x > width - 50;
      svg.append(draw("line", { class: "grid", x1: x, x2: x, y1: AXIS - 4, y2: total }));
      svg.append(draw("text", { class: "axis", x: isLast ? x - 4 : x + 4, y: 13, "text-anchor": isLast ? "end" : "start" }, name));
    }
    rows.forEach((row, rowIndex) => {
      const captions = [];
      row.slot.spans.forEach((span, index) => {
        const box = place(row, span);
        const data = { "data-row": rowIndex, "data-span": index };
        svg.append(draw("rect", { class: `span ${span.phase}`, ...box, ...data }));
        if (span.phase === "leased" && span.lease !== undefined && box.width >= CAPTION_MIN) {
          const name = lastPart(testName(report.leases[span.lease])), room = Math.floor((box.width - 8) / CHARACTER);
          const text = name.length <= room ? name : `${name.slice(0, Math.max(1, room - 1))}…`;
          captions.push(draw("text", { class: "caption leased", x: box.x + 4, y: box.y + 12 }, text));
        }
      });
      svg.append(...captions);
    });
    for (const y of [queueTop, memoryTop]) svg.append(draw("line", { class: "over", x1: 0, x2: width, y1: y, y2: y }));
    svg.append(area(report.queue, queueTop, report.summary.queue_most, "queue"));
    svg.append(area(report.memory, memoryTop, report.summary.memory_most_bytes, "memory"));
    svg.append(draw("rect", { class: "selected", id: "selected", visibility: "hidden", rx: 2 }));
    scroller.replaceChildren(svg);
    mark();
  }

  function words(row, span) {
    const lines = [];
    const lease = span.lease === undefined ? null : report.leases[span.lease];
    const head = lease && span.phase !== "rewinding" && span.phase !== "released" ? testName(lease) : PHASES[span.phase];
    lines.push(`${slotName(row.slot)}: ${PHASES[span.phase].toLowerCase()} for ${time(span.duration_ms)}${span.is_under_way ? " so far" : ""}, from ${offset(span.start_ms)}`);
    if (lease && (span.phase === "leased" || span.phase === "namespace")) {
      if (lease.wait_ms !== undefined) lines.push(`It waited ${time(lease.wait_ms)}${lease.served_from ? ` and was served from ${SERVED[lease.served_from][1]}` : ""}.`);
      if (lease.changed_keys !== undefined) lines.push(`The rewind after it changed ${plural(lease.changed_keys, "key", "keys")} in ${time(lease.rewind_ms)}.`);
    } else if (lease) {
      lines.push(`After ${testName(lease)}`);
    }
    if (span.phase === "rewinding" && span.changed_keys !== undefined) {
      lines.push(`${plural(span.changed_keys, "key", "keys")} put back or removed${span.api_server_restarted ? ", API server restarted" : ""}`);
    }
    if (span.memory_bytes) lines.push(`Memory: ${bytes(span.memory_bytes)}`);
    return { head, lines };
  }

  const tip = byId("tip");
  function showTip(event) {
    const target = event.target.closest("[data-span]");
    if (!target) { tip.hidden = true; return; }
    const row = rows[target.dataset.row], { head, lines } = words(row, row.slot.spans[target.dataset.span]);
    tip.replaceChildren(make("strong", {}, head), ...lines.map((line) => make("div", {}, line)));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, innerWidth - box.width - 8);
    const above = event.clientY + 18 + box.height > innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above ? event.clientY - box.height - 12 : event.clientY + 18}px`;
  }

  function mark() {
    const frame = byId("selected");
    if (!frame) return;
    if (!chosen) { frame.setAttribute("visibility", "hidden"); return; }
    const box = place(rows[chosen.row], rows[chosen.row].slot.spans[chosen.span]);
    for (const [key, value] of Object.entries({ x: box.x - 1, y: box.y - 1, width: box.width + 2, height: box.height + 2, visibility: "visible" })) frame.setAttribute(key, value);
  }

  function choose(row, span, scrolls = true) {
    chosen = { row, span };
    mark();
    const { head, lines } = words(rows[row], rows[row].slot.spans[span]);
    byId("detail").textContent = [head, ...lines].join(" · ");
    const lease = rows[row].slot.spans[span].lease;
    for (const other of document.querySelectorAll("tr.chosen")) other.classList.remove("chosen");
    for (const own of document.querySelectorAll(`tr[data-lease="${lease}"]`)) own.classList.add("chosen");
    if (!scrolls) return;
    const scroller = byId("scroller"), box = place(rows[row], rows[row].slot.spans[span]);
    if (box.x < scroller.scrollLeft || box.x + box.width > scroller.scrollLeft + scroller.clientWidth) {
      scroller.scrollLeft = box.x - scroller.clientWidth / 3;
    }
  }

  function chooseLease(index) {
    for (let row = 0; row < rows.length; row += 1) {
      const span = rows[row].slot.spans.findIndex((candidate) => candidate.lease === index && (candidate.phase === "leased" || candidate.phase === "namespace"));
      if (span >= 0) {
        choose(row, span);
        byId("timeline").scrollIntoView({ block: "nearest" });
        return;
      }
    }
  }

  function setZoom(wanted, focus = 0.5) {
    const scroller = byId("scroller");
    const at = (scroller.scrollLeft + scroller.clientWidth * focus) / Math.max(1, width);
    zoom = Math.min(ZOOM_MAX, Math.max(1, wanted));
    // Browsers draw nothing wider than this.
    zoom = Math.min(zoom, 4e6 / Math.max(1, scroller.clientWidth));
    render();
    scroller.scrollLeft = at * width - scroller.clientWidth * focus;
  }

  function move(key) {
    if (!rows.length) return false;
    if (!chosen) { choose(0, 0); return true; }
    const spans = rows[chosen.row].slot.spans;
    if (key === "ArrowLeft") choose(chosen.row, Math.max(0, chosen.span - 1));
    else if (key === "ArrowRight") choose(chosen.row, Math.min(spans.length - 1, chosen.span + 1));
    else if (key === "Home") choose(chosen.row, 0);
    else if (key === "End") choose(chosen.row, spans.length - 1);
    else {
      const row = Math.min(rows.length - 1, Math.max(0, chosen.row + (key === "ArrowDown" ? 1 : -1)));
      const moment = spans[chosen.span].start_ms;
      let best = 0;
      rows[row].slot.spans.forEach((span, index) => { if (span.start_ms <= moment) best = index; });
      choose(row, best);
    }
    return true;
  }

  function listen() {
    const timeline = byId("timeline"), scroller = byId("scroller");
    scroller.addEventListener("pointermove", showTip);
    scroller.addEventListener("pointerleave", () => { tip.hidden = true; });
    scroller.addEventListener("click", (event) => {
      const target = event.target.closest("[data-span]");
      if (target) choose(Number(target.dataset.row), Number(target.dataset.span), false);
    });
    timeline.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const moves = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
      let done = true;
      if (moves.includes(event.key)) done = move(event.key);
      else if (event.key === "+" || event.key === "=") setZoom(zoom * 2);
      else if (event.key === "-") setZoom(zoom / 2);
      else if (event.key === "0") setZoom(1);
      else if (event.key === "Enter" && chosen) {
        const lease = rows[chosen.row].slot.spans[chosen.span].lease;
        const line = document.querySelector(`#tests tr[data-lease="${lease}"] button`);
        if (line) line.focus();
      } else done = false;
      if (done) event.preventDefault();
    });
    byId("zoom-in").addEventListener("click", () => setZoom(zoom * 2));
    byId("zoom-out").addEventListener("click", () => setZoom(zoom / 2));
    byId("zoom-fit").addEventListener("click", () => setZoom(1));
    addEventListener("resize", () => render());
    addEventListener("beforeprint", () => render(PRINT_WIDTH));
    addEventListener("afterprint", () => render());
  }

  // ------------------------------------------------------------------------------------------------------ tables

  function nameCell(index) {
    const name = testName(report.leases[index]), last = lastPart(name);
    const button = make("button", { type: "button", title: "Show it in the timeline" });
    if (last.length < name.length) button.append(make("span", { class: "path" }, name.slice(0, name.length - last.length)));
    button.append(last);
    button.addEventListener("click", () => chooseLease(index));
    return make("td", { class: "name" }, button);
  }

  function slowest() {
    const longest = Math.max(1e-6, ...report.slowest.map((index) => report.leases[index].wait_ms || 0));
    for (const index of report.slowest) {
      const row = report.leases[index], wait = row.wait_ms || 0;
      const meter = make("div", { class: "meter" }, make("span", {}, time(wait)), make("i", { style: `width:${((wait / longest) * 100).toFixed(2)}%` }));
      byId("slowest").tBodies[0].append(make("tr", { "data-lease": index },
        nameCell(index), make("td", { "data-value": wait }, meter),
        make("td", {}, row.outcome ? OUTCOME[row.outcome] : servedFrom(row) || "–"),
        make("td", { class: "number" }, offset(row.asked_ms))));
    }
    if (!report.slowest.length) byId("slowest").tBodies[0].append(make("tr", {}, make("td", { colspan: 4 }, "No test asked for a cluster.")));
  }

  const number = (name, value, show) => ({ name, value, show, isNumber: true });
  const text = (name, value) => ({ name, value, show: (found) => found, isNumber: false });
  const columns = [
    text("Test", (row) => testName(row)),
    number("Asked at", (row) => row.asked_ms, offset),
    text("Slot", (row) => (row.slot === undefined ? (row.outcome ? OUTCOME[row.outcome] : "waits") : slotName(report.slots[row.slot]).replace(/slot (\d+)$/, (all, found) => `slot ${found}`))),
    number("Waited", (row) => row.wait_ms, time),
    text("Served from", servedFrom),
    number("Held", (row) => row.held_ms, (ms) => time(ms)),
    number("Rewound in", (row) => row.rewind_ms, time),
    number("Keys changed", (row) => row.changed_keys, (count) => digits(count, 0)),
    text("Template", (row) => row.template || ""),
  ];

  function tests() {
    // A column without any value is left out.
    const shown = columns.filter((column, index) => index < 4 || report.leases.some((row) => ![undefined, ""].includes(column.value(row))));
    const head = byId("tests").tHead.rows[0], body = byId("tests").tBodies[0];
    const lines = report.leases.map((row, index) => {
      const line = make("tr", { "data-lease": index });
      for (const column of shown) {
        const value = column.value(row);
        if (column === columns[0]) line.append(nameCell(index));
        else {
          const words = value === undefined ? "–" : column.show(value) + (column.name === "Held" && row.is_under_way ? " so far" : "");
          line.append(make("td", { "data-value": value === undefined ? "" : value, class: column.isNumber ? "number" : "word" }, words));
        }
      }
      return { row, index, line };
    });
    const order = new Intl.Collator("en", { numeric: true });
    const compare = (column) => (one, other) => {
      const [a, b] = [column.value(one.row), column.value(other.row)];
      // Rows without a value come last in both directions.
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined) || one.index - other.index;
      return (column.isNumber ? a - b : order.compare(a, b)) || one.index - other.index;
    };
    const sort = (column, isDescending) => {
      const wayOf = compare(column);
      const hasValue = (entry) => column.value(entry.row) !== undefined;
      const sorted = [...lines].sort((one, other) => (isDescending && hasValue(one) && hasValue(other) ? wayOf(other, one) : wayOf(one, other)));
      body.append(...sorted.map((entry) => entry.line));
      [...head.cells].forEach((cell, index) => {
        if (shown[index] === column) cell.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
        else cell.removeAttribute("aria-sort");
      });
    };
    for (const column of shown) {
      const button = make("button", { type: "button" }, column.name);
      const cell = make("th", { scope: "col", ...(column.isNumber ? { class: "number" } : {}) }, button);
      button.addEventListener("click", () => {
        const now = cell.getAttribute("aria-sort");
        // The first click on a column of numbers shows the largest first.
        sort(column, now ? now === "ascending" : column.isNumber);
      });
      head.append(cell);
    }
    const find = byId("find");
    const search = () => {
      const wanted = find.value.trim().toLowerCase();
      let count = 0;
      for (const { row, line } of lines) {
        const isFound = testName(row).toLowerCase().includes(wanted);
        line.hidden = !isFound;
        count += isFound;
      }
      byId("found").textContent = count === lines.length ? plural(count, "lease", "leases") : `${count} of ${lines.length} leases`;
    };
    find.addEventListener("input", search);
    sort(columns[1], false);
    search();
  }

  describe();
  summarize();
  legend();
  labels();
  render();
  listen();
  slowest();
  tests();
  document.documentElement.setAttribute("data-drawn", "yes");
})();
